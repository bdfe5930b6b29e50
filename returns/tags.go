package returns

import (
	"crypto/hmac"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Keys makes and checks keyed hashes. *auth.Keyring is one. Its newest key makes tags, and those that it still has
// check them: while a key is being replaced, two are live.
type Keys interface {
	Digest(s string) store.Digest
	Digests(s string) []store.Digest
}

// Tags makes the local parts of return paths:
//
//	b  key number (1)  message ID (26)  recipient number (3)  MAC (16)
//
// in lower-case Crockford base32, 47 octets, so that neither folding nor the limit of 64 (RFC 5321 4.5.3.1.1) does harm.
// The MAC is the first 80 bits of a keyed hash of all the rest and the host. The idea is that of BATV, done per recipient.
type Tags struct {
	Keys Keys
	// Lifetime is how long after the message's acceptance a tag is taken; 0 means DefaultLifetime: the longest stay in our
	// queue, and 30 days that other hosts may keep it.
	Lifetime time.Duration
}

// DefaultLifetime is how long after a message's acceptance its tags are taken. A key must be kept that long after its
// successor was made.
const DefaultLifetime = 35 * 24 * time.Hour

// tagSize is the length of a tag.
const tagSize = 1 + 1 + 26 + 3 + 16

// maxNumber is the first recipient number that has no place in a tag.
const maxNumber = 1 << 15

// Errors of a tag. All of them are refused alike.
var (
	errForged  = errors.New("not a tag of ours")
	errExpired = errors.New("tag has expired")
)

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Mint returns the return path for one recipient, "" for a number that has no place in a tag.
func (t Tags) Mint(host string, id store.ID, number int) string {
	if number < 0 || number >= maxNumber {
		return ""
	}
	host = strings.ToLower(host)
	d := t.Keys.Digest(tagged(host, id, number))
	return encodeTag(d, id, number) + "@" + host
}

// Check returns what the tag of an address at host stands for.
func (t Tags) Check(local, host string, now time.Time) (id store.ID, number int, err error) {
	local, host = strings.ToLower(local), strings.ToLower(host)
	id, number, ok := decodeTag(local)
	if !ok {
		return id, 0, errForged
	}
	genuine := false
	for _, d := range t.Keys.Digests(tagged(host, id, number)) {
		genuine = hmac.Equal([]byte(encodeTag(d, id, number)), []byte(local)) || genuine
	}
	lifetime := t.Lifetime
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	switch {
	case !genuine:
		return store.ID{}, 0, errForged
	case now.After(id.Time().Add(lifetime)):
		return store.ID{}, 0, errExpired
	}
	return id, number, nil
}

// tagged is what the MAC is made of. The prefix keeps it apart from everything else that the keys hash.
func tagged(host string, id store.ID, number int) string {
	b := append([]byte("mailchute return path 1\x00"), id[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(number))
	return string(append(b, host...))
}

// encodeTag writes a tag. 26 characters hold two bits more than an ID, as in a ULID; they come first and are zero.
func encodeTag(d store.Digest, id store.ID, number int) string {
	var b strings.Builder
	b.WriteByte('b')
	b.WriteByte(alphabet(int(d.Key)))
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	for shift := 125; shift >= 0; shift -= 5 {
		b.WriteByte(alphabet(int(bits(hi, lo, shift))))
	}
	for shift := 10; shift >= 0; shift -= 5 {
		b.WriteByte(alphabet(number >> shift))
	}
	b.WriteString(crockford.EncodeToString(d.Sum[:10]))
	return b.String()
}

func alphabet(n int) byte { return "0123456789abcdefghjkmnpqrstvwxyz"[n&31] }

// bits returns the bits of a number of 128 from shift upwards, of which the lowest five count.
func bits(hi, lo uint64, shift int) uint64 {
	if shift >= 64 {
		return hi >> (shift - 64)
	}
	v := lo >> shift
	if shift > 59 {
		v |= hi << (64 - shift)
	}
	return v
}

// decodeTag reads what a tag says, in its one form.
func decodeTag(s string) (id store.ID, number int, ok bool) {
	if len(s) != tagSize || s[0] != 'b' {
		return id, 0, false
	}
	var hi, lo uint64
	for i, c := range []byte(s[1:31]) {
		n := strings.IndexByte("0123456789abcdefghjkmnpqrstvwxyz", c)
		switch {
		case n < 0:
			return id, 0, false
		case i == 0: // the number of the key: which of ours it is, the MAC tells
		case i == 1 && n > 7:
			return id, 0, false
		case i <= 26:
			hi, lo = hi<<5|lo>>59, lo<<5|uint64(n)
		default:
			number = number<<5 | n
		}
	}
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id, number, true
}
