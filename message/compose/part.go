package compose

import (
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// part is an entity of RFC 2045: one with content, or one made of parts.
type part struct {
	mediaType   string
	params      map[string]string
	disposition string // "" for bodies
	filename    string
	contentID   string
	encoding    string
	encode      func(io.Writer) error // writes the encoded content; nil for a multipart
	children    []part
}

// root arranges the bodies and attachments: alternatives first, inline images
// beside the HTML that shows them (RFC 2387), everything else after that.
func (l Letter) root() part {
	var inline, attached []part
	for _, a := range l.Attachments {
		if a.ContentID != "" && l.HTML != "" {
			inline = append(inline, a.part("inline"))
		} else {
			attached = append(attached, a.part("attachment"))
		}
	}
	var bodies []part
	if l.Text != "" {
		bodies = append(bodies, body("text/plain", l.Text))
	}
	if l.HTML != "" {
		bodies = append(bodies, group("multipart/related", append([]part{body("text/html", l.HTML)}, inline...)))
	}
	return group("multipart/mixed", append([]part{group("multipart/alternative", bodies)}, attached...))
}

// group makes a multipart of several parts; one part needs none.
func group(mediaType string, parts []part) part {
	if len(parts) == 1 {
		return parts[0]
	}
	g := part{mediaType: mediaType, params: map[string]string{}, children: parts}
	if mediaType == "multipart/related" {
		g.params["type"] = parts[0].mediaType
	}
	return g
}

func body(mediaType, text string) part {
	return part{
		mediaType: mediaType, params: map[string]string{"charset": "utf-8"},
		encoding: "quoted-printable", encode: func(w io.Writer) error { return quoted(w, text) },
	}
}

func (a Attachment) part(disposition string) part {
	mediaType, params, err := mime.ParseMediaType(a.ContentType)
	if err != nil || !attachable(mediaType) {
		// Messages and multiparts may not be encoded in base64 (RFC 2046 5.2.1).
		mediaType, params = "application/octet-stream", map[string]string{}
	}
	name := squeeze(a.Name)
	params["name"] = name
	return part{
		mediaType: mediaType, params: params, disposition: disposition, filename: name, contentID: a.ContentID,
		encoding: "base64", encode: func(w io.Writer) error { return base64Lines(w, a.Content) },
	}
}

func attachable(mediaType string) bool {
	return strings.Contains(mediaType, "/") && !strings.HasPrefix(mediaType, "multipart/") && !strings.HasPrefix(mediaType, "message/")
}

// write writes h with the part's own fields, and the content.
func (p part) write(h *textproto.Header, w io.Writer) error {
	if p.encode == nil {
		return p.writeParts(h, w)
	}
	p.describe(h)
	if err := textproto.WriteHeader(w, *h); err != nil {
		return err
	}
	return p.encode(w)
}

func (p part) writeParts(h *textproto.Header, w io.Writer) error {
	mw := textproto.NewMultipartWriter(w)
	p.params["boundary"] = mw.Boundary()
	h.Set("Content-Type", mime.FormatMediaType(p.mediaType, p.params))
	if err := textproto.WriteHeader(w, *h); err != nil {
		return err
	}
	for _, child := range p.children {
		if err := child.writeWithin(mw); err != nil {
			return err
		}
	}
	return mw.Close()
}

// writeWithin writes the part as one of a multipart. A multipart within needs
// its boundary before its header can be written.
func (p part) writeWithin(mw *textproto.MultipartWriter) error {
	var h textproto.Header
	if p.encode != nil {
		p.describe(&h)
		w, err := mw.CreatePart(h)
		if err != nil {
			return err
		}
		return p.encode(w)
	}
	late := new(lateWriter)
	inner := textproto.NewMultipartWriter(late)
	p.params["boundary"] = inner.Boundary()
	h.Set("Content-Type", mime.FormatMediaType(p.mediaType, p.params))
	w, err := mw.CreatePart(h)
	if err != nil {
		return err
	}
	late.Writer = w
	for _, child := range p.children {
		if err := child.writeWithin(inner); err != nil {
			return err
		}
	}
	return inner.Close()
}

// lateWriter gets its writer before the first octet is written.
type lateWriter struct{ io.Writer }

func (p part) describe(h *textproto.Header) {
	if p.contentID != "" {
		h.Set("Content-ID", "<"+p.contentID+">")
	}
	if p.disposition != "" {
		h.Set("Content-Disposition", mime.FormatMediaType(p.disposition, map[string]string{"filename": p.filename}))
	}
	h.Set("Content-Transfer-Encoding", p.encoding)
	h.Set("Content-Type", mime.FormatMediaType(p.mediaType, p.params))
}

// quoted writes text with CRLF for every line end, and one at its end.
func quoted(w io.Writer, text string) error {
	q := quotedprintable.NewWriter(w)
	if err := lines(q, text); err != nil {
		return err
	}
	if err := q.Close(); err != nil {
		return err
	}
	if strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\r") {
		return nil
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}

// lines writes text with LF for every line end, in pieces: a text may be large,
// and a copy of it as much again. quotedprintable.Writer remembers a bare CR
// until the next LF, however far away, and then leaves that LF out.
func lines(w io.Writer, text string) error {
	piece := make([]byte, 0, pieceOctets)
	for i := range len(text) {
		switch {
		case text[i] != '\r':
			piece = append(piece, text[i])
		case !strings.HasPrefix(text[i+1:], "\n"):
			piece = append(piece, '\n')
		}
		if len(piece) < cap(piece) && i < len(text)-1 {
			continue
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		piece = piece[:0]
	}
	return nil
}

const pieceOctets = 4096

const base64Line = 57 // octets that make the 76 characters of RFC 2045 6.8

func base64Lines(w io.Writer, b []byte) error {
	line := make([]byte, base64.StdEncoding.EncodedLen(base64Line)+2)
	for len(b) > 0 {
		n := min(len(b), base64Line)
		m := base64.StdEncoding.EncodedLen(n)
		base64.StdEncoding.Encode(line, b[:n])
		copy(line[m:], "\r\n")
		if _, err := w.Write(line[:m+2]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
