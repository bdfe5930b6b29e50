package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mailchute/mailchute/relay"
)

// nameServer asks one name server instead of the system's (delivery.resolver).
type nameServer struct{ r *net.Resolver }

func nameServerAt(address string) nameServer {
	return nameServer{&net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}}
}

// LookupMX implements relay.Resolver. The final dot keeps the system's search
// list out.
func (n nameServer) LookupMX(ctx context.Context, domain string) ([]relay.MX, error) {
	records, err := n.r.LookupMX(ctx, domain+".")
	if len(records) == 0 {
		return nil, noRecords(err)
	}
	out := make([]relay.MX, len(records))
	for i, r := range records {
		out[i] = relay.MX{Host: r.Host, Preference: r.Pref}
	}
	return out, nil // err may still tell of further records with invalid names
}

// LookupIP implements relay.Resolver.
func (n nameServer) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	if host != "" && host[len(host)-1] != '.' {
		host += "."
	}
	addrs, err := n.r.LookupNetIP(ctx, "ip", host)
	if len(addrs) == 0 {
		return nil, noRecords(err)
	}
	return addrs, nil
}

func noRecords(err error) error {
	var dns *net.DNSError
	switch {
	case err == nil:
		return relay.ErrNoRecords
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("%w: %s", relay.ErrNoRecords, dns.Name)
	}
	return err
}
