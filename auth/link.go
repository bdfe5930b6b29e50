package auth

import (
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// LinkNonceSize is the size of the nonce of a link.
const LinkNonceSize = chacha20poly1305.NonceSizeX

// SealLink encrypts what a link in a message carries, so that it can be neither
// read nor made by others (XChaCha20-Poly1305 under a key for links alone). The
// caller's nonce must never stand for two plaintexts. The key is the newest that
// is a second older than at, or else the oldest: so long as the key file has it,
// the same call gives the same octets, whatever keys are added meanwhile.
func (k *Keyring) SealLink(at time.Time, nonce [LinkNonceSize]byte, plaintext []byte) []byte {
	keys := k.set.Load().keys
	key := keys[0]
	for _, candidate := range keys[1:] {
		if !candidate.created.Add(time.Second).After(at) { // created is cut to the second
			key = candidate
		}
	}
	return key.links.Seal(nil, nonce[:], plaintext, nil)
}

// OpenLink decrypts what SealLink made with any of the keys. It is false for
// everything else.
func (k *Keyring) OpenLink(nonce [LinkNonceSize]byte, sealed []byte) ([]byte, bool) {
	keys := k.set.Load().keys
	for i := len(keys) - 1; i >= 0; i-- {
		if plaintext, err := keys[i].links.Open(nil, nonce[:], sealed, nil); err == nil {
			return plaintext, true
		}
	}
	return nil, false
}
