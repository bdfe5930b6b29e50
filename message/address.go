package message

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of RFC 5321 4.5.3.1, in octets. The limit of a path includes its angle brackets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxPath   = 256
)

// Address is an envelope address: the Mailbox of RFC 5321 4.1.2, extended by RFC 6531.
//
// Local is the meaning of the local part, that is without quotes and backslashes and with its case kept. Domain is the
// domain or the bracketed address literal as it was given. Domain is empty only for the bare postmaster of
// PathOptions.BarePostmaster. The zero Address is the null path.
type Address struct {
	Local  string
	Domain string
}

// PathOptions says which forms of a path are acceptable. The zero value accepts an ASCII Mailbox as it stands on the
// wire.
type PathOptions struct {
	// UTF8 accepts octets above 127, which SMTPUTF8 allows.
	UTF8 bool
	// Unquoted says that somebody has already removed the brackets, and the quotes and backslashes of the local part, as
	// go-smtp does.
	Unquoted bool
	// BarePostmaster accepts "postmaster" without a domain, which is legal as a recipient only (RFC 5321 4.1.1.3).
	BarePostmaster bool
}

// ParsePath parses a path with or without its angle brackets, as it stands on the wire. A source route is dropped
// (RFC 5321 appendix C). The null path is ErrAddressNull.
func ParsePath(s string, utf8 bool) (Address, error) { return PathOptions{UTF8: utf8}.Parse(s) }

// FromUnquoted parses local@domain after a parser that stripped the quotes of the local part: it splits at the last @
// and takes the local part literally, so that `a> SIZE=1@example.org` is one odd mailbox and no parameter.
func FromUnquoted(s string, utf8 bool) (Address, error) {
	return PathOptions{UTF8: utf8, Unquoted: true}.Parse(s)
}

// Parse parses a path under the options. The address it returns has passed every check, so its String is safe to send.
func (o PathOptions) Parse(s string) (Address, error) {
	if err := checkText(s, o.UTF8); err != nil {
		return Address{}, err
	}
	if !o.Unquoted {
		var err error
		if s, err = trimPath(s); err != nil {
			return Address{}, err
		}
	}
	if s == "" {
		return Address{}, ErrAddressNull
	}
	if o.BarePostmaster && strings.EqualFold(s, "postmaster") {
		return Address{Local: s}, nil
	}
	if len(s)+len("<>") > maxPath {
		return Address{}, ErrAddressTooLong
	}
	a, err := o.split(s)
	if err != nil {
		return Address{}, err
	}
	return a, a.check()
}

// checkText refuses what no part of an address may contain, whatever its quoting.
func checkText(s string, allow8Bit bool) error {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f {
			return ErrAddressControl
		}
	}
	if isASCII(s) {
		return nil
	}
	if !allow8Bit {
		return ErrAddressUTF8
	}
	if !utf8.ValidString(s) {
		return ErrAddressSyntax
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return ErrAddressControl
	}
	return nil
}

// trimPath removes the angle brackets, both or neither, and a source route.
func trimPath(s string) (string, error) {
	if strings.HasPrefix(s, "<") {
		if len(s) < 2 || !strings.HasSuffix(s, ">") {
			return "", ErrAddressSyntax
		}
		s = s[1 : len(s)-1]
	}
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	route, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" {
		return "", ErrAddressSyntax
	}
	for hop := range strings.SplitSeq(route, ",") {
		domain, ok := strings.CutPrefix(hop, "@")
		if !ok || checkDomain(domain) != nil {
			return "", ErrAddressSyntax
		}
	}
	return rest, nil
}

func (o PathOptions) split(s string) (Address, error) {
	if o.Unquoted {
		at := strings.LastIndexByte(s, '@')
		if at <= 0 {
			return Address{}, ErrAddressSyntax
		}
		return Address{Local: s[:at], Domain: s[at+1:]}, nil
	}
	if strings.HasPrefix(s, `"`) {
		return splitQuoted(s)
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !isDotString(local) {
		return Address{}, ErrAddressSyntax
	}
	return Address{Local: local, Domain: domain}, nil
}

// splitQuoted reads a Quoted-string, an @ and the rest. An empty local part is in the grammar and names nobody: it is
// refused, since a parser that strips quotes could not tell it from a missing one.
func splitQuoted(s string) (Address, error) {
	var local strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return Address{}, ErrAddressSyntax
			}
			local.WriteByte(s[i])
		case '"':
			if i+1 == len(s) || s[i+1] != '@' || local.Len() == 0 {
				return Address{}, ErrAddressSyntax
			}
			return Address{Local: local.String(), Domain: s[i+2:]}, nil
		default:
			local.WriteByte(s[i])
		}
	}
	return Address{}, ErrAddressSyntax
}

// check applies the limits to the form that will be sent, which may be quoted where the form that came in was not.
func (a Address) check() error {
	local := len(a.wireLocal())
	if local > maxLocal || len(a.Domain) > maxDomain || local+len("@")+len(a.Domain)+len("<>") > maxPath {
		return ErrAddressTooLong
	}
	return checkDomain(a.Domain)
}

// isDotString reports whether s can stand as a local part without quotes.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '.' && s[i] < utf8.RuneSelf && !isAtext(s[i]) {
			return false
		}
	}
	return true
}

func isAtext(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// wireLocal returns the local part quoted only where it must be (RFC 5321 4.1.2 asks for the least quoting).
func (a Address) wireLocal() string {
	if isDotString(a.Local) {
		return a.Local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(a.Local); i++ {
		if c := a.Local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.Local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// String returns the wire form, the local part quoted where it is no Dot-string. Between angle brackets the form of an
// address that Parse returned can neither end the path nor add a parameter. The null path is the empty string.
func (a Address) String() string {
	switch {
	case a.IsNull():
		return ""
	case a.Domain == "":
		return a.wireLocal()
	}
	return a.wireLocal() + "@" + a.Domain
}

// IsNull reports whether a is the null path.
func (a Address) IsNull() bool { return a == Address{} }

// ASCII reports whether the address can be sent to a host without SMTPUTF8.
func (a Address) ASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// Equal reports whether both addresses name the same mailbox: local parts byte for byte (postmaster in any case), domains
// without case and with U-labels equal to their A-labels.
func (a Address) Equal(b Address) bool {
	if a.Local != b.Local && !(strings.EqualFold(a.Local, "postmaster") && strings.EqualFold(b.Local, "postmaster")) {
		return false
	}
	if strings.EqualFold(a.Domain, b.Domain) {
		return true
	}
	da, errA := Destination(a)
	db, errB := Destination(b)
	return errA == nil && errB == nil && da == db
}

// LiteralIP returns the address inside an address literal, and false if the domain is a name.
func (a Address) LiteralIP() (netip.Addr, bool) {
	ip, err := parseLiteral(a.Domain)
	return ip, err == nil
}

// PrivateLiteral reports whether the domain is a literal that PrivateIP holds for. Such a recipient would turn the relay
// into a way to reach the operator's own network.
func (a Address) PrivateLiteral() bool {
	ip, ok := a.LiteralIP()
	return ok && PrivateIP(ip)
}
