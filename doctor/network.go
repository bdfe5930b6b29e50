package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// resolver tells whether DNS answers at all.
func (e *exam) resolver(ctx context.Context) bool {
	a := e.chart.about("resolver", "")
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	valid, err := e.Resolver.Validates(ctx)
	switch {
	case err != nil:
		a.fail("see delivery.resolver and /etc/resolv.conf; nothing that needs DNS was checked", "gives no answer of use: %v", err)
		return false
	case !valid && e.Trusted:
		a.warn("run a validating resolver on this machine, such as unbound, or set delivery.resolver_trusted to false", "answers, but does not validate DNSSEC, which delivery.resolver_trusted says: there is no DANE")
	case !valid:
		a.warn("run a validating resolver on this machine, such as unbound, and name it in delivery.resolver", "answers, but does not validate DNSSEC: DANE (RFC 7672) cannot be used")
	case !e.Trusted:
		a.ok("answers and validates DNSSEC; without delivery.resolver_trusted there is no DANE (RFC 7672)")
	default:
		a.ok("answers and validates DNSSEC")
	}
	return true
}

// missing tells that DNS answered that there is no such record.
func missing(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func (e *exam) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, err := e.Resolver.LookupIPAddr(ctx, host)
	var out []netip.Addr
	for _, f := range found {
		if addr, ok := netip.AddrFromSlice(f.IP); ok {
			out = append(out, addr.Unmap())
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// nameOf is what we say in EHLO from an address.
func (e *exam) nameOf(addr netip.Addr) string {
	if name := e.Names[addr]; name != "" {
		return name
	}
	return e.Hostname
}

// helo checks each name that we give in EHLO, with the addresses that use it.
func (e *exam) helo(ctx context.Context) {
	names := []string{}
	uses := map[string][]netip.Addr{}
	for _, addr := range e.Sources {
		name := e.nameOf(addr)
		if len(uses[name]) == 0 {
			names = append(names, name)
		}
		uses[name] = append(uses[name], addr)
	}
	if len(names) == 0 {
		names = []string{e.Hostname}
	}
	for _, name := range names {
		e.heloName(ctx, name, uses[name])
	}
}

// heloName checks one name: it has to be one that resolves (RFC 5321 2.3.5).
func (e *exam) heloName(ctx context.Context, name string, sources []netip.Addr) {
	a := e.chart.about("EHLO name", name)
	const advice = "set hostname, or delivery.hostname, to a name with an address record for each source address"
	if !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		a.fail(advice, "is not a fully qualified name")
		return
	}
	addrs, err := e.addresses(ctx, name)
	switch {
	case missing(err):
		a.fail(advice, "has no address")
	case err != nil:
		a.warn("try again", "lookup failed: %v", err)
	case !containsAll(addrs, sources):
		a.warn(advice, "has the addresses %s, which are not those we send from", join(addrs))
	default:
		a.ok("has the addresses %s", join(addrs))
	}
}

func containsAll(have, want []netip.Addr) bool {
	return !slices.ContainsFunc(want, func(a netip.Addr) bool { return !slices.Contains(have, a) })
}

func join[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}

func (e *exam) sources(ctx context.Context) {
	if len(e.Sources) == 0 {
		e.chart.about("source address", "").warn("name the public addresses with --source", "this machine has none of its own")
	}
	for _, addr := range e.Sources {
		a := e.chart.about("source address", addr.String())
		if e.Guessed && (addr.IsPrivate() || !addr.IsGlobalUnicast()) {
			a.warn("name the public address with --source", "is a private one: mail hosts see another")
			continue
		}
		e.reverse(ctx, a, addr)
	}
}

// reverse looks whether the address has a name that leads back to it, which
// large receivers ask for.
func (e *exam) reverse(ctx context.Context, a area, addr netip.Addr) {
	const advice = "have the provider of the address set its PTR record to the EHLO name"
	lookup, cancel := context.WithTimeout(ctx, lookupTime)
	names, err := e.Resolver.LookupAddr(lookup, addr.String())
	cancel()
	if len(names) == 0 {
		if err == nil || missing(err) {
			a.fail(advice, "has no name (PTR record): many hosts refuse its mail")
			return
		}
		a.warn("try again", "lookup of its name failed: %v", err)
		return
	}
	confirmed := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		addrs, err := e.addresses(ctx, name)
		return err != nil || !slices.Contains(addrs, addr)
	})
	switch {
	case len(confirmed) == 0:
		a.fail(advice+", and see that the name has this address", "is named %s, which does not lead back to it", plain(names[0]))
	case !slices.ContainsFunc(confirmed, func(n string) bool { return strings.EqualFold(plain(n), plain(e.nameOf(addr))) }):
		a.warn(advice, "is named %s, which is not the EHLO name %s", plain(confirmed[0]), e.nameOf(addr))
	default:
		a.ok("is named %s, which leads back to it", plain(confirmed[0]))
	}
}

func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// port connects to the host that the operator named, and to no other.
func (e *exam) port(ctx context.Context) {
	a := e.chart.about("port 25", e.Probe)
	switch {
	case e.Probe != "":
		e.probe(ctx, a)
	case e.Direct:
		a.warn("name a mail host of yours elsewhere with --probe", "not tried: it needs a host that may be connected to")
	default:
		a.ok("not needed: no stream delivers by MX")
	}
}

func (e *exam) probe(ctx context.Context, a area) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	const advice = "see whether a firewall or the provider blocks outgoing port 25; else deliver through a smarthost"
	conn, err := e.Dial(ctx, "tcp", e.Probe)
	if err != nil {
		a.fail(advice, "cannot connect: %v", err)
		return
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline.Add(-time.Second)); err != nil {
		a.fail(advice, "%v", err)
		return
	}
	line, err := bufio.NewReaderSize(conn, 1024).ReadSlice('\n')
	switch {
	case err != nil:
		a.fail(advice, "connects, but there is no greeting: %v", err)
		return
	case !strings.HasPrefix(string(line), "220"):
		a.warn("see what the host says about us", "connects, and the host says: %s", strings.TrimSpace(string(line)))
	default:
		a.ok("greeted by %s", strings.TrimSpace(string(line)))
	}
	_, _ = conn.Write([]byte("QUIT\r\n")) // out of courtesy
}
