package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/message"
)

// Options configures a Cache. The zero value uses the system's resolver, dialer and roots.
type Options struct {
	// LookupTXT returns the TXT records of a name, each with its strings joined, and nothing without an error where there are none. Nil
	// means the system's resolver.
	LookupTXT func(ctx context.Context, name string) ([]string, error)
	// Dial opens connections to policy hosts; nil means a net.Dialer that refuses addresses which Permit refuses.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Permit tells whether Dial's default may connect to an address; nil means those that message.PrivateIP does not hold for. Recipient domains choose the addresses of their
	// policy hosts: they must not reach the operator's own network by them.
	Permit func(netip.Addr) bool
	// RootCAs verifies policy hosts; nil means the system's roots.
	RootCAs *x509.CertPool
	// Logger is told of policies that are new, changed or not to be had; nil discards.
	Logger *slog.Logger
	// Timeout bounds one fetch with its lookup; 0 means 1 minute (RFC 8461 3.3).
	Timeout time.Duration

	// MaxEntries bounds the domains remembered, with and without a policy; 0 means 10,000. The one not asked for longest goes first, one without
	// a policy before one with.
	MaxEntries int
	// Recheck is for how long an answer stands before the TXT record is looked up again, be it a policy or none; 0 means 5 minutes.
	Recheck time.Duration
	// Retry is for how long a failed fetch is not repeated for the same id; 0 means 5 minutes (RFC 8461 3.3).
	Retry time.Duration
	// Refresh is the age at which a policy is fetched again though its id is unchanged, so that it does not run out where an attacker
	// suppresses the record at the right moment (RFC 8461 10.2); 0 means 24 hours. Short-lived policies are fetched again after half their life.
	Refresh time.Duration
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Timeout, time.Minute}, {&o.Recheck, 5 * time.Minute}, {&o.Retry, 5 * time.Minute}, {&o.Refresh, 24 * time.Hour}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 10000
	}
	if o.LookupTXT == nil {
		o.LookupTXT = systemTXT
	}
	if o.Permit == nil {
		o.Permit = func(a netip.Addr) bool { return !message.PrivateIP(a) }
	}
	if o.Dial == nil {
		o.Dial = guarded(o.Permit)
	}
	return o
}

func systemTXT(ctx context.Context, name string) ([]string, error) {
	records, err := new(net.Resolver).LookupTXT(ctx, name+".")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil, nil
	}
	return records, err
}

var errNotPublic = errors.New("address is not a public one")

// guarded returns a dialer that looks at the address after all names are resolved, so that no answer of DNS gets around it.
func guarded(permit func(netip.Addr) bool) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !permit(ap.Addr().Unmap()) {
			return errNotPublic
		}
		return nil
	}}
	return d.DialContext
}
