package dkim

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"
)

const (
	// bodyWindow is how many octets are looked at and copied at a time, at most.
	bodyWindow = 1024
	// bodyBuffer is how many canonical octets are gathered for one call of the hash.
	bodyBuffer = 2048
)

// BodyHasher is an io.Writer that hashes a body in relaxed canonical form (RFC 6376 section 3.4.4) with SHA-256. The body
// must have CRLF line ends only (section 5.3); a CR or LF that stands alone is hashed as it is. The sum does not depend on
// how the body is split into writes. Memory is constant, whatever the body.
//
// A BodyHasher comes from NewBodyHasher and serves one body and one goroutine.
type BodyHasher struct {
	hash hash.Hash
	out  []byte // canonical octets that are not in hash yet

	// What is held back until an ordinary octet follows, in this order, because the end of a line drops the space and the
	// end of the body drops the line ends.
	lineEnds int64 // CRLFs
	space    bool  // a run of white space, of which one space remains
	cr       bool  // a CR, which may be half of a CRLF

	content bool // something has not been held back
}

// NewBodyHasher returns a BodyHasher that has seen nothing, which is the body of a message without one.
func NewBodyHasher() *BodyHasher {
	return &BodyHasher{hash: sha256.New(), out: make([]byte, 0, bodyBuffer)}
}

// Write adds p to the body. It always takes all of p and never fails.
func (h *BodyHasher) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		p = p[h.hold(p):]
		k := unchanged(p[:min(len(p), bodyWindow)])
		h.put(p[:k])
		p = p[k:]
	}
	return n, nil
}

// hold takes the octets of p up to the first ordinary one, holds back what has to be, and returns how many it took.
func (h *BodyHasher) hold(p []byte) int {
	for i, c := range p {
		if h.cr && c != '\n' {
			h.cr = false
			h.put([]byte{'\r'})
		}
		switch {
		case c > ' ':
			return i
		case c == ' ' || c == '\t':
			h.space = true
		case c == '\r':
			h.cr = true
		case c == '\n' && h.cr:
			h.cr, h.space = false, false
			h.lineEnds++
		default:
			h.put([]byte{c})
		}
	}
	return len(p)
}

// unchanged returns the length of a prefix of p that is the same in canonical form and ends with an ordinary octet, one that
// is no control and no space: there is no tab in it and no space before white space or a CR. It looks at eight octets at a time and stops at the first that has to
// change, so that no octet is looked at again and again.
func unchanged(p []byte) int {
	n := 0
	for ; n+9 <= len(p); n += 8 {
		here, next := binary.LittleEndian.Uint64(p[n:]), binary.LittleEndian.Uint64(p[n+1:])
		if m := equal(here, '\t') | equal(here, ' ')&(equal(next, ' ')|equal(next, '\r')); m != 0 {
			n += bits.TrailingZeros64(m) / 8
			return n - held(p[:n])
		}
	}
	for ; n < len(p); n++ {
		if p[n] == '\t' || p[n] == ' ' && (n+1 == len(p) || p[n+1] == ' ' || p[n+1] == '\r') {
			break
		}
	}
	return n - held(p[:n])
}

// equal returns a word with the high bit of each octet set that is c in the word x, and no other bit.
func equal(x uint64, c byte) uint64 {
	const ones, low7 = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	x ^= ones * uint64(c)
	return ^((x&low7 + low7) | x | low7)
}

// held returns how many octets at the end of p might have to be held back.
func held(p []byte) int {
	n := len(p)
	for n > 0 && p[n-1] <= ' ' {
		n--
	}
	return len(p) - n
}

// put adds p, which is not longer than bodyWindow and does not end a line, after what was held back.
func (h *BodyHasher) put(p []byte) {
	if len(p) == 0 {
		return
	}
	for ; h.lineEnds > 0; h.lineEnds-- {
		h.room(2)
		h.out = append(h.out, '\r', '\n')
	}
	h.room(1 + len(p))
	if h.space {
		h.space = false
		h.out = append(h.out, ' ')
	}
	h.out = append(h.out, p...)
	h.content = true
}

func (h *BodyHasher) room(n int) {
	if len(h.out)+n > bodyBuffer {
		h.hash.Write(h.out) // never fails
		h.out = h.out[:0]
	}
}

// Sum returns the hash of what has been written so far, as if the body ended there. More can be written after it.
func (h *BodyHasher) Sum() [sha256.Size]byte {
	h.hash.Write(h.out) // never fails
	h.out = h.out[:0]   // so that h and its copy below can share the memory
	end := *h
	end.hash = clone(h.hash)
	if end.cr {
		end.put([]byte{'\r'})
	}
	if end.content {
		end.out = append(end.out, '\r', '\n') // the one line end that remains, or the one that was missing
	}
	end.hash.Write(end.out)
	return [sha256.Size]byte(end.hash.Sum(nil))
}

// clone panics if the standard library's SHA-256 is ever no hash.Cloner, which its documentation promises it to be.
func clone(h hash.Hash) hash.Hash {
	c, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic(err)
	}
	return c
}
