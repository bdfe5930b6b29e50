package testdns

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxChain bounds the CNAMEs followed, so that a loop in a zone ends.
const maxChain = 16

// zone is what the server knows, by canonical name.
type zone map[string][]dns.RR

func (z zone) add(text string) error {
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	p.SetDefaultTTL(60)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := dns.CanonicalName(rr.Header().Name)
		if slices.ContainsFunc(z[name], func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }) {
			continue // RFC 2181 5: a set has no duplicates
		}
		z[name] = append(z[name], rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	return nil
}

// exists tells NODATA from NXDOMAIN; a name above another exists too (RFC 8020).
func (z zone) exists(name string) bool {
	for other := range z {
		if dns.IsSubDomain(name, other) {
			return true
		}
	}
	return false
}

// answer follows CNAMEs and returns the records, the names that they depend on, and the code.
func (z zone) answer(q dns.Question) (rrs []dns.RR, names []string, rcode int) {
	name := dns.CanonicalName(q.Name)
	for range maxChain {
		names = append(names, name)
		next := ""
		found := false
		for _, rr := range z[name] {
			switch {
			case rr.Header().Rrtype == q.Qtype:
				rrs, found = append(rrs, rr), true
			case rr.Header().Rrtype == dns.TypeCNAME:
				rrs, next = append(rrs, rr), dns.CanonicalName(rr.(*dns.CNAME).Target)
			}
		}
		if found || next == "" {
			if !z.exists(name) {
				return rrs, names, dns.RcodeNameError
			}
			return rrs, names, dns.RcodeSuccess
		}
		name = next
	}
	return rrs, names, dns.RcodeServerFailure
}

func under(name string, parents []string) bool {
	return slices.ContainsFunc(parents, func(p string) bool { return dns.IsSubDomain(p, name) })
}
