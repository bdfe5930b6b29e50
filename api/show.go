package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailchute/mailchute/message/compose"
	"github.com/mailchute/mailchute/store"
)

// messageDetail is a message with what became of it. Its texts are written after
// it, since they may be large.
type messageDetail struct {
	outboundMessage
	MessageEvents []messageEvent
}

func messageDump(c *call) (any, *Error) {
	r, e := c.message()
	if e != nil {
		return nil, e
	}
	body, e := c.copy(r)
	if e != nil {
		return nil, e
	}
	return streamed(func(w http.ResponseWriter) error {
		defer body.Close()
		o := c.object(w, nil)
		o.text("Body", body)
		return o.end()
	}), nil
}

func messageDetails(c *call) (any, *Error) {
	r, e := c.message()
	if e != nil {
		return nil, e
	}
	if e := c.reserve(min(r.Message.Size, 2*compose.MaxText) * shownOctets); e != nil {
		return nil, e
	}
	content, e := c.texts(r.Message.ID)
	if e != nil {
		return nil, e
	}
	body, e := c.copy(r)
	if e != nil {
		return nil, e
	}
	d := messageDetail{outbound(r, c.snapshot().Servers[r.Message.Server].DeliveryType == store.Sandbox), []messageEvent{}}
	d.Attachments = append([]string{}, content.Attachments...) // also where it was taken before lists had them
	for _, event := range r.Events {
		d.MessageEvents = append(d.MessageEvents, events(event, r)...)
	}
	return streamed(func(w http.ResponseWriter) error {
		defer body.Close()
		o := c.object(w, d)
		o.text("TextBody", strings.NewReader(content.Text))
		o.text("HtmlBody", strings.NewReader(content.HTML))
		o.text("Body", body)
		return o.end()
	}), nil
}

// copy opens a message as the first of its recipients who has it got it, and as
// it is stored before that, or when a key is no longer there to sign it again.
func (c *call) copy(r store.Record) (io.ReadCloser, *Error) {
	top, err := c.opts.SentTop(c.context(), r)
	if err != nil {
		c.opts.Log.Warn("message shown as stored", "request", c.id, "message", r.Message.ID, "err", err)
		top = nil
	}
	body, err := c.store.Body(c.context(), r.Message.ID)
	if err != nil {
		return nil, c.unexpected("opening a message", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(top), body), body}, nil
}

func (c *call) texts(id store.ID) (compose.Content, *Error) {
	body, err := c.store.Body(c.context(), id)
	if err != nil {
		return compose.Content{}, c.unexpected("opening a message", err)
	}
	defer body.Close()
	content, err := compose.ReadContent(body)
	if err != nil {
		return content, c.unexpected("reading a message", err)
	}
	return content, nil
}

// octets reads a message into memory.
func (c *call) octets(r store.Record) (string, *Error) {
	if e := c.reserve(r.Message.Size * shownOctets); e != nil {
		return "", e
	}
	body, err := c.store.Body(c.context(), r.Message.ID)
	if err != nil {
		return "", c.unexpected("opening a message", err)
	}
	defer body.Close()
	var b strings.Builder
	b.Grow(int(r.Message.Size))
	if _, err := io.Copy(&b, body); err != nil {
		return "", c.unexpected("reading a message", err)
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD"), nil
}

// objectWriter writes an object with long texts, which are never in memory as a
// whole. The reader has the timeout for each piece of it.
type objectWriter struct {
	w       io.Writer
	rc      *http.ResponseController
	timeout time.Duration
	comma   string
	buf     []byte
	err     error
}

// object begins an object with the keys of v, nil for none.
func (c *call) object(w http.ResponseWriter, v any) *objectWriter {
	o := &objectWriter{w: w, rc: http.NewResponseController(w), timeout: c.opts.WriteTimeout}
	if v == nil {
		o.put("{")
		return o
	}
	var b bytes.Buffer
	if o.err = encode(&b, v); o.err == nil {
		o.comma = ","
		o.put(strings.TrimSuffix(b.String(), "}\n"))
	}
	return o
}

func (o *objectWriter) put(s string) {
	if o.err == nil {
		_, o.err = io.WriteString(o.w, s)
	}
}

// pieceOctets of a text are read at once.
const pieceOctets = 32 << 10

// text writes a key and what r has. Octets that are not UTF-8 are replaced.
func (o *objectWriter) text(key string, r io.Reader) {
	o.put(o.comma + `"` + key + `":"`)
	o.comma = ","
	piece, rest := make([]byte, pieceOctets), 0
	for o.err == nil {
		n, err := io.ReadFull(r, piece[rest:])
		n += rest
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			o.err = fmt.Errorf("reading a text: %w", err)
			return
		}
		whole := n
		if !last {
			whole = lastRune(piece[:n])
		}
		o.escaped(piece[:whole])
		if rest = copy(piece, piece[whole:n]); last {
			break
		}
	}
	o.put(`"`)
}

// lastRune returns how many octets of b are whole characters, or no beginning of
// one.
func lastRune(b []byte) int {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

func (o *objectWriter) escaped(piece []byte) {
	_ = o.rc.SetWriteDeadline(time.Now().Add(o.timeout)) // a writer without deadlines is a test's
	o.buf = appendEscaped(o.buf[:0], piece)
	_, o.err = o.w.Write(o.buf)
}

// appendEscaped appends text as it stands between the quotes of RFC 8259 7.
func appendEscaped(b, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ':
			b = fmt.Appendf(b, "\\u%04x", r)
		case r == utf8.RuneError && n == 1:
			b = append(b, "\uFFFD"...)
		default:
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	return b
}

func (o *objectWriter) end() error {
	o.put("}\n")
	return o.err
}

// encode writes v with a line end.
func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
