package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mailchute/mailchute/relay/dane"
)

// Resolver finds mail hosts. Errors that wrap neither ErrNoDomain nor ErrNoRecords are temporary: a timeout, SERVFAIL, a
// resolver that is down.
type Resolver interface {
	// LookupMX returns the MX records of an A-label domain in any order.
	LookupMX(ctx context.Context, domain string) ([]MX, error)
	// LookupIP returns the addresses of a host, following CNAMEs.
	LookupIP(ctx context.Context, host string) ([]netip.Addr, error)
}

// MX is one mail exchanger. Host "." is the null MX of RFC 7505.
type MX = dane.MX

var (
	// ErrNoDomain: the name does not exist (NXDOMAIN).
	ErrNoDomain = dane.ErrNoDomain
	// ErrNoRecords: there are no records of the type asked for. A Resolver that cannot tell whether the name exists at
	// all says this.
	ErrNoRecords = dane.ErrNoRecords
)

// NetResolver asks by package net. R must prefer Go's own resolver, since that of the C library does not keep "not found"
// and "no answer" apart on every system. It does not tell NXDOMAIN from an empty answer.
type NetResolver struct {
	R *net.Resolver
	// Server is what R asks where that is not what the system is configured with. Errors of net name the system's all the same.
	Server string
}

// LookupMX implements Resolver.
func (s NetResolver) LookupMX(ctx context.Context, domain string) ([]MX, error) {
	records, err := s.R.LookupMX(ctx, rooted(domain))
	if len(records) == 0 {
		return nil, lookupError(err, s.Server)
	}
	out := make([]MX, len(records))
	for i, r := range records {
		out[i] = MX{Host: r.Host, Preference: r.Pref}
	}
	return out, nil // err may still tell of further records with invalid names, which we can do without
}

// LookupIP implements Resolver.
func (s NetResolver) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := s.R.LookupNetIP(ctx, "ip", rooted(host))
	if len(addrs) == 0 {
		return nil, lookupError(err, s.Server)
	}
	return addrs, nil
}

// rooted keeps the search list of the system out: example.org must not become example.org.internal.
func rooted(name string) string {
	if name == "" || name[len(name)-1] == '.' {
		return name
	}
	return name + "."
}

func lookupError(err error, server string) error {
	var dns *net.DNSError
	switch {
	case err == nil:
		return ErrNoRecords
	case !errors.As(err, &dns):
		return err
	case dns.IsNotFound:
		return fmt.Errorf("%w: %s", ErrNoRecords, dns.Name)
	case server == "":
		return err
	}
	asked := *dns
	asked.Server = server
	return &asked
}
