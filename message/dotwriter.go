package message

import "io"

// DotWriter sends canonical content as the DATA stream of a client: it doubles the dot at the start of a line and ends
// with CRLF.CRLF (RFC 5321 4.5.2). It changes nothing else: content that is not canonical is an error, never repaired,
// since the bytes were hashed and signed as they are.
type DotWriter struct {
	w io.Writer
}

// NewDotWriter returns a DotWriter on w. It does not buffer: w should.
func NewDotWriter(w io.Writer) *DotWriter { return &DotWriter{w: w} }

// Write implements io.Writer. A bare CR, bare LF or NUL is ErrNotCanonical; from then on every call fails, and the
// connection must be closed without the terminator.
func (d *DotWriter) Write(p []byte) (int, error) { return 0, nil }

// Close writes the terminator. Content that does not end in CRLF is ErrNotCanonical and gets no terminator; empty
// content is fine. It does not close or flush the underlying writer. A second Close does nothing.
func (d *DotWriter) Close() error { return nil }
