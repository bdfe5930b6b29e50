package dane

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the EDNS buffer that avoids fragments (RFC 6891 6.2.5, DNS flag day 2020).
	udpSize = 1232
	// maxChain bounds the CNAMEs followed.
	maxChain = 8
)

// answer is the outcome of a lookup with all CNAMEs followed.
type answer struct {
	name      string // the last name of the chain
	aliased   bool
	authentic bool // every part of it, the absence of records included
	rrs       []dns.RR
	exists    bool // false: NXDOMAIN
	ttl       time.Duration
}

// lookup asks for records and follows CNAMEs, also where the resolver did not. Its errors are TemporaryErrors.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) (answer, error) {
	a := answer{name: dns.CanonicalName(name), authentic: true, ttl: math.MaxInt64}
	for range maxChain {
		m, err := r.ask(ctx, a.name, qtype)
		if err != nil {
			return answer{}, err
		}
		a.authentic = a.authentic && m.AuthenticatedData && r.opts.Trusted
		a.exists = m.Rcode != dns.RcodeNameError
		if holds := ttl(m); holds < a.ttl {
			a.ttl = holds
		}
		before := a.name
		if err := a.follow(m.Answer, qtype); err != nil {
			return answer{}, temporary(name, qtype, err)
		}
		if len(a.rrs) > 0 || !a.exists || a.name == before {
			return a, nil
		}
		if m.Rcode == dns.RcodeSuccess && len(m.Ns) > 0 && !referral(m.Ns) {
			return a, nil // the resolver followed the chain to its end and found nothing there
		}
	}
	return answer{}, temporary(name, qtype, errors.New("CNAME chain too long"))
}

// follow walks the CNAMEs of one answer section and collects the records at their end.
func (a *answer) follow(section []dns.RR, qtype uint16) error {
	aliases := map[string]string{}
	for _, rr := range section {
		if c, ok := rr.(*dns.CNAME); ok && qtype != dns.TypeCNAME {
			aliases[dns.CanonicalName(c.Hdr.Name)] = dns.CanonicalName(c.Target)
		}
	}
	for range maxChain + 1 {
		next, ok := aliases[a.name]
		if !ok {
			for _, rr := range section {
				if rr.Header().Rrtype == qtype && dns.CanonicalName(rr.Header().Name) == a.name {
					a.rrs = append(a.rrs, rr)
				}
			}
			return nil
		}
		a.name, a.aliased = next, true
	}
	return errors.New("CNAME loop")
}

// ttl is for how long all of a message holds. Where it says that there is nothing, the SOA record tells, and without one it
// does not hold at all (RFC 2308 5).
func ttl(m *dns.Msg) time.Duration {
	least, nothing := uint32(math.MaxUint32), len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError
	for _, rr := range m.Answer {
		least = min(least, rr.Header().Ttl)
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			least, nothing = min(least, soa.Hdr.Ttl, soa.Minttl), false
		}
	}
	if nothing {
		return 0
	}
	return time.Duration(least) * time.Second
}

func referral(ns []dns.RR) bool {
	for _, rr := range ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return false
		}
	}
	return true
}

// ask puts one question to the servers in turn until one answers NOERROR or NXDOMAIN.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, temporary(name, qtype, errors.New("not a domain name"))
	}
	var last error
	bogus := false
	for range r.opts.Rounds {
		for _, server := range r.opts.Servers {
			m, err := r.exchange(ctx, server, name, qtype)
			if err == nil && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
				return m, nil
			}
			if err == nil {
				bogus = bogus || validationFailed(m)
				err = fmt.Errorf("resolver %s answered %s", server, dns.RcodeToString[m.Rcode])
			}
			if last = err; ctx.Err() != nil {
				return nil, temporary(name, qtype, context.Cause(ctx))
			}
		}
		if bogus {
			break // asking again would have it validated again
		}
	}
	return nil, &TemporaryError{Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[qtype], Bogus: bogus, Err: last}
}

// exchange asks one server over UDP, and over TCP when the answer did not fit.
func (r *Resolver) exchange(ctx context.Context, server, name string, qtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.AuthenticatedData = true
	q.SetEdns0(udpSize, true)
	for _, network := range []string{"udp", "tcp"} {
		limited, cancel := context.WithTimeout(ctx, r.opts.Timeout)
		c := dns.Client{Net: network, Timeout: r.opts.Timeout}
		m, _, err := c.ExchangeContext(limited, q, server)
		cancel()
		switch {
		case err != nil:
			return nil, fmt.Errorf("asking resolver %s over %s: %w", server, network, err)
		case !answers(m, q):
			return nil, fmt.Errorf("resolver %s answered another question", server)
		case !m.Truncated:
			return m, nil
		}
	}
	return nil, fmt.Errorf("resolver %s truncated its answer over TCP", server)
}

// answers guards against a reply that was meant for another query or made up (RFC 5452 9.1); the ID was compared by the client.
func answers(m, q *dns.Msg) bool {
	return m.Response && len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype && m.Question[0].Qclass == dns.ClassINET &&
		dns.CanonicalName(m.Question[0].Name) == dns.CanonicalName(q.Question[0].Name)
}

// validationFailed tells a bogus answer from other SERVFAILs (RFC 8914 4).
func validationFailed(m *dns.Msg) bool {
	opt := m.IsEdns0()
	if opt == nil {
		return false
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && e.InfoCode >= dns.ExtendedErrorCodeDNSSECIndeterminate && e.InfoCode <= dns.ExtendedErrorCodeNSECMissing {
			return true
		}
	}
	return false
}

func temporary(name string, qtype uint16, err error) error {
	return &TemporaryError{Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[qtype], Err: err}
}
