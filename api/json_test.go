package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestCheckShape(t *testing.T) {
	for body, want := range map[string]error{
		`{"a":{"b":[1,{"a":"b"}]},"c":"{\"a\""}`:          nil,
		`{"Metadata":{"a":1,"A":2}}`:                      nil,
		`{"Metadata":{"a":1,"a":2}}`:                      errDuplicate,
		`[{"Metadata":{}},{"To":1,"to":2}]`:               errDuplicate,
		`{"a":1,"\u0061":2}`:                              errDuplicate,
		`{"a":1,"b":[{"a":1},{"a":1}],"A":1}`:             errDuplicate,
		`{"a":1}}`:                                        errSyntax,
		"\"\xff\"":                                        errSyntax,
		`{"a":"\\","b":"\""}`:                             nil,
		strings.Repeat("[", 32) + strings.Repeat("]", 32): nil,
		strings.Repeat("[", 33) + strings.Repeat("]", 33): errDeep,
		"[" + strings.Repeat("1,", 9_999) + "1]":          nil,
		"[" + strings.Repeat("1,", 10_000) + "1]":         errLong,
	} {
		if err := checkShape([]byte(body)); !errors.Is(err, want) || err != nil && want == nil {
			t.Errorf("checkShape(%s) = %v, want %v", body, err, want)
		}
	}
}

// duplicated reads the keys with the standard decoder, another way to the same
// answer.
func duplicated(d *json.Decoder) bool {
	tok, err := d.Token()
	if err != nil {
		return false
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return false
	}
	seen, found := map[string]bool{}, false
	for d.More() {
		if open == '{' {
			key, _ := d.Token()
			name, _ := key.(string)
			found = found || seen[strings.ToLower(name)]
			seen[strings.ToLower(name)] = true
		}
		found = duplicated(d) || found
	}
	_, _ = d.Token()
	return found
}

func FuzzCheckShape(f *testing.F) {
	for _, s := range []string{`{"From":"a@x.example","Headers":[{"Name":"a","Value":"b"}]}`, `[{"a":1,"A":{}}]`, `{"a":"\\\"","a":[]}`, `"x"`, `''`, "[[[["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := checkShape(b)
		if bytes.Contains(bytes.ToLower(b), []byte("meta")) || bytes.Contains(b, []byte(`\u`)) {
			return // keys of metadata have a rule of their own
		}
		if err == nil && (!json.Valid(b) || duplicated(json.NewDecoder(bytes.NewReader(b)))) {
			t.Errorf("passed %q", b)
		}
		if errors.Is(err, errDuplicate) && !duplicated(json.NewDecoder(bytes.NewReader(b))) {
			t.Errorf("no key twice in %q", b)
		}
	})
}

func FuzzEmail(f *testing.F) {
	f.Add([]byte(`{"From":"\"a, b\" <a@x.example>","To":"b@y.example,c@z.example","Subject":"=?","HtmlBody":"h","Headers":[{"Name":"X","Value":"y"}],"Metadata":{"a":"b"},"Attachments":[{"Name":"a","Content":"eA==","ContentType":"text/plain; charset=x"}]}`))
	c := &call{Server: &Server{opts: Options{}.withDefaults()}}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req emailRequest
		if checkShape(b) != nil || decodeChecked(b, &req) != nil {
			return
		}
		p, e := c.prepare(req)
		if e != nil {
			return
		}
		if _, err := p.letter.WriteTo(io.Discard); err != nil {
			t.Errorf("accepted %q and could not write it: %v", b, err)
		}
	})
}
