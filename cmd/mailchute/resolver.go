package main

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/mailchute/mailchute/relay"
)

// nameServer asks one name server instead of the system's (delivery.resolver).
type nameServer struct{ relay.NetResolver }

func nameServerAt(address string) nameServer {
	return nameServer{relay.NetResolver{Server: address, R: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}}}
}

// LookupTXT returns the TXT records of a name, and nothing where there are none.
func (n nameServer) LookupTXT(ctx context.Context, name string) ([]string, error) {
	records, err := n.R.LookupTXT(ctx, strings.TrimSuffix(name, ".")+".")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return records, nil
	}
	return records, err
}
