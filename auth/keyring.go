package auth

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mailchute/mailchute/store"
)

// Keyring is the key file in memory: one or more master keys, of which the
// newest seals and hashes. It is safe for concurrent use; only Rotate and Prune
// touch the file. No way of printing or logging it shows a key.
type Keyring struct {
	path string
	mu   sync.Mutex // held across I/O: serialises the writers of the file
	set  atomic.Pointer[keySet]
}

// keySet is immutable. It is never empty; the newest key is the last.
type keySet struct{ keys []*masterKey }

func (s *keySet) newest() *masterKey { return s.keys[len(s.keys)-1] }

func (s *keySet) find(number uint32) *masterKey {
	for _, k := range s.keys {
		if k.number == number {
			return k
		}
	}
	return nil
}

// masterKey is one line of the key file with what is derived from it. Numbers
// are random and never 0, so a new key file is not mistaken for a lost one.
type masterKey struct {
	number      uint32
	created     time.Time
	master      [32]byte
	aead        cipher.AEAD
	links       cipher.AEAD
	macs        *sync.Pool // of hash.Hash: HMAC-SHA-256 under the hashing key
	fingerprint string
}

func newMasterKey(number uint32, created time.Time, master [32]byte) (*masterKey, error) {
	sealing, err := derive(master, "seal", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	hashing, err := derive(master, "hash", sha256.Size)
	if err != nil {
		return nil, err
	}
	linking, err := derive(master, "link", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	mark, err := derive(master, "fingerprint", 8)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(sealing)
	if err != nil {
		return nil, fmt.Errorf("preparing key %08x: %w", number, err)
	}
	links, err := chacha20poly1305.NewX(linking)
	if err != nil {
		return nil, fmt.Errorf("preparing key %08x: %w", number, err)
	}
	macs := &sync.Pool{New: func() any { return hmac.New(sha256.New, hashing) }}
	return &masterKey{number, created, master, aead, links, macs, hex.EncodeToString(mark)}, nil
}

func derive(master [32]byte, purpose string, size int) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, master[:], nil, "mailchute/"+purpose+"/1", size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key for %q: %w", purpose, err)
	}
	return key, nil
}

// generateKey returns a fresh key whose number avoids the set's.
func generateKey(s *keySet, now time.Time) (*masterKey, error) {
	var random [36]byte
	for {
		rand.Read(random[:])
		number := binary.BigEndian.Uint32(random[:])
		if number != 0 && s.find(number) == nil {
			return newMasterKey(number, now.UTC().Truncate(time.Second), [32]byte(random[4:]))
		}
	}
}

func (k *masterKey) digest(secret string) store.Digest {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	io.WriteString(mac, secret) // never fails
	d := store.Digest{Key: k.number}
	mac.Sum(d.Sum[:0])
	return d
}

func (k *masterKey) info() KeyInfo { return KeyInfo{k.number, k.created, k.fingerprint} }

// KeyInfo describes a key without giving it away.
type KeyInfo struct {
	Number      uint32
	Created     time.Time
	Fingerprint string // derived one-way from the key
}

// Keys describes the keys, oldest first. The last one seals and hashes.
func (k *Keyring) Keys() []KeyInfo {
	var out []KeyInfo
	for _, key := range k.set.Load().keys {
		out = append(out, key.info())
	}
	return out
}

// Fingerprint names the newest key: its number and a one-way mark of its
// contents. Two key files with the same fingerprint seal alike.
func (k *Keyring) Fingerprint() string {
	newest := k.set.Load().newest()
	return fmt.Sprintf("%08x-%s", newest.number, newest.fingerprint)
}

// A sealed record: version, key number (big-endian), nonce, ciphertext with tag.
// Version and key number are authenticated with the caller's data.
const (
	sealVersion = 1
	sealHeader  = 5
	sealMinimum = sealHeader + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Seal encrypts plaintext with the newest key (XChaCha20-Poly1305, random
// nonce). Open gives it back only for the same aad, which names the record, so
// sealed texts cannot be exchanged between records.
func (k *Keyring) Seal(plaintext, aad string) []byte {
	key := k.set.Load().newest()
	out := make([]byte, sealHeader+chacha20poly1305.NonceSizeX, sealMinimum+len(plaintext))
	out[0] = sealVersion
	binary.BigEndian.PutUint32(out[1:], key.number)
	nonce := out[sealHeader:]
	rand.Read(nonce)
	bound := append(out[:sealHeader:sealHeader], aad...)
	return key.aead.Seal(out, nonce, []byte(plaintext), bound)
}

// Open decrypts what Seal made. It fails with a *KeyMissingError when the key
// file lacks the key, and with store.ErrDamaged when the text was changed, made
// for another record, or sealed by another key of the same number.
func (k *Keyring) Open(sealed []byte, aad string) (string, error) {
	number, ok := sealedKey(sealed)
	if !ok {
		return "", fmt.Errorf("sealed text of %s: %w", aad, store.ErrDamaged)
	}
	key := k.set.Load().find(number)
	if key == nil {
		return "", &KeyMissingError{Key: number}
	}
	nonce := sealed[sealHeader : sealHeader+chacha20poly1305.NonceSizeX]
	bound := append(sealed[:sealHeader:sealHeader], aad...)
	plaintext, err := key.aead.Open(nil, nonce, sealed[sealHeader+len(nonce):], bound)
	if err != nil {
		return "", fmt.Errorf("sealed text of %s: %w", aad, store.ErrDamaged)
	}
	return string(plaintext), nil
}

func sealedKey(sealed []byte) (uint32, bool) {
	if len(sealed) < sealMinimum || sealed[0] != sealVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}

// Digest returns the keyed hash of secret under the newest key.
func (k *Keyring) Digest(secret string) store.Digest { return k.set.Load().newest().digest(secret) }

// Digests returns the keyed hash of secret under every key, newest first: the
// values under which a record of that secret may be stored.
func (k *Keyring) Digests(secret string) []store.Digest {
	keys := k.set.Load().keys
	out := make([]store.Digest, 0, len(keys))
	for i := len(keys) - 1; i >= 0; i-- {
		out = append(out, keys[i].digest(secret))
	}
	return out
}

// Matches tells in constant time whether d is the keyed hash of secret. It is
// false when the key file lacks the key of d.
func (k *Keyring) Matches(d store.Digest, secret string) bool {
	key := k.set.Load().find(d.Key)
	if key == nil {
		return false
	}
	sum := key.digest(secret).Sum
	return hmac.Equal(sum[:], d.Sum[:])
}

func (k *Keyring) has(number uint32) bool { return k.set.Load().find(number) != nil }

// String returns the number of keys and the fingerprint.
func (k *Keyring) String() string {
	return fmt.Sprintf("keyring of %d keys, %s", len(k.set.Load().keys), k.Fingerprint())
}

// Format prints String for every verb, so that no verb reaches the keys.
func (k *Keyring) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) } // never fails

// LogValue implements slog.LogValuer with String.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
