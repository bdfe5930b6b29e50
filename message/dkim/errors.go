package dkim

import "errors"

// Faults of a private key. None of them contains octets of the key.
var (
	// ErrKeyFormat reports text that holds no private key, more than one, or an encrypted or damaged one.
	ErrKeyFormat = errors.New("no readable private key")
	// ErrKeyType reports a key of a kind that DKIM has no algorithm for, such as ECDSA.
	ErrKeyType = errors.New("key is neither RSA nor Ed25519")
	// ErrKeySize reports an RSA key under MinRSABits, which may not sign (RFC 8301 section 3.2), or over MaxRSABits, which
	// verifiers need not accept.
	ErrKeySize = errors.New("RSA key must have 2048 to 4096 bits")
)

// Faults of signing.
var (
	// ErrSigner reports a Signer that cannot make a valid signature, whatever the message: no key, or a domain, selector,
	// field name, expiry or time that the syntax of RFC 6376 does not allow.
	ErrSigner = errors.New("invalid DKIM signer")
	// ErrHeader reports octets that are no header section, so that a verifier could read other fields than were signed.
	ErrHeader = errors.New("not a header section with CRLF line ends")
	// ErrNoFrom reports a header section without From, the one field that must be signed (RFC 6376 section 5.4).
	ErrNoFrom = errors.New("header has no From field to sign")
)

// Faults of a published key record.
var (
	// ErrRecord reports text that is no key record of RFC 6376 section 3.6.1.
	ErrRecord = errors.New("not a DKIM key record")
	// ErrRevoked reports a record with an empty p=: every signature of the selector fails.
	ErrRevoked = errors.New("DKIM key record is revoked")
	// ErrOtherKey reports a record with another public key than ours.
	ErrOtherKey = errors.New("DKIM key record has another key")
	// ErrRestricted reports a record with our key that forbids its use for mail or with SHA-256.
	ErrRestricted = errors.New("DKIM key record does not allow the key to sign mail with SHA-256")
)
