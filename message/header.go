package message

import "io"

// HeaderLimits bounds a header section. The zero value is the default.
type HeaderLimits struct {
	// MaxBytes is the limit of the header section in octets, the blank line not counted: 0 means 100 KiB.
	MaxBytes int
	// MaxFields is the limit of fields: 0 means 1,000.
	MaxFields int
	// UTF8 accepts UTF-8 in field bodies, which the message was announced to have by SMTPUTF8.
	UTF8 bool
}

// Header is the header section of one message. Every field keeps its bytes and its place until it is removed.
type Header struct {
	fields []Field
	blank  bool
}

// Field is one header field with the bytes it came with. It is read-only and shares memory with its Header.
type Field struct {
	raw   []byte
	colon int
}

// ReadHeader reads the header section from the start of r, which yields canonical content, and returns it together with
// a reader of the body, which starts behind the blank line. It buffers no more than the header section and one block.
//
// A message that starts with the blank line, or is empty, has a Header without fields. A message that ends before any
// blank line consists of its header section: the body is empty, and WriteTo adds no blank line. A message whose first
// line is no field is ErrHeaderSyntax, and so is a field without its CRLF.
func ReadHeader(r io.Reader, l HeaderLimits) (*Header, io.Reader, error) { return nil, nil, nil }

// Name returns the field name as it was written.
func (f Field) Name() string { return "" }

// Raw returns all bytes of the field including the last CRLF. The caller must not change them.
func (f Field) Raw() []byte { return nil }

// Value returns the unfolded field body without surrounding white space, encoded words left alone.
func (f Field) Value() string { return "" }

// Text returns the value for display: unfolded, encoded words of RFC 2047 decoded where the charset is known. It may contain any
// character, so it must be escaped for wherever it is shown.
func (f Field) Text() string { return "" }

// Is reports whether the field has the given name, without case.
func (f Field) Is(name string) bool { return false }

// Len returns the number of fields.
func (h *Header) Len() int { return 0 }

// Field returns the field at index i of Len.
func (h *Header) Field(i int) Field { return h.fields[i] }

// Get returns the Text of the first field of that name, without case, and "" if there is none.
func (h *Header) Get(name string) string { return "" }

// All returns the Text of every field of that name in order.
func (h *Header) All(name string) []string { return nil }

// Count returns the number of fields of that name.
func (h *Header) Count(name string) int { return 0 }

// Remove removes every field with one of the names, without case, and returns the names removed, as they were written.
// A name that ends in * stands for all that begin like it.
func (h *Header) Remove(names ...string) []string { return nil }

// RemoveFunc removes every field for which del returns true and returns the names removed, as they were written.
func (h *Header) RemoveFunc(del func(Field) bool) []string { return nil }

// Prepend puts raw, one or more complete fields, on top. Anything else is ErrHeaderSyntax and changes nothing.
func (h *Header) Prepend(raw []byte) error { return nil }

// Append puts raw, one or more complete fields, behind the last field. Anything else is ErrHeaderSyntax and changes nothing.
func (h *Header) Append(raw []byte) error { return nil }

// Size returns the number of octets that WriteTo writes.
func (h *Header) Size() int64 { return 0 }

// WriteTo writes the header section, and the blank line if the message had one. Untouched fields are byte for byte what
// was read, so that WriteTo on an untouched Header followed by the body is the message.
func (h *Header) WriteTo(w io.Writer) (int64, error) { return 0, nil }

// Bytes returns what WriteTo writes.
func (h *Header) Bytes() []byte { return nil }

// EightBit reports whether any field has an octet above 127, in which case the next hop needs SMTPUTF8.
func (h *Header) EightBit() bool { return false }
