package dane

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/miekg/dns"
)

// The values of RFC 6698 7 with the names of RFC 7218.
const (
	UsageTA uint8 = 2 // DANE-TA: a trust anchor of the host's chain
	UsageEE uint8 = 3 // DANE-EE: the host's own certificate or key

	SelectorCert uint8 = 0 // the whole certificate
	SelectorSPKI uint8 = 1 // its SubjectPublicKeyInfo

	MatchFull   uint8 = 0 // the octets themselves
	MatchSHA256 uint8 = 1
	MatchSHA512 uint8 = 2
)

// TLSA is one TLSA record.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

func record(rr *dns.TLSA) TLSA {
	data, err := hex.DecodeString(rr.Certificate)
	if err != nil {
		data = nil // cannot be: the library wrote it; an empty record is unusable
	}
	return TLSA{Usage: rr.Usage, Selector: rr.Selector, Matching: rr.MatchingType, Data: data}
}

// String returns the record as in a zone file, which is also its form in TLS reports (RFC 8460 4.2).
func (t TLSA) String() string {
	return fmt.Sprintf("%d %d %d %X", t.Usage, t.Selector, t.Matching, t.Data)
}

// Usable tells whether the record can take part in a verification. The usages 0 and 1 cannot: mail hosts have no agreed set of public
// authorities (RFC 7672 3.1.3).
func (t TLSA) Usable() bool {
	if (t.Usage != UsageTA && t.Usage != UsageEE) || t.Selector > SelectorSPKI {
		return false
	}
	switch t.Matching {
	case MatchSHA256:
		return len(t.Data) == sha256.Size
	case MatchSHA512:
		return len(t.Data) == sha512.Size
	case MatchFull:
		return t.parses()
	}
	return false
}

// maxRSA is the largest RSA key that is computed with, in bits; crypto/tls has the same limit for what hosts show. A recipient's
// domain could otherwise spend seconds of ours per handshake.
const maxRSA = 8192

// parses tells whether the data of a full match is what its selector says.
func (t TLSA) parses() bool {
	var key any
	var err error
	if t.Selector == SelectorCert {
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(t.Data); err == nil {
			key = c.PublicKey
		}
	} else {
		key, err = x509.ParsePKIXPublicKey(t.Data)
	}
	r, isRSA := key.(*rsa.PublicKey)
	return err == nil && (!isRSA || r.N.BitLen() <= maxRSA)
}

// matches compares the record with a certificate (RFC 6698 2.1).
func (t TLSA) matches(c *x509.Certificate) bool {
	data := c.Raw
	if t.Selector == SelectorSPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch t.Matching {
	case MatchFull:
		return bytes.Equal(data, t.Data)
	case MatchSHA256:
		sum := sha256.Sum256(data)
		return bytes.Equal(sum[:], t.Data)
	case MatchSHA512:
		sum := sha512.Sum512(data)
		return bytes.Equal(sum[:], t.Data)
	}
	return false
}

// usable returns the records to verify with. Where records of the same usage and selector have several digests, only those with
// the strongest one count, so that a broken digest cannot be picked by an attacker (RFC 7671 9).
func usable(records []TLSA) []TLSA {
	strong := map[[2]uint8]bool{}
	for _, t := range records {
		if t.Usable() && t.Matching == MatchSHA512 {
			strong[[2]uint8{t.Usage, t.Selector}] = true
		}
	}
	var out []TLSA
	for _, t := range records {
		if t.Usable() && (t.Matching != MatchSHA256 || !strong[[2]uint8{t.Usage, t.Selector}]) {
			out = append(out, t)
		}
	}
	return out
}
