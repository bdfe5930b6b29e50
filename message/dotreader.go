package message

import "bufio"

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
	br *bufio.Reader
}

// NewDotReader returns a DotReader on br, which stands right behind the line of the DATA command.
func NewDotReader(br *bufio.Reader) *DotReader { return &DotReader{br: br} }

// Read implements io.Reader. It blocks only while it has nothing to yield.
func (d *DotReader) Read(p []byte) (int, error) { return 0, nil }

// Fault returns the first fault of the smuggling class that was seen on the wire so far: ErrBareCR, ErrNUL or
// ErrLoneDot, else nil. It is worth asking after io.EOF, and needed there: after unstuffing CRLF.LF cannot be seen any more.
func (d *DotReader) Fault() error { return nil }

// Done reports whether the terminator has been consumed.
func (d *DotReader) Done() bool { return false }
