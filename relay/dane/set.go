package dane

import (
	"crypto/tls"
	"time"
)

// Level is what a host is owed because of its TLSA records.
type Level uint8

const (
	// None: no authentic TLSA records. DANE does not apply; MTA-STS and opportunistic TLS may.
	None Level = iota
	// Encrypt: authentic records, none of them usable. TLS is mandatory, whatever the certificate (RFC 7672 2.2).
	Encrypt
	// Authenticate: TLS is mandatory, and Verify must accept the certificate.
	Authenticate
)

// String returns the name of the level.
func (l Level) String() string {
	switch l {
	case Encrypt:
		return "encrypt"
	case Authenticate:
		return "authenticate"
	}
	return "none"
}

// Set is the authentic TLSA records of one host. The zero Set says that DANE does not apply.
type Set struct {
	// Base is the TLSA base domain: the name for SNI and the first reference identifier (RFC 7672 8.1, 3.2.1).
	Base    string
	Records []TLSA
}

// Level returns what the host is owed.
func (s Set) Level() Level {
	switch {
	case len(s.Records) == 0:
		return None
	case len(usable(s.Records)) == 0:
		return Encrypt
	}
	return Authenticate
}

// Strings returns the records in the form of TLS reports.
func (s Set) Strings() []string {
	out := make([]string, len(s.Records))
	for i, t := range s.Records {
		out[i] = t.String()
	}
	return out
}

// Verify is the function Verify with the records of the set and its base domain among the names. A set of level Encrypt accepts every
// certificate. A set of level None accepts none.
func (s Set) Verify(state tls.ConnectionState, names []string, now time.Time) error {
	if s.Level() == Encrypt {
		return nil
	}
	return Verify(s.Records, state, append([]string{s.Base}, names...), now)
}
