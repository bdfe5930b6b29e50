package message

import (
	"bytes"
	"io"
	"slices"
)

// CanonicalOptions says what a Canonical refuses. The zero value is the default.
type CanonicalOptions struct {
	// RejectBareLF makes a bare LF an error. By default it becomes CRLF. The error comes at the end of the content, so
	// that any of the smuggling class, which closes the connection, goes first.
	RejectBareLF bool
	// MaxLine is the limit of a text line in octets, its CRLF not counted: 0 means 998, negative means none.
	MaxLine int
	// MaxSize is the limit of the canonical size in octets: 0 means none. Content of exactly this size passes.
	MaxSize int64
}

// Canonical is an io.Reader that turns content, dots already unstuffed, into the form that is hashed, signed and stored:
// CRLF line ends only, the last line ended.
//
// It refuses bare CR, NUL and a lone dot between odd line ends (ErrSmuggling), lines over the limit (ErrLineTooLong) and
// content over the limit (ErrTooLarge). What it yields and which error it ends with do not depend on how the source
// splits its reads. After an error it yields nothing more; the caller drains the source itself if it needs to. What was
// yielded before an error must be thrown away.
type Canonical struct {
	src     io.Reader
	opts    CanonicalOptions
	check   lineCheck
	out     []byte // expanded form of the last block, if that block needed one
	pending []byte // rest of out
	err     error  // what Read returns once pending is empty
	size    int64
	bareLFs int64
	high    bool
}

// defaultMaxLine is the limit of RFC 5322 2.1.1.
const defaultMaxLine = 998

// maxEmptyReads is how often a source may yield nothing without an error before it counts as broken.
const maxEmptyReads = 100

// NewCanonical returns a Canonical that reads from r. It uses the caller's own buffer to read ahead, so a large one is
// fast.
func NewCanonical(r io.Reader, o CanonicalOptions) *Canonical {
	c := &Canonical{src: r, opts: o}
	switch {
	case o.MaxLine == 0:
		c.check.max = defaultMaxLine
	case o.MaxLine > 0:
		c.check.max = o.MaxLine
	}
	return c
}

// Read implements io.Reader.
func (c *Canonical) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for range maxEmptyReads {
		if n := copy(p, c.pending); n > 0 {
			c.pending = c.pending[n:]
			return n, nil
		}
		if c.err != nil {
			return 0, c.err
		}
		n, err := c.src.Read(p)
		ready := c.take(p[:n])
		if err != nil && c.err == nil {
			c.finish(err)
		}
		if ready {
			return n, nil
		}
	}
	return 0, io.ErrNoProgress
}

// take accepts a block. It returns true if the block is canonical as it stands and not empty; else what is to be
// yielded is in c.pending, or c.err says why nothing is.
func (c *Canonical) take(b []byte) bool {
	c.high = c.high || hasHigh(b)
	if c.check.clean(b) {
		c.grow(len(b))
		return c.err == nil && len(b) > 0
	}
	c.out = slices.Grow(c.out[:0], len(b)+len(b)/16)
	for len(b) > 0 && c.err == nil {
		i := bytes.IndexByte(b, '\n') + 1
		if i == 0 {
			i = len(b)
		}
		c.expand(b[:i])
		b = b[i:]
	}
	if c.err == nil {
		c.pending = c.out
	}
	return false
}

// expand appends the canonical form of line, which is part of one line or all of it, to c.out.
func (c *Canonical) expand(line []byte) {
	text := bytes.TrimSuffix(line, []byte{'\n'})
	if c.check.clean(text) {
		c.out = append(c.out, text...)
		c.grow(len(text))
		line = line[len(text):]
	}
	for _, ch := range line {
		if c.err == nil {
			c.err = c.expandByte(ch)
		}
	}
}

func (c *Canonical) expandByte(ch byte) error {
	bare := ch == '\n' && !c.check.cr
	if err := c.check.step(ch); err != nil {
		return err
	}
	if bare {
		c.bareLFs++
		c.out = append(c.out, '\r')
		c.grow(1)
	}
	c.out = append(c.out, ch)
	c.grow(1)
	return c.err
}

func (c *Canonical) grow(n int) {
	c.size += int64(n)
	if c.opts.MaxSize > 0 && c.size > c.opts.MaxSize {
		c.err = ErrTooLarge
	}
}

// finish takes the error that ended the source, and adds the missing line end to what is still to be yielded.
func (c *Canonical) finish(err error) {
	if err != io.EOF { // also one that wraps io.EOF: the message is torn
		c.err = err
		return
	}
	if c.err = c.check.end(); c.err != nil {
		return
	}
	if !c.check.atLineStart() {
		c.pending = append(c.pending, "\r\n"...)
		c.grow(2)
	}
	if c.err == nil && c.opts.RejectBareLF && c.bareLFs > 0 {
		c.err = ErrBareLF
	}
	if c.err != nil {
		c.pending = nil
		return
	}
	c.err = io.EOF
}

// Size returns the number of octets yielded or about to be yielded, after io.EOF the size of the message in the sense of
// RFC 1870.
func (c *Canonical) Size() int64 { return c.size }

// BareLFs returns how many bare LF have become CRLF so far.
func (c *Canonical) BareLFs() int64 { return c.bareLFs }

// EightBit reports whether any octet so far was above 127, in which case the next hop needs 8BITMIME.
func (c *Canonical) EightBit() bool { return c.high }
