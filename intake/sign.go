package intake

import (
	"io"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/dkim"
)

// hashing makes the body's DKIM hash be taken on its way to w, where a key of the
// account signs for the author: 32 octets then replace a second reading of the
// body when the message is signed.
func (s *submission) hashing(w io.Writer) io.Writer {
	if len(s.snap.Domains) == 0 || !s.snap.HasSigner(message.AuthorDomain(s.authors)) {
		return w
	}
	s.dkim = dkim.NewBodyHasher()
	return io.MultiWriter(w, s.dkim)
}

// bodyHash is zero where none was taken.
func (s *submission) bodyHash() (sum [32]byte) {
	if s.dkim == nil {
		return sum
	}
	return s.dkim.Sum()
}
