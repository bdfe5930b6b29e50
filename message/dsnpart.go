package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
)

// maxOriginal is how much of the original message is returned, in octets.
const maxOriginal = 50_000

// part is one body part of a report.
type part struct {
	mediaType   string
	description string
	encoding    string
	body        []byte // as it stands in the message, ending in CRLF
}

// original is what is returned of the message that the report is about.
type original struct {
	header    []byte // the header section without the blank line
	content   []byte // what is returned
	truncated bool
	messageID string // empty if it has none that can be repeated
}

// readOriginal reads no more of d.Original than may be returned. The message has been canonical since it was accepted, so
// a fault in it is an error and is not repaired.
func (d DSN) readOriginal() (original, error) {
	if d.Original == nil {
		return original{}, nil
	}
	b, err := io.ReadAll(io.LimitReader(NewCanonical(d.Original, CanonicalOptions{MaxLine: -1}), maxOriginal+1))
	if err != nil {
		return original{}, err
	}
	truncated := len(b) > maxOriginal
	if truncated {
		b = b[:bytes.LastIndexByte(b[:maxOriginal], '\n')+1]
	}
	o := original{header: headerOf(b), content: b, truncated: truncated}
	if !d.Full {
		o.content = o.header
		o.truncated = truncated && len(o.header) == len(b)
	}
	if h, _, err := ReadHeader(bytes.NewReader(o.header), HeaderLimits{UTF8: true}); err == nil {
		if id := h.Get("Message-ID"); isMessageID(id) {
			o.messageID = id
		}
	}
	return o, nil
}

// headerOf returns the header section of b without the blank line, all of b if there is none.
func headerOf(b []byte) []byte {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return b[:i+2]
	}
	return b
}

// part returns the third part. A header in UTF-8 needs the types of RFC 6532 and 6533; where the notification itself is
// sent without SMTPUTF8, such a part must be encoded to pass.
func (o original) part(d DSN) part {
	p := part{mediaType: "text/rfc822-headers", description: "Header of the message", encoding: "7bit", body: o.content}
	utf8 := hasHigh(o.header)
	switch {
	case d.Full && utf8:
		p.mediaType = "message/global"
	case d.Full:
		p.mediaType = "message/rfc822"
	case utf8:
		p.mediaType = "message/global-headers"
	}
	if d.Full {
		p.description = "The message"
	}
	switch {
	case utf8 && !d.UTF8():
		p.encoding, p.body = "base64", wrapBase64(o.content)
	case hasHigh(o.content):
		p.encoding = "8bit"
	}
	return p
}

func wrapBase64(b []byte) []byte {
	const perLine = 57 // octets that make 76 characters
	var out []byte
	for chunk := range slices.Chunk(b, perLine) {
		out = base64.StdEncoding.AppendEncode(out, chunk)
		out = append(out, "\r\n"...)
	}
	return out
}

// textPart encodes the text for people.
func (d DSN) textPart(o original) part {
	text := d.text(o)
	p := part{mediaType: "text/plain; charset=us-ascii", description: "Notification", encoding: "7bit", body: []byte(text)}
	if isASCII(text) {
		return p
	}
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write(p.body) // a bytes.Buffer cannot fail
	_ = w.Close()
	p.mediaType, p.encoding, p.body = "text/plain; charset=utf-8", "quoted-printable", b.Bytes()
	return p
}

// assemble puts the header of the report above its parts.
func (d DSN) assemble(o original, parts []part) []byte {
	boundary := d.boundary(parts)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Mail Delivery System <%s>\r\n", d.From)
	fmt.Fprintf(&b, "To: <%s>\r\n", d.To)
	fmt.Fprintf(&b, "Subject: %s\r\n", d.subject())
	fmt.Fprintf(&b, "Date: %s\r\n", Date(d.Date))
	fmt.Fprintf(&b, "Message-ID: %s\r\n", d.MessageID)
	if o.messageID != "" {
		fmt.Fprintf(&b, "In-Reply-To: %[1]s\r\nReferences: %[1]s\r\n", o.messageID)
	}
	b.WriteString("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", boundary)
	fmt.Fprintf(&b, "Content-Transfer-Encoding: %s\r\n\r\n", outerEncoding(parts))
	b.WriteString("This is a delivery status notification in MIME format.\r\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "\r\n--%s\r\n", boundary)
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Description: %s\r\n", p.mediaType, p.description)
		fmt.Fprintf(&b, "Content-Transfer-Encoding: %s\r\n\r\n", p.encoding)
		b.Write(p.body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

func outerEncoding(parts []part) string {
	for _, p := range parts {
		if p.encoding == "8bit" {
			return "8bit"
		}
	}
	return "7bit"
}

// boundary returns a boundary that is in none of the parts. It is made from the Message-ID, so that nobody who writes a
// message can know it, and the same notification always has the same one.
func (d DSN) boundary(parts []part) string {
	for n := 0; ; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", n, d.MessageID))
		boundary := "=_" + hex.EncodeToString(sum[:16])
		used := false
		for _, p := range parts {
			used = used || bytes.Contains(p.body, []byte(boundary))
		}
		if !used {
			return boundary
		}
	}
}
