package message

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// maxName is the longest name that DNS can carry, in its text form.
const maxName = 253

// lookup maps U-labels the way a resolver of IDNA2008 with UTS 46 does. A Profile is immutable.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.Transitional(false))

// Destination returns the routing key of an address: the domain in lower case with A-labels, or the literal in its
// canonical form with brackets. An address that Parse returned never fails, except the bare postmaster.
func Destination(a Address) (string, error) {
	if strings.HasPrefix(a.Domain, "[") {
		ip, err := parseLiteral(a.Domain)
		if err != nil {
			return "", err
		}
		return formatLiteral(ip), nil
	}
	name, err := toALabels(a.Domain)
	if err != nil {
		return "", err
	}
	return name, checkName(name)
}

func checkDomain(domain string) error {
	_, err := Destination(Address{Domain: domain})
	return err
}

func toALabels(domain string) (string, error) {
	if isASCII(domain) {
		return strings.ToLower(domain), nil
	}
	name, err := lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("%w: domain is no internationalised name", ErrAddressSyntax)
	}
	return name, nil
}

// checkName checks a name of A-labels against the Domain of RFC 5321 4.1.2.
func checkName(name string) error {
	if err := checkLabels(name); err != nil {
		return err
	}
	if isIPv4(name) {
		return ErrAddressLiteral
	}
	if !strings.Contains(name, ".") {
		return ErrAddressNotFQDN
	}
	return nil
}

// isIPv4 reports whether a name of labels, which has no colon, is an address. The last octet is looked at first since a
// failing ParseAddr allocates, and every address of every message comes by here.
func isIPv4(name string) bool {
	if last := name[len(name)-1]; last < '0' || last > '9' {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

func checkLabels(name string) error {
	if len(name) > maxName {
		return ErrAddressTooLong
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return ErrAddressSyntax
		}
	}
	return nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '-' && !isAlnum(s[i]) {
			return false
		}
	}
	return true
}

// parseLiteral parses [192.0.2.1] and [IPv6:2001:db8::1]. The General-address-literal has no registered tag.
func parseLiteral(s string) (netip.Addr, error) {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, ErrAddressLiteral
	}
	s = s[1 : len(s)-1]
	const tag = "IPv6:"
	tagged := len(s) > len(tag) && strings.EqualFold(s[:len(tag)], tag)
	if tagged {
		s = s[len(tag):]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || ip.Is4() == tagged {
		return netip.Addr{}, ErrAddressLiteral
	}
	return ip, nil
}

func formatLiteral(ip netip.Addr) string {
	b := append(make([]byte, 0, 64), '[')
	if ip = ip.Unmap(); !ip.Is4() {
		b = append(b, "IPv6:"...)
	}
	return string(append(ip.AppendTo(b), ']'))
}

// reserved are the networks that netip's own predicates leave out. The documentation networks are not among them: nobody
// can be reached there.
var reserved = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("fec0::/10"),
}

// PrivateIP reports whether ip is loopback, private, shared (RFC 6598), link-local, multicast, unspecified, reserved, or
// an IPv6 form that embeds such an IPv4 address.
func PrivateIP(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return true
	}
	for _, p := range reserved {
		if p.Contains(ip) {
			return true
		}
	}
	v4, ok := embedded(ip)
	return ok && PrivateIP(v4)
}

// embedded returns the IPv4 address inside a NAT64 (RFC 6052), 6to4 (RFC 3056) or IPv4-compatible address, all of which
// a gateway may turn into a connection to that IPv4 address.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}, [12]byte(b[:12]) == [12]byte{}:
		return netip.AddrFrom4([4]byte(b[12:])), true
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
