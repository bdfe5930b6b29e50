// Package domains looks after the sender domains of the account: it makes,
// imports, rotates and retires their DKIM keys, words the DNS records to
// publish, looks whether they are there, and signs mail with the keys.
//
// # The life of a key
//
// A key begins pending. When its record is seen in DNS, or the operator says so,
// it becomes active and signs; the key of the same algorithm that was active
// before is replaced. A replaced key still signs the retries of what was accepted
// before, and its record has to stay published for the time of Options.Overlap;
// then it is retired and its record may be taken out of DNS. The private key is
// kept as long as messages signed with it are (Options.Keep), so that they can be
// shown as they were sent.
//
// # Signatures
//
// The signatures of a message are a function of the message and the keys of its
// author's domain: t= is the time of acceptance, and RSA (PKCS #1 v1.5) and
// Ed25519 signatures have no randomness. So a retry, another process or a later
// look at the message gives the same octets.
package domains
