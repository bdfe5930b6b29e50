package dane

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxDepth bounds the certificates of a chain that are looked at.
const maxDepth = 10

// Verify decides whether the certificates shown in a handshake are those that TLSA records name. names are the reference identifiers
// of RFC 7672 3.2.1: the TLSA base domain, and the next-hop domain with and without its aliases followed. Where it
// refuses, the error is a *MismatchError. Records that cannot be used are left out; if none remains it refuses.
//
// The handshake must have been made with the full proof of possession, as crypto/tls always does, InsecureSkipVerify or not.
func Verify(records []TLSA, state tls.ConnectionState, names []string, now time.Time) error {
	chain := state.PeerCertificates
	records = usable(records)
	if len(records) == 0 {
		return &MismatchError{Reason: Unusable}
	}
	if len(chain) == 0 {
		return &MismatchError{Reason: NoMatch, Err: errors.New("the host showed no certificate")}
	}
	chain = chain[:min(len(chain), maxDepth)]
	nearest := &MismatchError{Reason: NoMatch}
	for _, t := range records {
		// Names and dates in the certificate say nothing here: the record vouches for the key (RFC 7672 3.1.1).
		if t.Usage == UsageEE && t.matches(chain[0]) {
			return nil
		}
	}
	for _, t := range records {
		if t.Usage != UsageTA {
			continue
		}
		m := t.verifyAnchor(chain, names, now)
		if m == nil {
			return nil
		}
		nearest = nearer(nearest, m)
	}
	return nearest
}

// nearer keeps the reason that says most to whoever must repair the host.
func nearer(a, b *MismatchError) *MismatchError {
	if a.Reason == NoMatch {
		return b
	}
	return a
}

// verifyAnchor checks a chain against a DANE-TA record (RFC 7672 3.1.2): a path to the anchor, dates, and a name.
func (t TLSA) verifyAnchor(chain []*x509.Certificate, names []string, now time.Time) *MismatchError {
	roots, ok := t.anchors(chain)
	if !ok {
		return &MismatchError{Reason: NoMatch}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now}); err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return &MismatchError{Reason: Expired, Err: err}
		}
		return &MismatchError{Reason: NoMatch, Err: err}
	}
	for _, name := range names {
		if name != "" && named(chain[0], name) {
			return nil
		}
	}
	return &MismatchError{Reason: WrongName, Err: fmt.Errorf("want one of %s", strings.Join(names, ", "))}
}

// anchors returns what the record makes a trust anchor: each certificate above the first that it matches, or that a bare key which it holds has
// signed, and the certificate that it holds itself. The first certificate is never its own anchor; that is what DANE-EE is for.
func (t TLSA) anchors(chain []*x509.Certificate) (*x509.CertPool, bool) {
	roots, found := x509.NewCertPool(), false
	trust := func(c *x509.Certificate) {
		roots.AddCert(c)
		found = true
	}
	for _, c := range chain[1:] {
		if t.matches(c) {
			trust(c)
		}
	}
	if t.Matching != MatchFull || found {
		return roots, found
	}
	if t.Selector == SelectorCert {
		if c, err := x509.ParseCertificate(t.Data); err == nil {
			trust(c)
		}
		return roots, found
	}
	for _, c := range chain {
		if t.signed(c) {
			trust(c)
		}
	}
	return roots, found
}

// signed tells whether the key in the record made the signature of c. CheckSignature would take SHA-1, which can be forged.
func (t TLSA) signed(c *x509.Certificate) bool {
	if c.SignatureAlgorithm == x509.SHA1WithRSA || c.SignatureAlgorithm == x509.ECDSAWithSHA1 {
		return false
	}
	key, err := x509.ParsePKIXPublicKey(t.Data)
	if err != nil {
		return false
	}
	issuer := &x509.Certificate{PublicKey: key, PublicKeyAlgorithm: c.PublicKeyAlgorithm}
	return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// named matches a reference identifier. Only a certificate without any DNS name is judged by its common name (RFC 7672 3.2.2).
func named(c *x509.Certificate, name string) bool {
	if c.VerifyHostname(name) == nil {
		return true
	}
	return len(c.DNSNames) == 0 && strings.EqualFold(strings.TrimSuffix(c.Subject.CommonName, "."), strings.TrimSuffix(name, "."))
}
