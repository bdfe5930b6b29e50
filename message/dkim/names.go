package dkim

import (
	"fmt"
	"strings"
)

const (
	maxName  = 253 // octets of a domain name in text form (RFC 1035 section 2.3.4)
	maxLabel = 63  // octets of a label
)

// RecordName returns the domain name, without a last dot, at which the record of a key stands (RFC 6376 section 3.6.2.1).
func RecordName(selector, domain string) string { return selector + "._domainkey." + domain }

// isDomain reports whether name is a sequence of sub-domains of RFC 5321 section 4.1.2, as d= and s= must be: letters,
// digits and inner hyphens. That leaves no room for what a tag list, a header or a zone file gives a meaning to.
func isDomain(name string) bool {
	if len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isAlnum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

// unsignable are the fields that a Signer refuses to sign: relays add, change or remove them on the way, so that the
// signature would be broken on arrival (RFC 6376 section 5.4.1), or it is the signature itself.
var unsignable = [...]string{"Return-Path", "Received", "Bcc", "Resent-Bcc", "DKIM-Signature", "Authentication-Results"}

// checkSignable refuses names that h= cannot hold, which is all but letters, digits, hyphens and underscores, and those
// that must not be in it.
func checkSignable(name string) error {
	ok := name != "" && len(name) <= maxLabel
	for i := range len(name) {
		ok = ok && (isAlnum(name[i]) || name[i] == '-' || name[i] == '_')
	}
	if !ok {
		return fmt.Errorf("%w: field name %q", ErrSigner, name)
	}
	if contains(unsignable[:], name) {
		return fmt.Errorf("%w: %s changes on the way and cannot be signed", ErrSigner, name)
	}
	return nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
