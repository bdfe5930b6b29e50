package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/mailchute/mailchute/message"
)

// Errors of Guard.
var (
	// ErrURL means that a URL cannot be one of a webhook. The wrapping text says
	// why and does not repeat it: it may hold secrets.
	ErrURL = errors.New("not a URL for webhooks")
	// ErrInternal means an address that strangers may not make us connect to.
	ErrInternal = errors.New("an internal address")
)

// Guard decides where requests may go, so that a webhook cannot be used to reach
// what only this machine can (server-side request forgery). The zero Guard
// permits public addresses alone.
type Guard struct {
	// Allow lists networks that may be reached although they are internal.
	Allow []netip.Prefix
}

const maxURL = 2000

// CheckURL reads the URL of a webhook: http or https, port 80, 443 or from 1024
// on. It fails with ErrURL, or with ErrInternal where the host is an address or
// name that is internal. Other names are checked when they are dialled.
func (g Guard) CheckURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, fmt.Errorf("it is empty: %w", ErrURL)
	case len(raw) > maxURL:
		return nil, fmt.Errorf("it is longer than %d octets: %w", maxURL, ErrURL)
	case err != nil || strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || r == ' ' }):
		return nil, fmt.Errorf("it cannot be parsed: %w", ErrURL)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("it does not begin with https:// or http://: %w", ErrURL)
	case u.Opaque != "" || u.Hostname() == "":
		return nil, fmt.Errorf("it names no host: %w", ErrURL)
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, fmt.Errorf("it has a fragment: %w", ErrURL)
	case !portAllowed(port(u)):
		return nil, fmt.Errorf("the port must be 80, 443 or from 1024 on: %w", ErrURL)
	}
	return u, g.checkHost(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")))
}

// Refuses is CheckURL for those who do not know its errors: internal is set
// where only the address stands against a URL.
func (g Guard) Refuses(raw string) (internal bool, err error) {
	_, err = g.CheckURL(raw)
	return errors.Is(err, ErrInternal), err
}

func (g Guard) checkHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.check(ip)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 6.3
		return g.check(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	// What ends in a number is an IPv4 address to some resolvers, such as 127.1 or 0x7f.0.0.1.
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return fmt.Errorf("the host is neither a name nor an address: %w", ErrURL)
	}
	return nil
}

func port(u *url.URL) uint16 {
	text := u.Port()
	switch {
	case text != "":
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return 0 // which is not allowed
		}
		return uint16(n)
	case u.Scheme == "http":
		return 80
	}
	return 443
}

// portAllowed keeps requests from services that speak other protocols.
func portAllowed(n uint16) bool { return n == 80 || n == 443 || n >= 1024 }

// check returns ErrInternal where an address may not be reached.
func (g Guard) check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	for _, p := range g.Allow {
		if p.Contains(ip) {
			return nil
		}
	}
	if message.PrivateIP(ip) {
		return fmt.Errorf("%s is %w", ip, ErrInternal)
	}
	return nil
}

// control runs when the address is known and the connection is not yet made, so
// that nothing can change between the two (DNS rebinding).
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address to connect to: %w", ErrInternal)
	}
	if !portAllowed(to.Port()) {
		return fmt.Errorf("port %d: %w", to.Port(), ErrURL)
	}
	return g.check(to.Addr())
}

func (g Guard) dialer(r *net.Resolver) *net.Dialer {
	return &net.Dialer{Timeout: connectTimeout, Resolver: r, Control: g.control}
}
