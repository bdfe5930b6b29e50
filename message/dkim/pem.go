package dkim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// ParsePEM reads a private key in PKCS #8 form (PRIVATE KEY) or, for RSA, PKCS #1 form (RSA PRIVATE KEY). Public keys and
// certificates around it are passed over; a second private key is refused, because it would be a guess which one is meant.
// The error is ErrKeyFormat, ErrKeyType or ErrKeySize and contains nothing of the text.
func ParsePEM(text []byte) (Key, error) {
	var private *pem.Block
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if private != nil {
			return Key{}, fmt.Errorf("%w: more than one", ErrKeyFormat)
		}
		private = block
	}
	if private == nil {
		return Key{}, fmt.Errorf("%w: no PEM block of one", ErrKeyFormat)
	}
	return parseBlock(private)
}

// parseBlock does not wrap the errors of x509: some of them quote what they stumbled over.
func parseBlock(b *pem.Block) (Key, error) {
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
		return Key{}, fmt.Errorf("%w: it is encrypted", ErrKeyFormat)
	case b.Type == "RSA PRIVATE KEY":
		priv, err := x509.ParsePKCS1PrivateKey(b.Bytes)
		if err != nil {
			return Key{}, fmt.Errorf("%w: damaged PKCS #1", ErrKeyFormat)
		}
		return newRSA(priv)
	case b.Type == "PRIVATE KEY":
		return parsePKCS8(b.Bytes)
	}
	return Key{}, ErrKeyType
}

func parsePKCS8(der []byte) (Key, error) {
	priv, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("%w: damaged PKCS #8", ErrKeyFormat)
	}
	switch priv := priv.(type) {
	case *rsa.PrivateKey:
		return newRSA(priv)
	case ed25519.PrivateKey:
		return newKey(&secret{ed25519: priv}), nil
	}
	return Key{}, ErrKeyType
}

// MarshalPEM returns the key in PKCS #8 form, which ParsePEM and openssl read. It is the secret itself: seal it before it
// is stored. The only error is ErrSigner, for the zero Key.
func (k Key) MarshalPEM() ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("%w: no key", ErrSigner)
	}
	var priv any = k.reveal().ed25519
	if k.reveal().rsa != nil {
		priv = k.reveal().rsa
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
