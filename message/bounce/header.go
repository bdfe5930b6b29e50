package bounce

import (
	"bytes"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// field is one header field, unfolded.
type field struct{ name, value string }

// header is a section of fields, read as leniently as mail programs do.
type header []field

// get returns the first field of a name, decoded (RFC 2047) and trimmed.
func (h header) get(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			return decodeWords(f.value)
		}
	}
	return ""
}

// all returns the fields of a name.
func (h header) all(name string) []string {
	var out []string
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			out = append(out, decodeWords(f.value))
		}
	}
	return out
}

func decodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	if out, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
		return out
	}
	return s
}

// parseHeader reads fields up to the first empty line, or up to a line that can be none, where the body then begins.
func parseHeader(raw []byte) (h header, body []byte) {
	limit := min(len(raw), maxHeader)
	for at := 0; at < len(raw); {
		line, next := lineAt(raw, at)
		switch name, value, ok := bytes.Cut(line, []byte(":")); {
		case len(line) == 0:
			return h, raw[next:]
		case next > limit || len(h) >= maxFields: // no more is kept; the body is still looked for
		case (line[0] == ' ' || line[0] == '\t') && len(h) > 0:
			h[len(h)-1].value += " " + string(bytes.TrimSpace(line))
		case at == 0 && bytes.HasPrefix(line, []byte("From ")), at == 0 && bytes.HasPrefix(line, []byte(">From ")): // of a mailbox file
		case ok && fieldName(bytes.TrimRight(name, " \t")):
			h = append(h, field{string(bytes.TrimRight(name, " \t")), string(bytes.TrimSpace(value))})
		default:
			return h, raw[at:]
		}
		at = next
	}
	return h, nil
}

func fieldName(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// clean makes one line of valid UTF-8 without control or invisible characters, at most max octets long.
func clean(s string, limit int) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = b.Len() > 0
			continue
		case r == utf8.RuneError:
			r = '?'
		case !unicode.IsPrint(r):
			continue
		}
		if b.Len()+utf8.RuneLen(r)+1 > limit {
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// typed takes the type off a typed field of RFC 3464, such as "rfc822; a@example.org".
func typed(value string) (kind, rest string) {
	kind, rest, ok := strings.Cut(value, ";")
	if !ok {
		return "", strings.TrimSpace(value)
	}
	return strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(rest)
}
