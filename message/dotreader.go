package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// DotReader reads the content of one DATA command from the wire and removes the dot stuffing (RFC 5321 4.5.2).
//
// Only CRLF.CRLF ends the data, where the first CRLF may be the one of the DATA command itself. At that point Read
// returns io.EOF, and not one byte behind the terminator has been consumed. If the source ends first Read returns
// io.ErrUnexpectedEOF, any other error of the source is returned as it is; in both cases the connection is not in step
// any more and must be closed. Line ends are passed on as they are; Canonical normalises them.
//
// Bytes of the smuggling class do not stop it, so that the caller can find the true end of the data first. They are
// kept for Fault.
type DotReader struct {
	br    *bufio.Reader
	check lineCheck
	start bool  // at the start of a line, behind a CRLF; a dot here is stuffing or the terminator
	cr    bool  // the last octet yielded was a CR
	fault error // first fault seen on the wire
	err   error // sticky
}

// NewDotReader returns a DotReader on br, which stands right behind the line of the DATA command.
func NewDotReader(br *bufio.Reader) *DotReader {
	d := new(DotReader)
	d.Reset(br)
	return d
}

// Reset makes d the same as a new one on br.
func (d *DotReader) Reset(br *bufio.Reader) { *d = DotReader{br: br, start: true} }

// Read implements io.Reader. It blocks only while it has nothing to yield.
func (d *DotReader) Read(p []byte) (n int, err error) {
	for n < len(p) && d.err == nil {
		if n > 0 && d.br.Buffered() < len(".\r\n") {
			return n, nil
		}
		if d.start && !d.startLine() {
			break
		}
		m := d.text(p[n:])
		n += m
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, d.err
}

// startLine takes the stuffed dot at the start of a line, if there is one, and returns false at the terminator or on an
// error. To know the terminator it looks up to three bytes ahead: data without a terminator is no data, so they must
// come.
func (d *DotReader) startLine() bool {
	b, ok := d.peek(1)
	if !ok {
		return false
	}
	d.start = false
	if b[0] != '.' {
		return true
	}
	if b, ok = d.peek(2); ok && b[1] == '\r' {
		b, ok = d.peek(3)
	}
	if !ok {
		return false
	}
	if len(b) == 3 && b[2] == '\n' {
		d.skip(3)
		d.err = io.EOF
		return false
	}
	d.inspect(b[:1])
	d.skip(1)
	d.cr = false
	return true
}

// text copies the rest of the line, and all lines behind it that do not start with a dot and are in the buffer.
func (d *DotReader) text(p []byte) int {
	if _, ok := d.peek(1); !ok {
		return 0
	}
	b, _ := d.peek(min(len(p), d.br.Buffered())) // what is buffered can be peeked
	if d.cr && b[0] == '\n' {
		b, d.start = b[:1], true
	} else if i := dotLine(b); i >= 0 {
		b, d.start = b[:i], true
	} else {
		d.start = bytes.HasSuffix(b, []byte("\r\n"))
	}
	d.cr = b[len(b)-1] == '\r'
	d.inspect(b)
	n := copy(p, b)
	d.skip(n)
	return n
}

// dotLine returns where the first line of b begins that does so with a dot behind a CRLF, or -1. Most text has few dots
// and all of it many lines, so it goes from dot to dot, until there are too many of them.
func dotLine(b []byte) int {
	at := 0
	for range 16 + len(b)/64 {
		i := bytes.IndexByte(b[at:], '.')
		if i < 0 {
			return -1
		}
		if at += i; at >= 2 && b[at-2] == '\r' && b[at-1] == '\n' {
			return at
		}
		at++
	}
	at = max(at-2, 0)
	if i := bytes.Index(b[at:], []byte("\r\n.")); i >= 0 {
		return at + i + 2
	}
	return -1
}

// inspect looks for faults in wire bytes. The terminator never comes here.
func (d *DotReader) inspect(b []byte) {
	if d.fault != nil || d.check.clean(b) {
		return
	}
	for _, c := range b {
		if d.fault = d.check.step(c); d.fault != nil {
			return
		}
	}
}

func (d *DotReader) peek(n int) ([]byte, bool) {
	b, err := d.br.Peek(n)
	if len(b) == n {
		return b, true
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	d.err = err
	return nil, false
}

// skip consumes what has been peeked, which cannot fail.
func (d *DotReader) skip(n int) { _, _ = d.br.Discard(n) }

// Fault returns the first fault of the smuggling class that was seen on the wire so far: ErrBareCR, ErrNUL or
// ErrLoneDot, else nil. It has to be asked after io.EOF: once the dots are unstuffed, CRLF.LF can no longer be seen.
func (d *DotReader) Fault() error { return d.fault }

// Done reports whether the terminator has been consumed.
func (d *DotReader) Done() bool { return errors.Is(d.err, io.EOF) }
