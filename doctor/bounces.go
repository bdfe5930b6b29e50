package doctor

import (
	"context"
	"net/netip"
	"strings"
)

// bounces checks the host of reverse-paths: what comes back has to find us, and
// receivers evaluate SPF for it instead of the author's domain.
func (e *exam) bounces(ctx context.Context) {
	if e.BounceHost == "" {
		return
	}
	hosts := e.bounceHost(ctx, e.BounceHost)
	e.bounceCertificate(hosts)
	if e.Direct {
		e.authorised = e.senderPolicy(ctx, e.BounceHost)
	}
}

// bounceHost returns the mail hosts of a host of reverse-paths.
func (e *exam) bounceHost(ctx context.Context, name string) (hosts []string) {
	a := e.chart.about("bounce host", name)
	advice := "publish an MX record of the bounce host that names a host with the address of bounces.listeners"
	if name != e.BounceHost {
		advice = "publish a CNAME record to " + e.BounceHost
	}
	lookup, cancel := context.WithTimeout(ctx, lookupTime)
	records, err := e.Resolver.LookupMX(lookup, name)
	cancel()
	if len(records) == 0 {
		if err == nil || missing(err) {
			a.fail(advice, "has no MX record: bounces do not come back")
			return nil
		}
		a.warn("try again", "lookup failed: %v", err)
		return nil
	}
	var all []netip.Addr
	for _, r := range records {
		hosts = append(hosts, strings.TrimSuffix(r.Host, "."))
		if addrs, err := e.addresses(ctx, r.Host); err == nil {
			all = append(all, addrs...)
		}
	}
	switch {
	case len(all) == 0:
		a.fail(advice, "leads to %s, which has no address", plain(records[0].Host))
	case !overlap(all, e.Sources):
		a.warn("see that they lead to bounces.listeners", "leads to %s, none of which we send from", join(all))
	default:
		a.ok("leads to %s", join(all))
	}
	return hosts
}

func overlap(a, b []netip.Addr) bool {
	for _, addr := range b {
		if containsAll(a, []netip.Addr{addr}) {
			return true
		}
	}
	return false
}
