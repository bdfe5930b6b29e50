package message

import (
	"bytes"
	"io"
	"mime"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// Field is one header field with the bytes it came with. It is read-only and shares memory with its Header.
type Field struct {
	raw   []byte
	colon int
}

// parseField takes one complete field: a name of RFC 5322 2.2, a colon right behind it, a body without bare CR, bare LF
// and NUL, folded or not, and the last CRLF.
func parseField(raw []byte) (Field, bool) {
	colon := bytes.IndexByte(raw, ':')
	if colon <= 0 || !bytes.HasSuffix(raw, []byte("\r\n")) || bytes.IndexByte(raw, 0) >= 0 {
		return Field{}, false
	}
	for _, c := range raw[:colon] {
		if c <= ' ' || c >= 0x7f {
			return Field{}, false
		}
	}
	body := raw[colon+1:]
	for len(body) > 0 {
		line, rest, _ := bytes.Cut(body, []byte("\r\n"))
		if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, '\n') >= 0 || len(rest) > 0 && !isBlank(rest[0]) {
			return Field{}, false
		}
		body = rest
	}
	return Field{raw: raw, colon: colon}, true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// Name returns the field name as it was written.
func (f Field) Name() string { return string(f.raw[:f.colon]) }

// Raw returns all bytes of the field including the last CRLF. The caller must not change them.
func (f Field) Raw() []byte { return f.raw }

// Is reports whether the field has the given name, without case.
func (f Field) Is(name string) bool {
	return len(name) == f.colon && bytes.EqualFold(f.raw[:f.colon], []byte(name))
}

// hasPrefix reports whether the name begins like prefix, without case.
func (f Field) hasPrefix(prefix string) bool {
	return f.colon >= len(prefix) && bytes.EqualFold(f.raw[:len(prefix)], []byte(prefix))
}

// Value returns the unfolded field body without surrounding white space, encoded words left alone.
func (f Field) Value() string {
	body := bytes.Trim(f.raw[f.colon+1:], " \t\r\n")
	return strings.ReplaceAll(string(body), "\r\n", "")
}

// empty reports whether Value is "".
func (f Field) empty() bool { return len(bytes.Trim(f.raw[f.colon+1:], " \t\r\n")) == 0 }

// Text returns the value for display: unfolded, encoded words of RFC 2047 decoded where the charset is known. It may
// contain any character, so it must be escaped for wherever it is shown.
func (f Field) Text() string {
	value := f.Value()
	if !strings.Contains(value, "=?") {
		return value
	}
	text, err := wordDecoder().DecodeHeader(value)
	if err != nil {
		return value
	}
	return text
}

// wordDecoder knows the charsets of the WHATWG encoding standard, where mime alone knows three. They come from
// golang.org/x/text, which is in the build through the IDNA tables anyway.
func wordDecoder() *mime.WordDecoder {
	return &mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		enc, err := htmlindex.Get(charset)
		if err != nil {
			return nil, err
		}
		return enc.NewDecoder().Reader(r), nil
	}}
}
