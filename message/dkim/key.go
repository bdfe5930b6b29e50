package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
)

// The sizes of RSA keys that may sign: at least 2048 bits are asked of signers, and verifiers are asked to accept up to
// 4096 (RFC 8301 section 3.2).
const (
	MinRSABits = 2048
	MaxRSABits = 4096
)

// Type is the kind of a key, in the spelling of the k= tag.
type Type string

// The kinds of keys that DKIM has.
const (
	RSA     Type = "rsa"
	Ed25519 Type = "ed25519"
)

// Key is a private key that may sign. It comes from GenerateRSA, GenerateEd25519 or ParsePEM and never changes, so that
// any number of goroutines can sign with it at once. The zero Key signs nothing.
//
// Printing or logging a Key, or anything that contains one, shows its kind and no more.
type Key struct {
	// A function and no pointer: fmt asks no Format of what stands in an unexported field, and follows a pointer there when the
	// verb does not fit it. A function it cannot look into.
	reveal func() *secret
}

// secret holds exactly one of the two.
type secret struct {
	rsa     *rsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

// GenerateRSA makes an RSA key. The only error is ErrKeySize.
func GenerateRSA(bits int) (Key, error) {
	if bits < MinRSABits || bits > MaxRSABits {
		return Key{}, fmt.Errorf("%w: got %d", ErrKeySize, bits)
	}
	priv, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return Key{}, fmt.Errorf("generating an RSA key: %w", err)
	}
	return newRSA(priv)
}

// GenerateEd25519 makes an Ed25519 key (RFC 8463). Not every verifier knows the algorithm: sign with an RSA key as well.
func GenerateEd25519() (Key, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("generating an Ed25519 key: %w", err)
	}
	return newKey(&secret{ed25519: priv}), nil
}

func newKey(s *secret) Key { return Key{reveal: func() *secret { return s }} }

func newRSA(priv *rsa.PrivateKey) (Key, error) {
	if bits := priv.N.BitLen(); bits < MinRSABits || bits > MaxRSABits {
		return Key{}, fmt.Errorf("%w: got %d", ErrKeySize, bits)
	}
	return newKey(&secret{rsa: priv}), nil
}

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.reveal == nil }

// Type returns the kind of the key, "" for the zero Key.
func (k Key) Type() Type {
	switch {
	case k.IsZero():
		return ""
	case k.reveal().rsa != nil:
		return RSA
	}
	return Ed25519
}

// String returns the kind of the key and never the key.
func (k Key) String() string {
	switch k.Type() {
	case RSA:
		return fmt.Sprintf("rsa-%d [redacted]", k.reveal().rsa.N.BitLen())
	case Ed25519:
		return "ed25519 [redacted]"
	}
	return "no key"
}

// Format implements fmt.Formatter with String for every verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) } // never fails

// LogValue implements slog.LogValuer with String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// sign signs the SHA-256 digest of what RFC 6376 section 3.7 makes of a header. Ed25519 signs the digest as its message
// (RFC 8463 section 3), with the pure algorithm.
func (s *secret) sign(digest [sha256.Size]byte) ([]byte, error) {
	if s.rsa != nil {
		return rsa.SignPKCS1v15(nil, s.rsa, crypto.SHA256, digest[:])
	}
	return ed25519.Sign(s.ed25519, digest[:]), nil
}
