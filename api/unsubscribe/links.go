package unsubscribe

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Keys encrypts links. *auth.Keyring is one.
type Keys interface {
	SealLink(at time.Time, nonce [24]byte, plaintext []byte) []byte
	OpenLink(nonce [24]byte, sealed []byte) ([]byte, bool)
}

// Lifetime is how long links work at least: as long as there is the key that made them, which must be kept that long
// after its successor was made.
const Lifetime = 90 * 24 * time.Hour

// Links makes and opens links. A link is a base URL and a token:
//
//	version 1 (1)  message ID (16)  recipient number (varint)  sealed
//	sealed: server (varint)  length of stream (1)  stream  address
//
// in base64 for URLs (RFC 4648 5), about 90 characters: long URLs in the field have been refused by receivers.
type Links struct{ Keys Keys }

const linkVersion = 1

// link is what a token says.
type link struct {
	message store.ID
	number  int
	server  int64
	stream  string
	address string // as message.MailboxKey writes it
}

// Fields returns the header fields for the copy of one recipient of a message, and nothing where the message is to have
// none. They depend on nothing but the arguments and the key file, so that every attempt sends the same.
func (l Links) Fields(m store.Message, number int, address string) []byte {
	token := l.token(m, number, address)
	if m.Unsubscribe == "" || token == "" {
		return nil
	}
	return message.Unsubscribe(m.Unsubscribe + token)
}

// token returns "" for an address that no list can hold.
func (l Links) token(m store.Message, number int, address string) string {
	key, err := message.MailboxKey(address)
	if err != nil || number < 0 || len(m.Stream) > 255 {
		return ""
	}
	plain := binary.AppendUvarint(nil, uint64(m.Server))
	plain = append(append(append(plain, byte(len(m.Stream))), m.Stream...), key...)
	b := append([]byte{linkVersion}, m.ID[:]...)
	b = binary.AppendUvarint(b, uint64(number))
	b = append(b, l.Keys.SealLink(m.Accepted, nonce(m.ID, number), plain)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// nonce is that of the one recipient of the one message, whose link never says anything else.
func nonce(id store.ID, number int) (n [24]byte) {
	copy(n[:], id[:])
	binary.BigEndian.PutUint64(n[16:], uint64(number))
	return n
}

// open reads a token. It is false for everything that is not ours.
func (l Links) open(token string) (out link, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1+16+1 || b[0] != linkVersion {
		return link{}, false
	}
	copy(out.message[:], b[1:])
	number, n := binary.Uvarint(b[17:])
	if n <= 0 || number > 1<<31 {
		return link{}, false
	}
	out.number = int(number)
	plain, ok := l.Keys.OpenLink(nonce(out.message, out.number), b[17+n:])
	if !ok {
		return link{}, false
	}
	return out, out.read(plain)
}

func (l *link) read(plain []byte) bool {
	server, n := binary.Uvarint(plain)
	if n <= 0 || len(plain) == n {
		return false
	}
	size := int(plain[n])
	rest := plain[n+1:]
	if len(rest) <= size {
		return false
	}
	l.server, l.stream, l.address = int64(server), string(rest[:size]), string(rest[size:])
	return true
}
