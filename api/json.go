package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of the shape of a body. A value of two octets can take a hundred in
// memory, so that the size of a body alone bounds little.
const (
	maxDepth    = 32
	maxElements = 10_000 // of one array or object
	maxOpenKeys = 20_000 // of the objects that are open at one place
	maxKey      = 384    // octets of a key that is looked at; no name of ours is longer, however it is escaped
)

var (
	errSyntax    = errors.New("the body is not valid JSON in UTF-8")
	errDeep      = errors.New("the body is nested too deeply")
	errLong      = errors.New("an array or object has too many elements")
	errDuplicate = errors.New("a key appears twice in one object")
)

// empty tells whether a body says nothing: clients send all of these where
// there is nothing to say.
func empty(b []byte) bool {
	switch string(bytes.TrimSpace(b)) {
	case "", "null", `""`, "''":
		return true
	}
	return false
}

// decode reads the body into v. An empty body leaves v as it is. Keys match
// without regard to case, unknown ones are ignored.
func (c *call) decode(v any) *Error {
	if empty(c.body) {
		return nil
	}
	if e := c.checkBody(1); e != nil {
		return e
	}
	return decodeChecked(c.body, v)
}

// checkBody checks the shape of the body and reserves memory for its elements, of
// which so many messages are decoded at once.
func (c *call) checkBody(messages int) *Error {
	n, err := measure(c.body)
	if err != nil {
		return refuse(CodeJSON, "Invalid JSON: %v.", err)
	}
	return c.reserve(int64(min(n, messages*maxDecoded)) * elementOctets)
}

// decodeChecked decodes what checkShape has passed.
func decodeChecked(b []byte, v any) *Error { return decodePart("", b, v) }

// decodePart decodes what is below a key, which the refusal names.
func decodePart(key string, b []byte, v any) *Error {
	err := json.Unmarshal(b, v)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &mismatch):
		return refuse(CodeJSON, "Invalid JSON: %v.", errSyntax)
	}
	if name := strings.Trim(key+"."+mismatch.Field, "."); name != "" {
		return refuse(CodeField, "Invalid request field(s): '%s'.", name)
	}
	return refuse(CodeField, "Invalid request: the body is a JSON %s.", mismatch.Value)
}

// checkShape refuses what decoders disagree about: text that is not UTF-8,
// octets behind the value, keys that appear twice, and deep nesting. Its own
// memory has a limit too, which very many or very long keys come up against.
func checkShape(b []byte) error {
	_, err := measure(b)
	return err
}

// measure is checkShape, and counts the elements of all arrays and objects.
func measure(b []byte) (elements int, _ error) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return 0, errSyntax
	}
	var s shape
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := stringEnd(b, i)
			if err := s.text(b[i:end]); err != nil {
				return 0, err
			}
			i = end - 1
		case '{', '[':
			if len(s.open) == maxDepth {
				return 0, errDeep
			}
			elements++
			s.open = append(s.open, level{object: b[i] == '{', key: b[i] == '{', exact: strings.EqualFold(s.last, "metadata")})
		case '}', ']':
			s.keys -= len(s.open[len(s.open)-1].seen)
			s.open = s.open[:len(s.open)-1]
			s.last = ""
		case ',':
			l := &s.open[len(s.open)-1]
			if l.commas++; l.commas >= maxElements {
				return 0, errLong
			}
			elements++
			l.key = l.object
		}
	}
	return elements, nil
}

// shape is where a scan of valid JSON stands.
type shape struct {
	open []level
	last string // the newest key
	keys int    // in seen of all levels
}

type level struct {
	object bool
	key    bool // the next string is a key
	exact  bool // keys that differ in case alone are left to the caller
	commas int
	seen   map[string]bool
}

func (s *shape) text(quoted []byte) error {
	if len(s.open) == 0 || !s.open[len(s.open)-1].key {
		return nil
	}
	l := &s.open[len(s.open)-1]
	l.key = false
	if s.last = ""; len(quoted) > maxKey {
		return nil
	}
	var name string
	if err := json.Unmarshal(quoted, &name); err != nil {
		return fmt.Errorf("%w: %w", errSyntax, err)
	}
	s.last = name
	if !l.exact {
		name = strings.ToLower(name)
	}
	if l.seen[name] {
		return errDuplicate
	}
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	l.seen[name] = true
	if s.keys++; s.keys > maxOpenKeys {
		return errLong
	}
	return nil
}

// stringEnd returns the index behind the string that begins at i.
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// elements returns the elements of the array that valid JSON is, as they stand.
func elements(b []byte) (out [][]byte, ok bool) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] != '[' {
		return nil, false
	}
	depth, from := 0, 1
	add := func(to int) {
		if e := bytes.TrimSpace(b[from:to]); len(e) > 0 {
			out = append(out, e)
		}
		from = to + 1
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i) - 1
		case '{', '[':
			depth++
		case ']', '}':
			if depth--; depth < 0 {
				add(i)
			}
		case ',':
			if depth == 0 {
				add(i)
			}
		}
	}
	return out, true
}
