package dkim

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// Signer signs for one domain with one key. It is not changed by signing and serves any number of goroutines.
type Signer struct {
	// Domain is the domain that answers for the message (d=), in ASCII form.
	Domain string
	// Selector names the key below the domain (s=), in ASCII form. The record stands at RecordName(Selector, Domain).
	Selector string
	// Key is the private key.
	Key Key
	// Headers are the names of the fields to sign, each as often as the message has it and not at all where it has none. nil
	// means DefaultHeaders. From is always signed.
	Headers []string
	// Oversign are the names that stand in h= once more than the message has them, so that one more such field breaks the
	// signature (RFC 6376 section 8.15). They are signed whether Headers has them or not. nil means DefaultOversign. From is
	// always oversigned.
	Oversign []string
	// Expiry is how long the signature is valid (x=), in whole seconds: 0 means without end. It has to be longer than the
	// message can wait to be delivered.
	Expiry time.Duration
}

// DefaultHeaders returns the names that a Signer signs by default: what readers see, what tells them the structure of the
// body, what threads, lists and feedback loops go by (RFC 6376 section 5.4.1, RFC 8058 section 3.1, RFC 9477 section 3.1, RFC 8460 section 5.3).
// Trace fields and what relays rewrite are not among them.
func DefaultHeaders() []string {
	return []string{
		"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID",
		"Content-Description", "Content-Language",
		"Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Date", "Resent-Message-ID",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner",
		"List-Archive", "Feedback-ID", "CFBL-Address", "CFBL-Feedback-ID", "TLS-Required",
		"TLS-Report-Domain", "TLS-Report-Submitter",
	}
}

// DefaultOversign returns the names that a Signer oversigns by default: the author and what a reader sees above a message,
// of which a forger could otherwise put a second one on top of a signed message.
func DefaultOversign() []string { return []string{"From", "To", "Subject", "Date"} }

// Sign returns the DKIM-Signature field, folded and with its last CRLF, to be put on top of the header section. header is
// the raw section in the form in which it will be sent, with or without the blank line after it; body is the Sum of a
// BodyHasher; now becomes t=. The error is ErrSigner, ErrHeader or ErrNoFrom.
func (s *Signer) Sign(header []byte, body [sha256.Size]byte, now time.Time) ([]byte, error) {
	return SignAll([]Signer{*s}, header, body, now)
}

// SignAll returns one field for each signer, in their order, none of which covers another: each verifies alone, and a
// verifier that does not know one algorithm still has the other. It returns all of them or an error as Sign does; no
// signers at all are an ErrSigner.
func SignAll(signers []Signer, header []byte, body [sha256.Size]byte, now time.Time) ([]byte, error) {
	if len(signers) == 0 {
		return nil, fmt.Errorf("%w: none given", ErrSigner)
	}
	fields, err := splitFields(header)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i := range signers {
		if out, err = signers[i].appendSignature(out, fields, body, now); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// appendSignature follows RFC 6376 section 3.7: the signed fields, then the signature's own field with an empty b= and
// without its CRLF, are hashed; what is signed is the hash.
func (s *Signer) appendSignature(dst []byte, fields []field, body [sha256.Size]byte, now time.Time) ([]byte, error) {
	if err := s.check(now); err != nil {
		return nil, err
	}
	names, signed := s.choose(fields)
	if len(signed) == 0 || !signed[0].is("From") {
		return nil, ErrNoFrom
	}
	w := s.write(names, body, now)
	digest := headerHash(signed, field{name: []byte(signatureField), value: w.buf[len(signatureField)+1:]})
	sig, err := s.Key.reveal().sign(digest)
	if err != nil {
		return nil, fmt.Errorf("%w: key of %s: %w", ErrSigner, RecordName(s.Selector, s.Domain), err)
	}
	w.split(base64.StdEncoding.EncodeToString(sig))
	return append(append(dst, w.buf...), crlf...), nil
}

// headerHash returns the hash of the signed fields and of the signature's own field, b= of which is empty.
func headerHash(signed []field, own field) [sha256.Size]byte {
	size := len(own.value)
	for _, f := range signed {
		size += len(f.name) + len(f.value) + 4
	}
	canonical := make([]byte, 0, size+64)
	for _, f := range signed {
		canonical = append(f.appendRelaxed(canonical), crlf...)
	}
	return sha256.Sum256(own.appendRelaxed(canonical))
}

// choose returns the names for h= and the fields that they stand for. Verifiers take the fields of one name from the last to
// the first (RFC 6376 section 5.4.2).
func (s *Signer) choose(fields []field) (names []string, signed []field) {
	over := orDefault(s.Oversign, DefaultOversign)
	wanted := append([]string{"From"}, orDefault(s.Headers, DefaultHeaders)...)
	wanted = append(wanted, over...)
	for i, name := range wanted {
		if contains(wanted[:i], name) {
			continue
		}
		for j := len(fields) - 1; j >= 0; j-- {
			if fields[j].is(name) {
				names, signed = append(names, name), append(signed, fields[j])
			}
		}
		if i == 0 || contains(over, name) {
			names = append(names, name)
		}
	}
	return names, signed
}

func orDefault(names []string, defaults func() []string) []string {
	if names == nil {
		return defaults()
	}
	return names
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// check refuses everything that would not be a valid tag, so that no setting can end a tag, a line or the field.
func (s *Signer) check(now time.Time) error {
	for _, name := range append(s.Headers[:len(s.Headers):len(s.Headers)], s.Oversign...) {
		if err := checkSignable(name); err != nil {
			return err
		}
	}
	switch {
	case s.Key.IsZero():
		return fmt.Errorf("%w: no key", ErrSigner)
	case !isDomain(s.Domain) || !strings.Contains(s.Domain, "."):
		return fmt.Errorf("%w: domain %q", ErrSigner, s.Domain)
	case !isDomain(s.Selector) || len(RecordName(s.Selector, s.Domain)) > maxName:
		return fmt.Errorf("%w: selector %q", ErrSigner, s.Selector)
	case s.Expiry < 0 || s.Expiry%time.Second != 0:
		return fmt.Errorf("%w: expiry %v", ErrSigner, s.Expiry)
	case now.Unix() < 0 || now.Add(s.Expiry).Unix() > maxTime:
		return fmt.Errorf("%w: time %v", ErrSigner, now)
	}
	return nil
}

// Validate returns what Sign would refuse about the Signer itself, an ErrSigner, or nil.
func (s *Signer) Validate() error { return s.check(time.Unix(0, 0)) }
