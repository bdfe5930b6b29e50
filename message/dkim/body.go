package dkim

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

const (
	// bodyWindow is how far a search looks ahead at most, in octets. It keeps the cost linear for every body: a search for
	// one octet is not repeated over a long stretch because of another octet before it.
	bodyWindow = 256
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

	content bool // an ordinary octet has been seen
}

// NewBodyHasher returns a BodyHasher that has seen nothing, which is the body of a message without one.
func NewBodyHasher() *BodyHasher {
	return &BodyHasher{hash: sha256.New(), out: make([]byte, 0, bodyBuffer)}
}

// Write adds p to the body. It always takes all of p and never fails.
func (h *BodyHasher) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if !h.space && !h.cr {
			k := unchanged(p[:min(len(p), bodyWindow)])
			h.put(p[:k])
			p = p[k:]
		}
		p = p[h.reduce(p):]
	}
	return n, nil
}

// unchanged returns the length of a prefix of p that is the same in canonical form and ends with an ordinary octet: it has
// no tab, no space before a space or a CR, and no line end last.
func unchanged(p []byte) int {
	if tab := bytes.IndexByte(p, '\t'); tab >= 0 {
		p = p[:tab]
	}
	for i := 0; ; i++ {
		next := bytes.IndexByte(p[i:], ' ')
		if next < 0 {
			break
		}
		i += next
		if i+1 == len(p) || p[i+1] == ' ' || p[i+1] == '\r' {
			p = p[:i]
			break
		}
	}
	n := len(p)
	for n > 0 && (p[n-1] == '\r' || p[n-1] == '\n') {
		n--
	}
	return n
}

// reduce takes octets one by one until it has taken an ordinary one, with which nothing is held back any more, and returns
// how many it took.
func (h *BodyHasher) reduce(p []byte) int {
	for i, c := range p {
		h.octet(c)
		if c > ' ' {
			return i + 1
		}
	}
	return len(p)
}

func (h *BodyHasher) octet(c byte) {
	if h.cr {
		h.cr = false
		if c == '\n' {
			h.space = false
			h.lineEnds++
			return
		}
		h.put([]byte{'\r'})
	}
	switch c {
	case ' ', '\t':
		h.space = true
	case '\r':
		h.cr = true
	default:
		h.put([]byte{c})
	}
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
