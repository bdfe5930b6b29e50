package message

import (
	"bytes"
	"fmt"
	"io"
)

// DotWriter sends canonical content as the DATA stream of a client: it doubles the dot at the start of a line and ends
// with CRLF.CRLF (RFC 5321 4.5.2). It changes nothing else: content that is not canonical is an error, never repaired,
// since the bytes were hashed and signed as they are.
type DotWriter struct {
	w      io.Writer
	check  lineCheck
	err    error // sticky
	closed bool
}

// NewDotWriter returns a DotWriter on w. It does not buffer: w should.
func NewDotWriter(w io.Writer) *DotWriter { return &DotWriter{w: w} }

// Write implements io.Writer. A bare CR, bare LF or NUL is ErrNotCanonical, and nothing of that block is sent; from then
// on every call fails, and the connection must be closed without the terminator.
func (d *DotWriter) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.closed {
		return 0, fmt.Errorf("writing content behind its end: %w", io.ErrClosedPipe)
	}
	start := d.check.atLineStart()
	cr := d.check.cr
	if !d.check.clean(p) {
		d.err = ErrNotCanonical
		return 0, d.err
	}
	return d.stuff(p, start, cr)
}

// stuff writes p in pieces, each ending where a dot has to be doubled. The state of the octets before p says whether p
// begins a line, or begins with the LF of one.
func (d *DotWriter) stuff(p []byte, start, cr bool) (n int, err error) {
	for n < len(p) {
		if start && p[n] == '.' {
			if err := d.send([]byte{'.'}); err != nil {
				return n, err
			}
		}
		piece := p[n:]
		if cr && n == 0 { // the LF of a CRLF that was split between two blocks
			piece, start = p[:1], true
		} else if i := bytes.Index(piece, []byte("\r\n.")); i >= 0 {
			piece, start = piece[:i+2], true
		} else {
			start = false
		}
		if err := d.send(piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

func (d *DotWriter) send(p []byte) error {
	if _, err := d.w.Write(p); err != nil {
		d.err = fmt.Errorf("sending content: %w", err)
	}
	return d.err
}

// Close writes the terminator. Content that does not end in CRLF is ErrNotCanonical and gets no terminator; empty
// content is fine. It does not close or flush the underlying writer. A second Close does nothing.
func (d *DotWriter) Close() error {
	if d.err != nil || d.closed {
		return d.err
	}
	if !d.check.atLineStart() {
		d.err = ErrNotCanonical
		return d.err
	}
	d.closed = true
	return d.send([]byte(".\r\n"))
}
