package dane

import (
	"context"
	"net/netip"

	"github.com/miekg/dns"
)

// LookupPTR returns the names of an address. The errors are those of LookupTXT.
func (r *Resolver) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, err
	}
	a, err := r.lookup(ctx, name, dns.TypePTR)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range a.rrs {
		out = append(out, plain(rr.(*dns.PTR).Ptr))
	}
	return out, a.absence(name, len(out))
}
