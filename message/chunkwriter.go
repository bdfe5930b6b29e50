package message

import (
	"errors"
	"io"
)

// ErrChunkSize reports content given to a ChunkWriter that has not the size it was announced with.
var ErrChunkSize = errors.New("content has not the size that was announced")

// ChunkWriter sends canonical content as the only chunk of BDAT … LAST (RFC 3030), whose size the peer has been told. It
// changes nothing. Like DotWriter it sends nothing that is not canonical, since the peer may hand the message on by DATA.
//
// The last octet stays here until Close: with it the peer has the message, as with the terminator of DATA.
type ChunkWriter struct {
	w      io.Writer
	check  lineCheck
	left   int64 // octets that may still come
	held   [1]byte
	holds  bool
	err    error // sticky
	closed bool
}

// NewChunkWriter returns a ChunkWriter on w for size octets. It does not buffer: w should.
func NewChunkWriter(w io.Writer, size int64) *ChunkWriter { return &ChunkWriter{w: w, left: size} }

// Write implements io.Writer. Nothing of a block is sent that has a fault or goes beyond the size; from then on every
// call fails, and the connection must be closed.
func (c *ChunkWriter) Write(p []byte) (int, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.closed || int64(len(p)) > c.left:
		c.err = ErrChunkSize
		return 0, c.err
	case len(p) == 0:
		return 0, nil
	case !c.check.clean(p):
		c.err = ErrNotCanonical
		return 0, c.err
	}
	c.left -= int64(len(p))
	if err := c.release(); err != nil {
		return 0, err
	}
	last := len(p) - 1
	c.held[0], c.holds = p[last], true
	n, err := c.w.Write(p[:last])
	if err != nil {
		c.err = err
		return n, err
	}
	return len(p), nil
}

func (c *ChunkWriter) release() error {
	if c.holds {
		c.holds = false
		_, c.err = c.w.Write(c.held[:])
	}
	return c.err
}

// Close sends the last octet. Content that is shorter than announced is ErrChunkSize, and one that does not end in CRLF
// ErrNotCanonical: its last octet is not sent. It does not close or flush the underlying writer. A second Close does
// nothing.
func (c *ChunkWriter) Close() error {
	switch {
	case c.err != nil || c.closed:
		return c.err
	case c.left > 0:
		c.err = ErrChunkSize
	case !c.check.atLineStart():
		c.err = ErrNotCanonical
	}
	if c.err != nil {
		return c.err
	}
	c.closed = true
	return c.release()
}
