package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// base64Text is a text of base64, decoded where it stands: attachments are the
// largest part of most bodies, and a copy would be as much again.
type base64Text struct {
	octets []byte
	bad    bool // no base64
}

// UnmarshalJSON implements json.Unmarshaler. White space is ignored; what is not
// base64 is left to the caller, who knows which attachment it is.
func (t *base64Text) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	text, ok := plainText(b)
	if !ok {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		text = []byte(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }), ""))
	}
	*t = base64Text{octets: make([]byte, base64.StdEncoding.DecodedLen(len(text)))}
	n, err := base64.StdEncoding.Decode(t.octets, text)
	t.octets, t.bad = t.octets[:n], err != nil
	return nil
}

// plainText returns what is between the quotes of a JSON text without white
// space, and without a copy where there is none. It is false for what is no text,
// and for escapes that base64 has no use for.
func plainText(b []byte) ([]byte, bool) {
	if len(b) < 2 || b[0] != '"' {
		return nil, false
	}
	b = b[1 : len(b)-1]
	if !bytes.ContainsAny(b, "\\ \t\r\n") {
		return b, true
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) {
			i++
			c = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '/': '/'}[b[i]]
		}
		switch c {
		case 0, '\\':
			return nil, false
		case ' ', '\t', '\r', '\n':
		default:
			out = append(out, c)
		}
	}
	return out, true
}
