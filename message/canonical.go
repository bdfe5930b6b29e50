package message

import "io"

// CanonicalOptions says what a Canonical refuses. The zero value is the default.
type CanonicalOptions struct {
	// RejectBareLF makes a bare LF an error. By default it becomes CRLF.
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
	src io.Reader
}

// NewCanonical returns a Canonical that reads from r.
func NewCanonical(r io.Reader, o CanonicalOptions) *Canonical { return &Canonical{src: r} }

// Read implements io.Reader.
func (c *Canonical) Read(p []byte) (int, error) { return 0, io.EOF }

// Size returns the number of octets yielded so far, after io.EOF the size of the message in the sense of RFC 1870.
func (c *Canonical) Size() int64 { return 0 }

// BareLFs returns how many bare LF have become CRLF so far.
func (c *Canonical) BareLFs() int64 { return 0 }

// EightBit reports whether any octet so far was above 127, in which case the next hop needs 8BITMIME.
func (c *Canonical) EightBit() bool { return false }
