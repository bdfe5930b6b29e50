// Package dkim signs mail (RFC 6376, with the algorithms of RFC 8301 and RFC 8463) and words the DNS records that go with
// its keys. It does not verify signatures and does not look up records.
//
// Everything here is a pure function or a value that the caller holds. There is no network, no disk and no clock: a time
// is always a parameter. Randomness is used to make keys and for nothing else.
//
// Signing is split in two, so that a message is read once and signed later, away from the connection that brought it:
//
//	BodyHasher  takes the canonical body while it streams by; its Sum, 32 octets, is all that has to be kept
//	Signer      takes the header section and that Sum, and makes one DKIM-Signature field
//	SignAll     does so for several keys: RSA for every verifier, Ed25519 beside it (RFC 8463 section 3)
//
// Signatures are always relaxed/relaxed and never carry l=, which would leave the end of the body unsigned.
package dkim
