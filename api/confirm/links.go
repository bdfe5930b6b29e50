package confirm

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Keys makes keyed hashes. *auth.Keyring is one.
type Keys interface {
	// Digests returns the hash of a text under every key, the newest first.
	Digests(text string) []store.Digest
}

// macSize is how much of a hash is in a token, in octets.
const macSize = 20

// digests hashes what a token stands for. The first word keeps it apart from
// everything else that the keys hash.
func digests(k Keys, g store.Signature, until int64) []store.Digest {
	return k.Digests(fmt.Sprintf("sender confirmation\x00%d\x00%d\x00%s", g.ID, until, g.Email))
}

// token is the number of the signature, the second at which it ends, and the
// hash, in base64 for URLs (RFC 4648 5).
func token(k Keys, g store.Signature, until time.Time) string {
	b := binary.AppendUvarint(nil, uint64(g.ID))
	b = binary.AppendUvarint(b, uint64(until.Unix()))
	sum := digests(k, g, until.Unix())[0].Sum
	return base64.RawURLEncoding.EncodeToString(append(b, sum[:macSize]...))
}

// open returns the signature that a token is for and when it ends. It is false
// for everything that is not ours, or not of a signature that is there.
func open(k Keys, s *store.Snapshot, text string) (g store.Signature, until time.Time, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return g, until, false
	}
	id, n := binary.Uvarint(b)
	if n <= 0 {
		return g, until, false
	}
	second, m := binary.Uvarint(b[n:])
	if m <= 0 || len(b) != n+m+macSize {
		return g, until, false
	}
	g, there := s.Signatures[int64(id)]
	for _, d := range digests(k, g, int64(second)) {
		if hmac.Equal(d.Sum[:macSize], b[n+m:]) && there {
			return g, time.Unix(int64(second), 0), true
		}
	}
	return store.Signature{}, until, false
}
