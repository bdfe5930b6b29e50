package bounce

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
)

// entity is a message or a body part, as far as it could be read.
type entity struct {
	header    header
	mediaType string // in lower case, text/plain where nothing sensible is declared
	params    map[string]string
	body      []byte // decoded, for leaves only
}

// original tells whether the part is the returned message or its header.
func (e entity) original() bool {
	switch e.mediaType {
	case "message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers":
		return true
	}
	return false
}

// walker collects the leaves of a message. A returned message is a leaf: what is in it was written by ourselves, or by
// somebody who wants us to take it for a report.
type walker struct {
	leaves    []entity
	parts     int
	truncated bool
}

// read walks a whole message and returns its root.
func (w *walker) read(raw []byte) entity {
	return w.entity(raw, 0, "text/plain")
}

func (w *walker) entity(raw []byte, depth int, otherwise string) entity {
	h, body := parseHeader(raw)
	e := entity{header: h}
	e.mediaType, e.params = contentType(h.get("Content-Type"), otherwise)
	boundary := e.params["boundary"]
	if !strings.HasPrefix(e.mediaType, "multipart/") || boundary == "" {
		e.body = decode(h.get("Content-Transfer-Encoding"), body)
		w.leaves = append(w.leaves, e)
		return e
	}
	child := "text/plain"
	if e.mediaType == "multipart/digest" {
		child = "message/rfc822"
	}
	for _, part := range w.split(body, boundary, depth) {
		w.entity(part, depth+1, child)
	}
	return e
}

// split returns the parts between the boundaries, as many as the limits leave. A last part without an end counts: many
// servers cut their reports.
func (w *walker) split(body []byte, boundary string, depth int) [][]byte {
	if depth >= maxDepth {
		w.truncated = true
		return nil
	}
	var parts [][]byte
	mark := []byte("--" + boundary)
	start := -1 // of the part being read
	for at := 0; at < len(body); {
		line, next := lineAt(body, at)
		if rest, found := bytes.CutPrefix(line, mark); found && endsMark(rest) {
			if start >= 0 {
				parts = append(parts, body[start:at])
			}
			start = next
			if bytes.HasPrefix(rest, []byte("--")) {
				start = -1
				break
			}
			if w.parts++; w.parts > maxParts {
				w.truncated = true
				return parts
			}
		}
		at = next
	}
	if start >= 0 && start < len(body) {
		parts = append(parts, body[start:])
	}
	return parts
}

// endsMark tells whether nothing but white space follows a boundary, or the dashes of the last one.
func endsMark(rest []byte) bool {
	return len(bytes.TrimSpace(bytes.TrimPrefix(rest, []byte("--")))) == 0
}

// lineAt returns the line at an offset without its end, and where the next one begins.
func lineAt(b []byte, at int) (line []byte, next int) {
	i := bytes.IndexByte(b[at:], '\n')
	if i < 0 {
		return b[at:], len(b)
	}
	return bytes.TrimSuffix(b[at:at+i], []byte("\r")), at + i + 1
}

// contentType reads the field as mail programs do: what is malformed loses its parameters, not its meaning.
func contentType(field, otherwise string) (string, map[string]string) {
	if field == "" {
		return otherwise, nil
	}
	mediaType, params, err := mime.ParseMediaType(field)
	if err == nil || mediaType != "" {
		return strings.ToLower(mediaType), params
	}
	word, rest, _ := strings.Cut(field, ";")
	params = map[string]string{}
	for p := range strings.SplitSeq(rest, ";") {
		if name, value, ok := strings.Cut(p, "="); ok {
			params[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	word = strings.ToLower(strings.TrimSpace(word))
	if strings.Count(word, "/") != 1 {
		return otherwise, params
	}
	return word, params
}

// decode undoes a transfer encoding. Of what cannot be decoded, the part before the fault counts.
func decode(encoding string, body []byte) []byte {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "quoted-printable":
		out, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))) // the part before a fault counts
		return out
	case "base64":
		out, _ := io.ReadAll(base64.NewDecoder(base64.StdEncoding, base64Only{bytes.NewReader(body)})) // likewise
		return out
	}
	return body
}

// base64Only leaves out what RFC 2045 6.8 tells to ignore.
type base64Only struct{ r io.Reader }

func (b base64Only) Read(p []byte) (int, error) {
	for {
		n, err := b.r.Read(p)
		kept := 0
		for _, c := range p[:n] {
			if c == '+' || c == '/' || c == '=' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
				p[kept] = c
				kept++
			}
		}
		if kept > 0 || err != nil {
			return kept, err
		}
	}
}
