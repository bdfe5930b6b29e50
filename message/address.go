package message

import "net/netip"

// Address is an envelope address: the Mailbox of RFC 5321 4.1.2, extended by RFC 6531.
//
// Local is the meaning of the local part, that is without quotes and backslashes and with its case kept. Domain is the
// domain or the bracketed address literal as it was given. Domain is empty only for the bare postmaster of
// PathOptions.BarePostmaster. The zero Address is the null path.
type Address struct {
	Local  string
	Domain string
}

// PathOptions says which forms of a path are acceptable. The zero value accepts an ASCII Mailbox as it stands on the wire.
type PathOptions struct {
	// UTF8 accepts octets above 127, which SMTPUTF8 allows.
	UTF8 bool
	// Unquoted says that somebody has already removed the quotes and backslashes of the local part, as go-smtp does.
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
func (o PathOptions) Parse(s string) (Address, error) { return Address{}, ErrAddressSyntax }

// String returns the wire form, the local part quoted where it is no Dot-string. Between angle brackets it can neither
// end the path nor add a parameter. The null path is the empty string.
func (a Address) String() string { return "" }

// IsNull reports whether a is the null path.
func (a Address) IsNull() bool { return a == Address{} }

// ASCII reports whether the address can be sent to a host without SMTPUTF8.
func (a Address) ASCII() bool { return false }

// Equal reports whether both addresses name the same mailbox: local parts byte for byte (postmaster in any case), domains
// without case and with U-labels equal to their A-labels.
func (a Address) Equal(b Address) bool { return false }

// LiteralIP returns the address inside an address literal, and false if the domain is a name.
func (a Address) LiteralIP() (netip.Addr, bool) { return netip.Addr{}, false }

// PrivateLiteral reports whether the domain is a literal that PrivateIP holds for. Such a recipient would turn the relay
// into a way to reach the operator's own network.
func (a Address) PrivateLiteral() bool { return false }

// PrivateIP reports whether ip is loopback, private, shared (RFC 6598), link-local, multicast, unspecified, reserved, or
// an IPv6 form that embeds such an IPv4 address.
func PrivateIP(ip netip.Addr) bool { return false }

// Destination returns the routing key of an address: the domain in lower case with A-labels, or the literal in its
// canonical form with brackets. An address that Parse returned never fails, except the bare postmaster.
func Destination(a Address) (string, error) { return "", nil }
