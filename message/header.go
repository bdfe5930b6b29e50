package message

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Default limits of a header section.
const (
	defaultHeaderBytes  = 100 << 10
	defaultHeaderFields = 1000
)

// headerBlock is how much is read at once: most header sections fit.
const headerBlock = 4 << 10

// HeaderLimits bounds a header section. The zero value is the default.
type HeaderLimits struct {
	// MaxBytes is the limit of the header section in octets, the blank line not counted: 0 means 100 KiB.
	MaxBytes int
	// MaxFields is the limit of fields: 0 means 1,000.
	MaxFields int
	// UTF8 accepts UTF-8 in field bodies, which the message was announced to have by SMTPUTF8.
	UTF8 bool
	// Buffer is memory to begin in instead of fresh one. The Header and the reader of the body use it as long as they are
	// used themselves; what their methods return as strings is copied.
	Buffer []byte
}

func (l HeaderLimits) withDefaults() HeaderLimits {
	if l.MaxBytes == 0 {
		l.MaxBytes = defaultHeaderBytes
	}
	if l.MaxFields == 0 {
		l.MaxFields = defaultHeaderFields
	}
	if len(l.Buffer) == 0 {
		l.Buffer = make([]byte, headerBlock)
	}
	return l
}

// Header is the header section of one message. Every field keeps its bytes and its place until it is removed. It is not
// safe for concurrent use.
type Header struct {
	fields []Field
	blank  bool // a blank line ended the section
}

// ReadHeader reads the header section from the start of r, which yields canonical content, and returns it together with
// a reader of the body, which starts behind the blank line. It buffers no more than the header section and one block.
//
// A message that starts with the blank line, or is empty, has a Header without fields. A message that ends before any
// blank line consists of its header section: the body is empty, and WriteTo adds no blank line unless a field is
// added, which makes it well-formed for whoever parses it next. A message whose first line is no field is
// ErrHeaderSyntax, and so is a field without its CRLF. Errors of the class ErrHeader concern the message; any other
// error is that of r.
func ReadHeader(r io.Reader, l HeaderLimits) (*Header, io.Reader, error) {
	p := headerParser{limits: l.withDefaults(), fields: make([]Field, 0, 32)}
	buf := p.limits.Buffer[:0]
	for empty := 0; empty < maxEmptyReads; empty++ {
		n, err := r.Read(buf[len(buf):cap(buf)])
		if n > 0 {
			empty = 0
		}
		buf = buf[:len(buf)+n]
		done, perr := p.parse(buf)
		if perr != nil {
			return nil, nil, perr
		}
		if done {
			return &Header{fields: p.fields, blank: true}, &remainder{tail: buf[p.pos:], src: r, err: err}, nil
		}
		if err == io.EOF { // an error that wraps io.EOF is a torn message
			return p.finish(buf)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading the header section: %w", err)
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
			p.rebase(buf)
		}
	}
	return nil, nil, io.ErrNoProgress
}

// headerParser goes through a growing buffer line by line and looks at no line twice.
type headerParser struct {
	limits HeaderLimits
	fields []Field
	field  int // start of the field that is being read
	pos    int // start of the first line that has not been looked at
}

// parse looks at the complete lines of buf and reports whether the blank line was among them; p.pos is then behind it.
func (p *headerParser) parse(buf []byte) (bool, error) {
	for {
		i := bytes.IndexByte(buf[p.pos:], '\n')
		if i < 0 {
			return false, p.checkOpen(buf)
		}
		line := buf[p.pos : p.pos+i+1]
		blank := string(line) == "\r\n"
		if blank || !isBlank(line[0]) {
			if err := p.close(buf); err != nil {
				return false, err
			}
		}
		p.pos += len(line)
		if blank {
			return true, nil
		}
		if p.pos > p.limits.MaxBytes {
			return false, ErrHeaderTooLarge
		}
	}
}

// checkOpen refuses an unfinished last line that can no longer be within the limit, not even as the blank line. It tells
// the faults in the order in which they would be told had the line been there whole.
func (p *headerParser) checkOpen(buf []byte) error {
	if len(buf) <= p.limits.MaxBytes+len("\r") {
		return nil
	}
	if !isBlank(buf[p.pos]) {
		if err := p.close(buf); err != nil {
			return err
		}
	}
	return ErrHeaderTooLarge
}

// close ends the field that is being read at p.pos, where the next line begins.
func (p *headerParser) close(buf []byte) error {
	raw := buf[p.field:p.pos:p.pos]
	p.field = p.pos
	if len(raw) == 0 {
		return nil
	}
	f, ok := parseField(raw)
	switch {
	case !ok:
		return ErrHeaderSyntax
	case hasHigh(raw) && (!p.limits.UTF8 || !utf8.Valid(raw)):
		return ErrHeader8Bit
	case len(p.fields) == p.limits.MaxFields:
		return ErrHeaderFields
	}
	p.fields = append(p.fields, f)
	return nil
}

// finish ends the header section of a message without a body.
func (p *headerParser) finish(buf []byte) (*Header, io.Reader, error) {
	p.pos = len(buf)
	if p.pos > p.limits.MaxBytes {
		return nil, nil, ErrHeaderTooLarge
	}
	if err := p.close(buf); err != nil {
		return nil, nil, err
	}
	return &Header{fields: p.fields}, &remainder{err: io.EOF}, nil
}

// rebase lets the fields share the memory of the larger buffer, so that the smaller one can go.
func (p *headerParser) rebase(buf []byte) {
	at := 0
	for i, f := range p.fields {
		end := at + len(f.raw)
		p.fields[i].raw = buf[at:end:end]
		at = end
	}
}

// remainder yields what was read too much, then the error that came with it, or else the source.
type remainder struct {
	tail []byte
	src  io.Reader
	err  error
}

func (r *remainder) Read(p []byte) (int, error) {
	if len(r.tail) > 0 {
		n := copy(p, r.tail)
		r.tail = r.tail[n:]
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.src.Read(p)
}

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// Field returns the field at index i of Len.
func (h *Header) Field(i int) Field { return h.fields[i] }

// Get returns the Text of the first field of that name, without case, and "" if there is none.
func (h *Header) Get(name string) string {
	for _, f := range h.fields {
		if f.Is(name) {
			return f.Text()
		}
	}
	return ""
}

// All returns the Text of every field of that name in order.
func (h *Header) All(name string) []string {
	var all []string
	for _, f := range h.fields {
		if f.Is(name) {
			all = append(all, f.Text())
		}
	}
	return all
}

// Has reports whether a field of that name, without case, has a value that is not empty.
func (h *Header) Has(name string) bool {
	for _, f := range h.fields {
		if f.Is(name) && !f.empty() {
			return true
		}
	}
	return false
}

// Count returns the number of fields of that name.
func (h *Header) Count(name string) int {
	n := 0
	for _, f := range h.fields {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Remove removes every field with one of the names, without case, and returns the names removed, as they were written.
// A name that ends in * stands for all that begin like it.
func (h *Header) Remove(names ...string) []string {
	return h.RemoveFunc(func(f Field) bool {
		for _, name := range names {
			prefix, ok := strings.CutSuffix(name, "*")
			if ok && f.hasPrefix(prefix) || f.Is(name) {
				return true
			}
		}
		return false
	})
}

// RemoveFunc removes every field for which del returns true and returns the names removed, as they were written.
func (h *Header) RemoveFunc(del func(Field) bool) []string {
	var removed []string
	h.drop(func(f Field) bool {
		yes := del(f)
		if yes {
			removed = append(removed, f.Name())
		}
		return yes
	})
	return removed
}

// drop removes every field for which del returns true.
func (h *Header) drop(del func(Field) bool) { h.fields = slices.DeleteFunc(h.fields, del) }

// Prepend puts raw, one or more complete fields, on top. Anything else is ErrHeaderSyntax and changes nothing.
func (h *Header) Prepend(raw []byte) error {
	fields, err := splitFields(raw)
	if err != nil {
		return err
	}
	h.fields, h.blank = slices.Insert(h.fields, 0, fields...), true
	return nil
}

// Append puts raw, one or more complete fields, behind the last field. Anything else is ErrHeaderSyntax and changes
// nothing.
func (h *Header) Append(raw []byte) error {
	fields, err := splitFields(raw)
	if err != nil {
		return err
	}
	h.fields, h.blank = append(h.fields, fields...), true
	return nil
}

// splitFields copies raw, since the caller may go on using it.
func splitFields(raw []byte) ([]Field, error) {
	p := headerParser{limits: HeaderLimits{MaxBytes: len(raw), MaxFields: len(raw), UTF8: true}}
	raw = bytes.Clone(raw)
	blank, err := p.parse(raw)
	if err == nil && (blank || p.pos != len(raw)) {
		err = ErrHeaderSyntax
	}
	if err == nil {
		err = p.close(raw)
	}
	return p.fields, err
}

// Size returns the number of octets that WriteTo writes.
func (h *Header) Size() int64 {
	n := 0
	for _, f := range h.fields {
		n += len(f.raw)
	}
	if h.blank {
		n += len("\r\n")
	}
	return int64(n)
}

// WriteTo writes the header section, and the blank line if the message had one. Untouched fields are byte for byte what
// was read, so that WriteTo on an untouched Header followed by the body is the message.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(h.Bytes())
	return int64(n), err
}

// Bytes returns what WriteTo writes.
func (h *Header) Bytes() []byte { return h.AppendTo(make([]byte, 0, h.Size())) }

// AppendTo appends what WriteTo writes.
func (h *Header) AppendTo(b []byte) []byte {
	for _, f := range h.fields {
		b = append(b, f.raw...)
	}
	if h.blank {
		b = append(b, "\r\n"...)
	}
	return b
}

// EightBit reports whether any field has an octet above 127, in which case the next hop needs SMTPUTF8.
func (h *Header) EightBit() bool {
	for _, f := range h.fields {
		if hasHigh(f.raw) {
			return true
		}
	}
	return false
}
