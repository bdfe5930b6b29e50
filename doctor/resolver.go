package doctor

import (
	"context"
	"net"
	"net/netip"

	"github.com/mailchute/mailchute/relay/dane"
)

// dnsResolver is the Resolver on name servers. The hosts file of the machine is
// left out: remote hosts do not see it.
type dnsResolver struct{ r *dane.Resolver }

// NewResolver returns a Resolver that asks one name server, as host:port, or
// those of /etc/resolv.conf where server is "".
func NewResolver(server string) (Resolver, error) {
	// Trusted, because it is asked here what the resolver says of DNSSEC, not
	// whether that may be relied on.
	o := dane.Options{Trusted: true, Rounds: 1}
	if server != "" {
		o.Servers = []string{server}
	}
	r, err := dane.New(o)
	if err != nil {
		return nil, err
	}
	return dnsResolver{r}, nil
}

// lookupError says of an absence what callers of net.Resolver expect, and of
// everything else that it may pass.
func lookupError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: dane.IsAbsence(err), IsTemporary: !dane.IsAbsence(err)}
}

func (d dnsResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := d.r.LookupTXT(ctx, name)
	return texts, lookupError(name, err)
}

func (d dnsResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	answer, err := d.r.LookupMX(ctx, name)
	var out []*net.MX
	for _, r := range answer.Records {
		out = append(out, &net.MX{Host: r.Host, Pref: r.Preference})
	}
	return out, lookupError(name, err)
}

func (d dnsResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	answer, err := d.r.LookupHost(ctx, host)
	var out []net.IPAddr
	for _, a := range answer.Addrs {
		out = append(out, net.IPAddr{IP: a.AsSlice()})
	}
	return out, lookupError(host, err)
}

func (d dnsResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	names, err := d.r.LookupPTR(ctx, ip)
	return names, lookupError(addr, err)
}

// Validates implements Resolver: the root zone has no MX records, and that is
// signed.
func (d dnsResolver) Validates(ctx context.Context) (bool, error) {
	answer, err := d.r.LookupMX(ctx, ".")
	if err != nil && !dane.IsAbsence(err) {
		return false, err
	}
	return answer.Authentic, nil
}
