package dane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks DNS and knows what was authenticated. It is safe for concurrent use and keeps nothing between calls: the resolver behind it has
// the cache.
type Resolver struct{ opts Options }

// New returns a Resolver. It fails when no server is configured.
func New(o Options) (*Resolver, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Resolver{opts: o}, nil
}

// Trusted tells whether answers can be Authentic at all.
func (r *Resolver) Trusted() bool { return r.opts.Trusted }

// MX is one mail exchanger. Host "." is the null MX of RFC 7505.
type MX struct {
	Host       string // without final dot, except "."
	Preference uint16
}

// MXAnswer is what DNS says about the mail hosts of a domain.
type MXAnswer struct {
	Records []MX // in any order
	// Name is the domain with its aliases followed, another reference identifier of its certificates (RFC 7672 3.2.1).
	Name string
	// Authentic is set when all of it was signed and validated, the absence of records as well.
	Authentic bool
	// TTL is for how long the answer holds, that there is none as well (RFC 2308).
	TTL time.Duration
}

// LookupMX returns the mail hosts of a domain. Beside ErrNoDomain and ErrNoRecords the answer is valid but for its Records; any other error is a
// TemporaryError.
func (r *Resolver) LookupMX(ctx context.Context, domain string) (MXAnswer, error) {
	a, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return MXAnswer{}, err
	}
	out := MXAnswer{Name: plain(a.name), Authentic: a.authentic, TTL: a.ttl}
	for _, rr := range a.rrs {
		mx := rr.(*dns.MX)
		out.Records = append(out.Records, MX{Host: plain(mx.Mx), Preference: mx.Preference})
	}
	return out, a.absence(domain, len(out.Records))
}

// Host is what DNS says about one mail host. LookupTLSA needs it to know which names may hold TLSA records.
type Host struct {
	Addrs []netip.Addr // IPv6 first
	Name  string       // as asked for
	// Canonical is the name with its aliases followed.
	Canonical string
	// Authentic is set when the addresses and all aliases on the way to them were signed and validated.
	Authentic bool
	// AliasAuthentic is set when the first alias was signed and validated although what follows was not (RFC 7672 2.2.2).
	AliasAuthentic bool
}

// LookupHost returns the addresses of a host. Beside ErrNoDomain and ErrNoRecords the Host is valid but for its Addrs; any other error is a
// TemporaryError. Where one address family cannot be asked for, the addresses of the other are enough: their own answer tells whether the name is
// signed, so suppressing half of them gains an attacker nothing.
func (r *Resolver) LookupHost(ctx context.Context, host string) (Host, error) {
	six, err6 := r.lookup(ctx, host, dns.TypeAAAA)
	four, err4 := r.lookup(ctx, host, dns.TypeA)
	both, err := merge(six, err6, four, err4)
	if err != nil {
		return Host{}, err
	}
	h := Host{Name: plain(dns.CanonicalName(host)), Canonical: plain(both.name), Authentic: both.authentic}
	for _, rr := range both.rrs {
		if addr, ok := address(rr); ok {
			h.Addrs = append(h.Addrs, addr)
		}
	}
	if !h.Authentic && both.aliased && r.opts.Trusted {
		alias, err := r.ask(ctx, dns.CanonicalName(host), dns.TypeCNAME)
		if err != nil {
			return Host{}, err
		}
		h.AliasAuthentic = alias.AuthenticatedData && len(alias.Answer) > 0
	}
	return h, both.absence(host, len(h.Addrs))
}

// merge makes one answer of those for both address families.
func merge(six answer, err6 error, four answer, err4 error) (answer, error) {
	switch {
	case err6 == nil && err4 == nil:
		six.authentic = six.authentic && four.authentic && six.name == four.name
		six.rrs = append(six.rrs, four.rrs...)
		six.exists = six.exists || four.exists
		return six, nil
	case err6 == nil && len(six.rrs) > 0:
		return six, nil
	case err4 == nil && len(four.rrs) > 0:
		return four, nil
	case err4 != nil:
		return answer{}, err4
	}
	return answer{}, err6
}

// LookupTXT returns the TXT records of a name, each with its strings joined. ErrNoDomain and ErrNoRecords tell their absence; any other error is a
// TemporaryError.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range a.rrs {
		out = append(out, unescape(rr.(*dns.TXT).Txt))
	}
	return out, a.absence(name, len(out))
}

// LookupTLSA returns the TLSA records of a host for a TCP port. It asks only where the answer could be authentic: broken servers of unsigned domains
// that drop such queries must not stop mail (RFC 7672 2.2.2). The records of the canonical name come first, then those of the
// name itself. An error is a TemporaryError: skip the host.
func (r *Resolver) LookupTLSA(ctx context.Context, h Host, port int) (Set, error) {
	var bases []string
	if h.Authentic {
		bases = append(bases, h.Canonical)
	}
	if (h.Authentic && h.Canonical != h.Name) || h.AliasAuthentic {
		bases = append(bases, h.Name)
	}
	for _, base := range bases {
		a, err := r.lookup(ctx, fmt.Sprintf("_%d._tcp.%s", port, base), dns.TypeTLSA)
		if err != nil {
			return Set{}, err
		}
		if !a.authentic || len(a.rrs) == 0 {
			continue
		}
		s := Set{Base: base}
		for _, rr := range a.rrs[:min(len(a.rrs), maxTLSA)] {
			s.Records = append(s.Records, record(rr.(*dns.TLSA)))
		}
		return s, nil
	}
	return Set{}, nil
}

// maxTLSA bounds the work that a domain can cause per handshake; every sensible set is far smaller.
const maxTLSA = 100

// absence is the error for an answer without records.
func (a answer) absence(name string, records int) error {
	switch {
	case records > 0:
		return nil
	case a.exists:
		return fmt.Errorf("%s: %w", name, ErrNoRecords)
	}
	return fmt.Errorf("%s: %w", name, ErrNoDomain)
}

// IsAbsence tells whether err is ErrNoDomain or ErrNoRecords, that is, an answer and not a failure to get one.
func IsAbsence(err error) bool { return errors.Is(err, ErrNoDomain) || errors.Is(err, ErrNoRecords) }

func address(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		addr, ok := netip.AddrFromSlice(rr.A)
		return addr.Unmap(), ok
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	}
	return netip.Addr{}, false
}

// plain removes the final dot, except from the root.
func plain(name string) string {
	if name == "." {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// unescape joins the strings of a TXT record and undoes the escapes that the library writes for octets that are not printable.
func unescape(parts []string) string {
	s := strings.Join(parts, "")
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) && digits(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
