package testdns

import (
	"github.com/miekg/dns"
)

// Fault is a way to answer wrongly.
type Fault uint8

const (
	// None is no fault; Fail with it takes a fault back.
	None Fault = iota
	// ServFail answers SERVFAIL, as when no server of the domain could be reached.
	ServFail
	// Bogus answers SERVFAIL with the extended error "DNSSEC Bogus" (RFC 8914), as when validation failed.
	Bogus
	// Refused answers REFUSED.
	Refused
	// Timeout does not answer.
	Timeout
	// Truncate answers over UDP with the TC bit and no records; TCP is answered in full.
	Truncate
	// TruncateAlways sets the TC bit over TCP too.
	TruncateAlways
	// Garbage answers with octets that are no DNS message.
	Garbage
	// WrongID answers in full with another query's ID, as a blind forger would.
	WrongID
	// WrongQuestion answers in full to another question.
	WrongQuestion
	// Partial answers with the first record only, which leaves a CNAME unfollowed.
	Partial
	// Loop answers with a CNAME that points to itself.
	Loop
)

type faultKey struct {
	name  string
	qtype uint16
}

// spoil changes a proper answer into a wrong one. It returns nil octets when there is to be no answer.
func (f Fault) spoil(m *dns.Msg, udp bool) ([]byte, error) {
	switch f {
	case Timeout:
		return nil, nil
	case Garbage:
		return []byte("\x00\x01 this is no DNS message"), nil
	case ServFail, Bogus, Refused:
		m.Answer, m.Ns, m.AuthenticatedData = nil, nil, false
		m.Rcode = map[Fault]int{ServFail: dns.RcodeServerFailure, Bogus: dns.RcodeServerFailure, Refused: dns.RcodeRefused}[f]
		if opt := m.IsEdns0(); f == Bogus && opt != nil {
			opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus})
		}
	case Truncate, TruncateAlways:
		if udp || f == TruncateAlways {
			m.Truncated, m.Answer = true, nil
		}
	case WrongID:
		m.Id++
	case WrongQuestion:
		m.Question[0].Name = "elsewhere.invalid."
	case Partial:
		m.Answer = m.Answer[:min(1, len(m.Answer))]
	case Loop:
		name := m.Question[0].Name
		m.Answer = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: name}}
	}
	return m.Pack()
}
