package store

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// KeyAlgorithm is what a DKIM key signs with.
type KeyAlgorithm string

// The algorithms of RFC 8301 and RFC 8463.
const (
	KeyRSA     KeyAlgorithm = "rsa"
	KeyEd25519 KeyAlgorithm = "ed25519"
)

// MaxDomainKeys is how many DKIM keys a domain holds, retired ones included.
const MaxDomainKeys = 20

// DomainKey is one DKIM key of a domain. It is pending until its record was
// seen in DNS, then active, then replaced by a newer key, whose record has to
// stay published for what is on its way, and at last retired.
type DomainKey struct {
	Selector  string       `json:"selector"` // lower-case labels
	Algorithm KeyAlgorithm `json:"algorithm"`
	Sealed    []byte       `json:"sealed"` // the private key, PEM, under the key file
	Record    string       `json:"record"` // value of the TXT record to publish
	Created   time.Time    `json:"created"`
	Active    time.Time    `json:"active,omitzero"`   // signs since
	Replaced  time.Time    `json:"replaced,omitzero"` // signs nothing accepted later
	Retired   time.Time    `json:"retired,omitzero"`  // its record may be taken out of DNS
}

// State returns pending, active, replaced or retired.
func (k DomainKey) State() string {
	switch {
	case !k.Retired.IsZero():
		return "retired"
	case !k.Replaced.IsZero():
		return "replaced"
	case !k.Active.IsZero():
		return "active"
	}
	return "pending"
}

// RecordName returns the name of the key's TXT record, without a final dot.
func (k DomainKey) RecordName(domain string) string { return k.Selector + "._domainkey." + domain }

// DomainCheck is what a look at the DNS records of a domain found.
type DomainCheck struct {
	At       time.Time       `json:"at"`
	OK       bool            `json:"ok"` // every record that a key needs is there and right
	Findings []DomainFinding `json:"findings,omitempty"`
}

// DomainFinding is what was seen of one record.
type DomainFinding struct {
	Purpose string `json:"purpose"` // dkim, dmarc, spf
	Name    string `json:"name"`
	Status  string `json:"status"`            // a word; "ok" is the only good one
	Seen    string `json:"seen,omitempty"`    // what DNS has, cut short
	Problem string `json:"problem,omitempty"` // for people, "" when ok
}

// SigningKeys returns the keys of the domain that sign a message accepted at
// that time, RSA first: of each algorithm the key that was active then, or
// else the first that became active later. So a message has the same
// signatures at every attempt, whatever is rotated in between.
func (d Domain) SigningKeys(accepted time.Time) []DomainKey {
	var out []DomainKey
	for _, algorithm := range []KeyAlgorithm{KeyRSA, KeyEd25519} {
		var best *DomainKey
		for i := range d.Keys {
			if k := &d.Keys[i]; k.Algorithm == algorithm && k.mayStillSign(accepted) && k.before(best) {
				best = k
			}
		}
		if best != nil {
			out = append(out, *best)
		}
	}
	return out
}

func (k *DomainKey) mayStillSign(accepted time.Time) bool {
	return !k.Active.IsZero() && k.Retired.IsZero() && (k.Replaced.IsZero() || accepted.Before(k.Replaced))
}

func (k *DomainKey) before(best *DomainKey) bool {
	return best == nil || k.Active.Before(best.Active)
}

// Signs tells whether the domain has a key that signs or will.
func (d Domain) Signs() bool {
	return slices.ContainsFunc(d.Keys, func(k DomainKey) bool { return k.Replaced.IsZero() && k.Retired.IsZero() })
}

// Key returns the key with that selector.
func (d Domain) Key(selector string) (DomainKey, bool) {
	for _, k := range d.Keys {
		if k.Selector == selector {
			return k, true
		}
	}
	return DomainKey{}, false
}

// HasSigner tells whether a domain of the account signs, or will, for authors of
// a domain in lower-case A-labels: itself or a parent (RFC 6376 3.10 lets a
// domain answer for its subdomains).
func (s *Snapshot) HasSigner(author string) bool {
	for _, d := range s.Domains {
		if covers(d.Name, author) && d.Signs() {
			return true
		}
	}
	return false
}

// Signer returns the domain that signs a message of that author's domain
// accepted at that time, and its keys: the nearest that has SigningKeys, or
// none.
func (s *Snapshot) Signer(author string, accepted time.Time) (best Domain, keys []DomainKey) {
	for _, d := range s.Domains {
		if len(d.Name) <= len(best.Name) || !covers(d.Name, author) {
			continue
		}
		if k := d.SigningKeys(accepted); len(k) > 0 {
			best, keys = d, k
		}
	}
	return best, keys
}

func covers(domain, author string) bool {
	rest, ok := strings.CutSuffix(author, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

func (d Domain) checkKeys() error {
	if len(d.Keys) > MaxDomainKeys {
		return fmt.Errorf("a domain has at most %d DKIM keys: %w", MaxDomainKeys, ErrLimit)
	}
	for i, k := range d.Keys {
		if k.Algorithm != KeyRSA && k.Algorithm != KeyEd25519 {
			return invalid("domain key", "algorithm %q is neither rsa nor ed25519", k.Algorithm)
		}
		if !validSelector(k.Selector) {
			return invalid("domain key", "selector %q: lower-case letters, digits and inner dashes, in labels of up to 63 characters", k.Selector)
		}
		if slices.ContainsFunc(d.Keys[:i], func(o DomainKey) bool { return o.Selector == k.Selector }) {
			return fmt.Errorf("selector %q: %w", k.Selector, ErrExists)
		}
		if len(k.Sealed) == 0 || k.Record == "" {
			return invalid("domain key", "selector %q has no private key or no record", k.Selector)
		}
	}
	return nil
}

func validSelector(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.HasSuffix(label, "-") ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(s) <= 200
}
