package relay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/relay/mtasts"
	"github.com/mailchute/mailchute/store"
)

// Limits of one attempt over MX (RFC 5321 5.1 leaves them to us).
const (
	maxMX        = 20 // hosts looked at
	maxAddresses = 5  // addresses dialled
	maxSessions  = 2  // sessions that got as far as MAIL
)

// hop is a place to connect to with what its domain says about its TLS.
type hop struct {
	target
	pact  pact
	rival string // another address of the same host, dialled too when this one keeps silent; "" means none
}

// walk goes through the mail hosts of one domain.
type walk struct {
	n      *network
	domain string
	mode   store.TLSMode // what the route demands
	wish   wish
	answer dane.MXAnswer
	yield  func(hop, *fault) bool

	asked    bool // for the MTA-STS policy, which follows
	sts      mtasts.Policy
	stsFound bool
	stsErr   error
}

// mxTargets yields the addresses to try for a domain, best first, or the faults that stand in for them. Lookups happen when
// their result is needed.
func (n *network) mxTargets(ctx context.Context, domain string, mode store.TLSMode, wish wish) iter.Seq2[hop, *fault] {
	return func(yield func(hop, *fault) bool) {
		w := &walk{n: n, domain: domain, mode: mode, wish: wish, yield: yield}
		if strings.HasPrefix(domain, "[") {
			w.literal()
			return
		}
		all, f := w.mailHosts(ctx)
		if w.noted(ctx, f); f != nil {
			yield(hop{}, f)
			return
		}
		hosts, f := w.beforeUs(all)
		if f != nil {
			yield(hop{}, f)
			return
		}
		transcriptOf(ctx).found(domain, hosts)
		for _, host := range hosts {
			if !w.host(ctx, host, host == domain && len(all) == 1) {
				return
			}
		}
	}
}

// mailHosts returns the hosts of the domain in the order to try them (RFC 5321 5.1): by preference, at random among equals.
// A domain without MX records is its own host; one with MX records never is.
func (w *walk) mailHosts(ctx context.Context) ([]MX, *fault) {
	n, domain := w.n, w.domain
	ctx, cancel := context.WithTimeout(ctx, n.opts.Timeouts.DNS)
	defer cancel()
	answer, err := n.dns.LookupMX(ctx, domain)
	w.answer = answer
	records := answer.Records
	switch {
	case errors.Is(err, ErrNoDomain):
		return nil, own(phaseDNS, 550, detailNoHost, n.opts.Now(), "domain %s does not exist", domain)
	case errors.Is(err, ErrNoRecords) || (err == nil && len(records) == 0):
		return []MX{{Host: domain}}, nil
	case err != nil:
		return nil, n.lookupFault(ctx, "MX", domain, err)
	}
	if len(records) == 1 && (records[0].Host == "." || records[0].Host == "") {
		return nil, own(phaseDNS, 556, detailNullMX, n.opts.Now(), "domain %s does not accept mail (null MX)", domain)
	}
	return n.sortHosts(records), nil
}

// beforeUs cuts the list at ourselves (RFC 5321 5.1): mail goes only to hosts that are preferred to us, or it would come back.
func (w *walk) beforeUs(hosts []MX) ([]string, *fault) {
	var out []string
	us := slices.IndexFunc(hosts, func(h MX) bool { return w.n.ownName(h.Host) })
	for _, h := range hosts {
		if us < 0 || h.Preference < hosts[us].Preference {
			out = append(out, h.Host)
		}
	}
	if us >= 0 && len(out) == 0 {
		return nil, w.loop(hosts[us].Host)
	}
	return out, nil
}

func (w *walk) loop(host string) *fault {
	return own(phaseDNS, 554, detailLoop, w.n.opts.Now(), "mail for %s would come back to this server, which is its mail host %s", w.domain, host)
}

func (n *network) lookupFault(ctx context.Context, what, name string, err error) *fault {
	if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) || errors.Is(cause, errAttemptTooLong) {
		err = cause
	}
	var told *dane.TemporaryError // says itself what was looked up
	if !errors.As(err, &told) {
		err = fmt.Errorf("looking up %s of %s: %w", what, name, err)
	}
	f := broken(phaseDNS, detailDirectory, err, n.opts.Now())
	if f.short = shortage(err); f.short {
		f.reply.Enhanced = [3]int{4, detailLocal[0], detailLocal[1]}
	}
	return f
}

func (n *network) sortHosts(records []MX) []MX {
	records = slices.Clone(records)
	for i := len(records) - 1; i > 0; i-- {
		j := int(n.opts.Rand() * float64(i+1))
		records[i], records[j] = records[j], records[i]
	}
	slices.SortStableFunc(records, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	var hosts []MX
	for _, r := range records {
		host := strings.ToLower(strings.TrimSuffix(r.Host, "."))
		known := slices.ContainsFunc(hosts, func(h MX) bool { return h.Host == host })
		if hostName(host) && !known && len(hosts) < maxMX {
			hosts = append(hosts, MX{Host: host, Preference: r.Preference})
		}
	}
	return hosts
}

// hostName tells whether a name from DNS can be one of a host. It is shown to people and written into the store, so
// anything else is no use.
func hostName(s string) bool {
	return s != "" && len(s) <= 255 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// host yields the addresses of one host and tells whether to go on. implicit says that the host is the domain itself.
func (w *walk) host(ctx context.Context, name string, implicit bool) bool {
	h, f := w.lookup(ctx, name, implicit)
	if f != nil {
		return w.yield(hop{}, f)
	}
	g, mode, f := w.guarded(ctx, h, implicit)
	if f != nil {
		return w.yield(hop{}, f)
	}
	if slices.ContainsFunc(h.Addrs, func(a netip.Addr) bool { return w.n.ownAddress(a.Unmap()) }) {
		w.yield(hop{}, w.loop(name))
		return false
	}
	addrs := interleave(h.Addrs)
	for i, addr := range addrs {
		t, f := w.n.addressTarget(name, addr, mode)
		t.proof = g.proof()
		if !w.yield(hop{t, g, w.rivalOf(addrs, i)}, f) {
			return false
		}
	}
	return true
}

func (w *walk) lookup(ctx context.Context, name string, implicit bool) (dane.Host, *fault) {
	n := w.n
	ctx, cancel := context.WithTimeout(ctx, n.opts.Timeouts.DNS)
	defer cancel()
	h, err := n.dns.LookupHost(ctx, name)
	switch {
	case errors.Is(err, ErrNoDomain) || errors.Is(err, ErrNoRecords) || (err == nil && len(h.Addrs) == 0):
		if implicit {
			n.opts.Domains.note(name, false, w.answer.TTL)
			return h, own(phaseDNS, 550, detailNoHost, n.opts.Now(), "domain %s has neither mail host nor address", name)
		}
		return h, broken(phaseDNS, detailRoute, fmt.Errorf("mail host %s has no address", name), n.opts.Now())
	case err != nil:
		return h, n.lookupFault(ctx, "addresses", name, err)
	}
	return h, nil
}

// literal goes to an address that stands in the place of a domain. No policy can be published for it.
func (w *walk) literal() {
	addr, ok := message.Address{Local: "x", Domain: w.domain}.LiteralIP()
	if !ok {
		w.yield(hop{}, own(phaseDNS, 550, detailNoHost, w.n.opts.Now(), "address literal %s is unknown", w.domain))
		return
	}
	g, mode, f := w.bound(dane.Host{Name: addr.String()})
	if f != nil {
		w.yield(hop{}, f)
		return
	}
	t, f := w.n.addressTarget(addr.String(), addr, mode)
	w.yield(hop{target: t, pact: g}, f)
}

// addressTarget refuses addresses that must not be reachable through a name somebody else controls.
func (n *network) addressTarget(host string, addr netip.Addr, mode store.TLSMode) (target, *fault) {
	addr = addr.Unmap()
	if !n.opts.AllowPrivate && message.PrivateIP(addr) {
		return target{}, own(phaseDNS, 550, detailRoute, n.opts.Now(), "mail host %s has the address %s, which is not a public one", host, addr)
	}
	return target{host: host, address: net.JoinHostPort(addr.String(), strconv.Itoa(n.opts.MXPort)), tls: mode}, nil
}

// interleave alternates between IPv6 and IPv4, IPv6 first, so that a broken family costs one attempt and not all.
func interleave(addrs []netip.Addr) []netip.Addr {
	var six, four, out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			out = append(out, six[i])
		}
		if i < len(four) {
			out = append(out, four[i])
		}
	}
	return out
}
