package testdns

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

const records = `
example.com.       MX    10 mx.example.com.
mx.example.com.    A     127.0.0.1
www.example.com.   CNAME mx.example.com.
far.example.com.   CNAME mx.example.net.
mx.example.net.    A     127.0.0.2
`

// answered is the patience with a server that answers.
const answered = 20 * time.Second

func ask(t *testing.T, s *Server, network, name string, qtype uint16, patience time.Duration) (*dns.Msg, error) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, true)
	c := dns.Client{Net: network, Timeout: patience}
	r, _, err := c.Exchange(m, s.Addr())
	return r, err
}

func TestAnswers(t *testing.T) {
	s := New(t, records)
	s.Secure("example.com")
	for _, tt := range []struct {
		name    string
		qtype   uint16
		rcode   int
		records int
		ad      bool
	}{
		{"example.com.", dns.TypeMX, dns.RcodeSuccess, 1, true},
		{"EXAMPLE.com.", dns.TypeMX, dns.RcodeSuccess, 1, true},
		{"example.com.", dns.TypeTXT, dns.RcodeSuccess, 0, true},
		{"nowhere.example.com.", dns.TypeA, dns.RcodeNameError, 0, true},
		{"nowhere.example.net.", dns.TypeA, dns.RcodeNameError, 0, false},
		{"www.example.com.", dns.TypeA, dns.RcodeSuccess, 2, true},
		{"far.example.com.", dns.TypeA, dns.RcodeSuccess, 2, false}, // the chain leaves what is signed
		{"far.example.com.", dns.TypeCNAME, dns.RcodeSuccess, 1, true},
		{"net.", dns.TypeA, dns.RcodeSuccess, 0, false}, // exists because of what is below
	} {
		for _, network := range []string{"udp", "tcp"} {
			m, err := ask(t, s, network, tt.name, tt.qtype, answered)
			if err != nil {
				t.Fatal(err)
			}
			if m.Rcode != tt.rcode || len(m.Answer) != tt.records || m.AuthenticatedData != tt.ad {
				t.Errorf("%s %s: got rcode %d, %d records, AD %v; want %+v", tt.name, dns.TypeToString[tt.qtype], m.Rcode, len(m.Answer), m.AuthenticatedData, tt)
			}
		}
	}
	if n := s.Count("example.com", "MX"); n != 4 {
		t.Errorf("Count = %d, want 4", n)
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		fault    Fault
		network  string
		fails    bool
		rcode, n int
		tc       bool
	}{
		{ServFail, "udp", false, dns.RcodeServerFailure, 0, false},
		{Bogus, "udp", false, dns.RcodeServerFailure, 0, false},
		{Refused, "udp", false, dns.RcodeRefused, 0, false},
		{Timeout, "udp", true, 0, 0, false},
		{Truncate, "udp", false, 0, 0, true},
		{Truncate, "tcp", false, 0, 1, false},
		{TruncateAlways, "tcp", false, 0, 0, true},
		{Garbage, "tcp", true, 0, 0, false},
		{WrongID, "tcp", true, 0, 0, false},
		{Partial, "udp", false, 0, 1, false},
		{Loop, "udp", false, 0, 1, false},
	} {
		s := New(t, records)
		s.Fail("example.com", tt.fault, "MX")
		patience := answered
		if tt.fault == Timeout {
			patience = 50 * time.Millisecond
		}
		m, err := ask(t, s, tt.network, "example.com.", dns.TypeMX, patience)
		if (err != nil) != tt.fails {
			t.Errorf("fault %d: %v", tt.fault, err)
		}
		if err == nil && (m.Rcode != tt.rcode || len(m.Answer) != tt.n || m.Truncated != tt.tc) {
			t.Errorf("fault %d over %s: %v", tt.fault, tt.network, m)
		}
		s.Fail("example.com", None, "MX")
		if m, err := ask(t, s, "udp", "example.com.", dns.TypeMX, answered); err != nil || len(m.Answer) != 1 {
			t.Errorf("after fault %d was taken back: %v, %v", tt.fault, m, err)
		}
	}
}
