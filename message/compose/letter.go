package compose

import (
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"

	"github.com/emersion/go-message/textproto"

	"github.com/mailchute/mailchute/message"
)

// Letter is a message to be written. Who it goes to in truth is the envelope's
// matter: there is no field for blind recipients.
type Letter struct {
	From    message.Mailbox
	ReplyTo []message.Mailbox
	To, Cc  []message.Mailbox
	Subject string
	// Text and HTML are bodies in UTF-8; at least one is not empty. Their line
	// ends become CRLF.
	Text, HTML string
	// Fields are further header fields in order. The caller has checked them
	// with CheckField.
	Fields      []Field
	Attachments []Attachment
}

// Field is a header field of the client's own.
type Field struct{ Name, Value string }

// Attachment is a file. With a ContentID it is shown where the HTML body names
// it as cid:.
type Attachment struct {
	Name        string
	ContentType string // a media type; "" means application/octet-stream
	ContentID   string // without angle brackets and without cid:
	Content     []byte
}

// UTF8 tells whether the message can only be sent with SMTPUTF8 (RFC 6531),
// because a mailbox in its header has a local part that is not ASCII.
func (l Letter) UTF8() bool {
	for _, list := range [][]message.Mailbox{{l.From}, l.ReplyTo, l.To, l.Cc} {
		for _, m := range list {
			if !m.Address.ASCII() {
				return true
			}
		}
	}
	return false
}

// WriteTo writes the whole message without Date, Message-ID and trace fields.
// Boundaries are random, so two calls give different octets.
func (l Letter) WriteTo(w io.Writer) (int64, error) {
	count := &counter{w: w}
	root := l.root()
	var h textproto.Header
	h.Set("MIME-Version", "1.0")
	fields := l.fields()
	for i := len(fields) - 1; i >= 0; i-- { // Add puts a field on top
		h.Add(fields[i].Name, fields[i].Value)
	}
	if err := root.write(&h, count); err != nil {
		return count.n, fmt.Errorf("writing a message: %w", err)
	}
	return count.n, nil
}

func (l Letter) fields() []Field {
	out := []Field{{"From", addresses([]message.Mailbox{l.From})}}
	for _, f := range []struct {
		name string
		list []message.Mailbox
	}{{"Reply-To", l.ReplyTo}, {"To", l.To}, {"Cc", l.Cc}} {
		if len(f.list) > 0 {
			out = append(out, Field{f.name, addresses(f.list)})
		}
	}
	if l.Subject != "" {
		out = append(out, Field{"Subject", literal(l.Subject)})
	}
	for _, f := range l.Fields {
		out = append(out, Field{f.Name, mime.QEncoding.Encode("utf-8", squeeze(f.Value))})
	}
	return out
}

// addresses writes a list of mailboxes (RFC 5322 3.4).
func addresses(list []message.Mailbox) string {
	out := make([]string, len(list))
	for i, m := range list {
		name := squeeze(m.Name)
		a := mail.Address{Name: name, Address: m.Address.Local + "@" + m.Address.Domain}
		if !plain(name) || longestWord(name) > maxWord {
			// The library's Q encoding leaves characters that RFC 2047 5 (3) forbids in a phrase.
			a.Name = ""
			out[i] = encoded(name) + " " + a.String()
			continue
		}
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}

// plain tells whether s is printable ASCII that nobody takes for an encoded word.
func plain(s string) bool {
	return !strings.Contains(s, "=?") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

// squeeze makes one space of white space: a fold must not leave a line of
// nothing else (RFC 5322 3.2.2).
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// literal encodes unstructured text so that a reader gets exactly s. Text that
// looks like an encoded word has to be encoded itself, and so has white space
// that a fold could swallow, and what is too long to be folded.
func literal(s string) string {
	if !strings.Contains(s, "=?") && squeeze(s) == s && longestWord(s) <= maxWord {
		return mime.QEncoding.Encode("utf-8", s)
	}
	return encoded(s)
}

// encoded writes s in encoded words of whole characters (RFC 2047 2, 5).
func encoded(s string) string {
	var words []string
	for s != "" {
		n := 0
		for i, r := range s {
			if i+len(string(r)) > wordOctets {
				break
			}
			n = i + len(string(r))
		}
		words = append(words, "=?utf-8?b?"+encode64(s[:n])+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

const (
	maxWord    = 900 // octets without a space that still fit one line (RFC 5322 2.1.1)
	wordOctets = 45  // of text in one encoded word, which may have 75 characters (RFC 2047 2)
)

func longestWord(s string) int {
	n := 0
	for word := range strings.FieldsSeq(s) {
		n = max(n, len(word))
	}
	return n
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
