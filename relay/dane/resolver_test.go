package dane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/mailchute/mailchute/internal/testdns"
)

const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// world has a signed domain, an unsigned one, and aliases in each direction. Signed is what lies under secure.test.
const world = `
secure.test.               MX    10 mx1.secure.test.
secure.test.               MX    20 mx.plain.test.
alias.secure.test.         CNAME secure.test.
null.secure.test.          MX    0 .
empty.secure.test.         TXT   "nothing here"
mx1.secure.test.           A     192.0.2.1
mx1.secure.test.           AAAA  2001:db8::1
_25._tcp.mx1.secure.test.  TLSA  3 1 1 ` + digest + `
bare.secure.test.          A     192.0.2.2
cname.secure.test.         CNAME mx1.secure.test.
own.secure.test.           CNAME bare.secure.test.
_25._tcp.own.secure.test.  TLSA  3 1 1 ` + digest + `
out.secure.test.           CNAME mx.plain.test.
_25._tcp.out.secure.test.  TLSA  2 1 1 ` + digest + `
plain.test.                MX    10 mx.plain.test.
mx.plain.test.             A     192.0.2.3
_25._tcp.mx.plain.test.    TLSA  3 1 1 ` + digest + `
in.plain.test.             CNAME mx1.secure.test.
tlsa.secure.test.          A     192.0.2.4
_25._tcp.tlsa.secure.test. CNAME _25._tcp.mx1.secure.test.
away.secure.test.          A     192.0.2.5
_25._tcp.away.secure.test. CNAME _25._tcp.mx.plain.test.
txt.secure.test.           TXT   "one " "record \"quoted\" \200"
txt.secure.test.           TXT   "another"
`

func start(t *testing.T, trusted bool) (*Resolver, *testdns.Server) {
	t.Helper()
	dns := testdns.New(t, world)
	dns.Secure("secure.test")
	r, err := New(Options{Servers: []string{dns.Addr()}, Trusted: trusted, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return r, dns
}

func TestLookupMX(t *testing.T) {
	r, _ := start(t, true)
	for _, tt := range []struct {
		clause, domain string
		want           MXAnswer
		err            error
	}{
		{"7672 2.2.1 signed", "secure.test", MXAnswer{Records: []MX{{"mx1.secure.test", 10}, {"mx.plain.test", 20}}, Name: "secure.test", Authentic: true}, nil},
		{"7672 2.2.1 unsigned", "plain.test", MXAnswer{Records: []MX{{"mx.plain.test", 10}}, Name: "plain.test"}, nil},
		{"5321 5.1 alias", "ALIAS.secure.test.", MXAnswer{Records: []MX{{"mx1.secure.test", 10}, {"mx.plain.test", 20}}, Name: "secure.test", Authentic: true}, nil},
		{"7505 null MX", "null.secure.test", MXAnswer{Records: []MX{{".", 0}}, Name: "null.secure.test", Authentic: true}, nil},
		{"no MX", "empty.secure.test", MXAnswer{Name: "empty.secure.test", Authentic: true}, ErrNoRecords},
		{"NXDOMAIN", "nowhere.secure.test", MXAnswer{Name: "nowhere.secure.test", Authentic: true}, ErrNoDomain},
		{"NXDOMAIN unsigned", "nowhere.test", MXAnswer{Name: "nowhere.test"}, ErrNoDomain},
	} {
		tt.want.TTL = time.Minute
		got, err := r.LookupMX(t.Context(), tt.domain)
		if !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) || IsAbsence(err) != (tt.err != nil) {
			t.Errorf("%s: error %v, want %v", tt.clause, err, tt.err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.clause, d)
		}
	}
}

// TestLookupMX_TTL is for how long an answer holds: the least of its parts, and of the SOA record where there is nothing.
func TestLookupMX_TTL(t *testing.T) {
	r, dns := start(t, true)
	dns.Add("ten.test. 10 CNAME hundred.test.\nhundred.test. 100 MX 1 mx.plain.test.\nhundred.test. 100 MX 2 mx.plain.test.\nhour.test. 3600 CNAME nowhere.test.")
	for domain, want := range map[string]time.Duration{
		"hundred.test": 100 * time.Second, "ten.test": 10 * time.Second, "nowhere.test": time.Minute, "hour.test": 0, // no SOA record with the alias
	} {
		if got, err := r.LookupMX(t.Context(), domain); got.TTL != want {
			t.Errorf("%s: %v, %v, want %v", domain, got.TTL, err, want)
		}
	}
}

func TestLookupHost(t *testing.T) {
	r, _ := start(t, true)
	v6, v4, plain4 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.3")
	for _, tt := range []struct {
		clause string
		want   Host
	}{
		{"signed", Host{Name: "mx1.secure.test", Canonical: "mx1.secure.test", Addrs: []netip.Addr{v6, v4}, Authentic: true}},
		{"unsigned", Host{Name: "mx.plain.test", Canonical: "mx.plain.test", Addrs: []netip.Addr{plain4}}},
		{"signed alias", Host{Name: "cname.secure.test", Canonical: "mx1.secure.test", Addrs: []netip.Addr{v6, v4}, Authentic: true}},
		{"7672 2.2.2 alias out of the signed zone", Host{Name: "out.secure.test", Canonical: "mx.plain.test", Addrs: []netip.Addr{plain4}, AliasAuthentic: true}},
		{"7672 2.2.2 alias into the signed zone", Host{Name: "in.plain.test", Canonical: "mx1.secure.test", Addrs: []netip.Addr{v6, v4}}},
	} {
		got, err := r.LookupHost(t.Context(), tt.want.Name)
		if err != nil {
			t.Errorf("%s: %v", tt.clause, err)
		}
		if d := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", tt.clause, d)
		}
	}
	if _, err := r.LookupHost(t.Context(), "nowhere.test"); !errors.Is(err, ErrNoDomain) {
		t.Errorf("NXDOMAIN: %v", err)
	}
	if _, err := r.LookupHost(t.Context(), "empty.secure.test"); !errors.Is(err, ErrNoRecords) {
		t.Errorf("NODATA: %v", err)
	}
}

func TestLookupTLSA(t *testing.T) {
	for _, tt := range []struct {
		clause, host string
		base         string
		records      int
		asked        bool // whether TLSA may have been asked for at all
	}{
		{"7672 2.2.3 signed", "mx1.secure.test", "mx1.secure.test", 1, true},
		{"7672 2.2 signed, none", "bare.secure.test", "", 0, true},
		{"7672 2.2.2 unsigned addresses: not even asked", "mx.plain.test", "", 0, false},
		{"7672 2.2.2 canonical name first", "cname.secure.test", "mx1.secure.test", 1, true},
		{"7672 2.2.2 then the name itself", "own.secure.test", "own.secure.test", 1, true},
		{"7672 2.2.2 alias signed, target not: the name itself", "out.secure.test", "out.secure.test", 1, true},
		{"7672 2.2.2 alias unsigned", "in.plain.test", "", 0, false},
		{"7671 6 CNAME at the TLSA name", "tlsa.secure.test", "tlsa.secure.test", 1, true},
		{"7672 2.2.3 CNAME at the TLSA name leaves the signed zone", "away.secure.test", "", 0, true},
	} {
		r, dns := start(t, true)
		h, err := r.LookupHost(t.Context(), tt.host)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.LookupTLSA(t.Context(), h, 25)
		if err != nil {
			t.Errorf("%s: %v", tt.clause, err)
		}
		if s.Base != tt.base || len(s.Records) != tt.records {
			t.Errorf("%s: got %+v", tt.clause, s)
		}
		asked := false
		for _, q := range dns.Queries() {
			asked = asked || q.Type == "TLSA"
			if !q.DO {
				t.Errorf("%s: %v was asked without DO", tt.clause, q)
			}
		}
		if asked != tt.asked {
			t.Errorf("%s: TLSA asked for: %v", tt.clause, asked)
		}
	}
}

func TestTLSAIsBounded(t *testing.T) {
	r, server := start(t, true)
	for i := range 150 {
		server.Add(fmt.Sprintf("_25._tcp.bare.secure.test. TLSA 3 1 1 %064x", i))
	}
	h, err := r.LookupHost(t.Context(), "bare.secure.test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.LookupTLSA(t.Context(), h, 25)
	if err != nil || len(s.Records) != maxTLSA || s.Level() != Authenticate {
		t.Errorf("%d records, %v", len(s.Records), err)
	}
}

// Without trust the AD bit is worth nothing (RFC 7672 2.1.1).
func TestUntrusted(t *testing.T) {
	r, dns := start(t, false)
	mx, err := r.LookupMX(t.Context(), "secure.test")
	if err != nil || mx.Authentic || len(mx.Records) != 2 || r.Trusted() {
		t.Errorf("MX: %+v, %v", mx, err)
	}
	for _, name := range []string{"mx1.secure.test", "out.secure.test"} {
		h, err := r.LookupHost(t.Context(), name)
		if err != nil || h.Authentic || h.AliasAuthentic || len(h.Addrs) == 0 {
			t.Errorf("host: %+v, %v", h, err)
		}
		s, err := r.LookupTLSA(t.Context(), h, 25)
		if err != nil || s.Level() != None {
			t.Errorf("TLSA: %+v, %v", s, err)
		}
	}
	if dns.Count("_25._tcp.mx1.secure.test", "TLSA") != 0 {
		t.Error("TLSA was asked for")
	}
}

func TestFailuresAreTemporary(t *testing.T) {
	for _, tt := range []struct {
		clause string
		fault  testdns.Fault
		bogus  bool
	}{
		{"7672 2.1.2 SERVFAIL", testdns.ServFail, false},
		{"7672 2.1.2 bogus", testdns.Bogus, true},
		{"REFUSED", testdns.Refused, false},
		{"timeout", testdns.Timeout, false},
		{"no DNS message", testdns.Garbage, false},
		{"5452 9.1 other question", testdns.WrongQuestion, false},
		{"truncated over TCP", testdns.TruncateAlways, false},
		{"CNAME loop", testdns.Loop, false},
	} {
		r, dns := start(t, true)
		if tt.fault == testdns.Timeout {
			r.opts.Timeout = 50 * time.Millisecond
		}
		dns.Fail("secure.test", tt.fault)
		dns.Fail("mx1.secure.test", tt.fault)
		dns.Fail("_25._tcp.mx1.secure.test", tt.fault)
		_, errMX := r.LookupMX(t.Context(), "secure.test")
		_, errHost := r.LookupHost(t.Context(), "mx1.secure.test")
		h := Host{Name: "mx1.secure.test", Canonical: "mx1.secure.test", Authentic: true}
		_, errTLSA := r.LookupTLSA(t.Context(), h, 25)
		for _, err := range []error{errMX, errHost, errTLSA} {
			var temp *TemporaryError
			if !errors.As(err, &temp) || IsAbsence(err) {
				t.Errorf("%s: %v is not temporary", tt.clause, err)
				continue
			}
			if temp.Bogus != tt.bogus || temp.Result() != "dnssec-invalid" || !temp.Temporary() || temp.Name == "" || temp.Type == "" {
				t.Errorf("%s: %+v", tt.clause, temp)
			}
			if strings.Contains(err.Error(), "DNSSEC signatures are not valid") != tt.bogus {
				t.Errorf("%s: told as %q", tt.clause, err)
			}
		}
	}
}

// One address family that cannot be asked for does not stop mail, and does not weaken it.
func TestHalfAnAnswer(t *testing.T) {
	for _, family := range []string{"A", "AAAA"} {
		r, dns := start(t, true)
		dns.Fail("mx1.secure.test", testdns.ServFail, family)
		h, err := r.LookupHost(t.Context(), "mx1.secure.test")
		if err != nil || len(h.Addrs) != 1 || !h.Authentic {
			t.Errorf("without %s: %+v, %v", family, h, err)
		}
	}
	r, dns := start(t, true)
	dns.Fail("bare.secure.test", testdns.ServFail, "A") // AAAA: no records
	var temp *TemporaryError
	if _, err := r.LookupHost(t.Context(), "bare.secure.test"); !errors.As(err, &temp) {
		t.Errorf("no AAAA and A failing: %v", err)
	}
	dns.Fail("out.secure.test", testdns.ServFail, "CNAME")
	if _, err := r.LookupHost(t.Context(), "out.secure.test"); !errors.As(err, &temp) {
		t.Errorf("alias that cannot be checked: %v", err)
	}
}

// Both answers count where there are two.
func TestMerge(t *testing.T) {
	rrs := []dns.RR{&dns.A{A: net.IPv4(192, 0, 2, 1)}}
	yes, no := answer{name: "a.", authentic: true, exists: true, rrs: rrs}, answer{name: "a.", exists: true, rrs: rrs}
	other := answer{name: "b.", authentic: true, exists: true}
	broken := errors.New("broken")
	for _, tt := range []struct {
		six, four  answer
		err6, err4 error
		authentic  bool
		fails      bool
	}{
		{yes, yes, nil, nil, true, false},
		{yes, no, nil, nil, false, false},
		{no, yes, nil, nil, false, false},
		{yes, other, nil, nil, false, false},
		{yes, answer{}, nil, broken, true, false},
		{answer{}, no, broken, nil, false, false},
		{other, answer{}, nil, broken, false, true},
		{answer{}, other, broken, nil, false, true},
		{answer{}, answer{}, broken, broken, false, true},
	} {
		got, err := merge(tt.six, tt.err6, tt.four, tt.err4)
		if got.authentic != tt.authentic || (err != nil) != tt.fails {
			t.Errorf("%+v: authentic %v, %v", tt, got.authentic, err)
		}
	}
}

func TestTruncatedAnswerComesOverTCP(t *testing.T) {
	r, dns := start(t, true)
	dns.Fail("secure.test", testdns.Truncate)
	mx, err := r.LookupMX(t.Context(), "secure.test")
	if err != nil || len(mx.Records) != 2 || !mx.Authentic {
		t.Fatalf("got %+v, %v", mx, err)
	}
	q := dns.Queries()
	if len(q) != 2 || q[0].TCP || !q[1].TCP {
		t.Errorf("queries: %+v", q)
	}
}

// A forger who does not see the query must guess its ID.
func TestForgedID(t *testing.T) {
	r, dns := start(t, true)
	r.opts.Timeout = 50 * time.Millisecond // there is no answer
	dns.Fail("secure.test", testdns.WrongID)
	if mx, err := r.LookupMX(t.Context(), "secure.test"); err == nil {
		t.Errorf("accepted %+v", mx)
	}
}

func TestChains(t *testing.T) {
	r, dns := start(t, true)
	dns.Fail("cname.secure.test", testdns.Partial)
	h, err := r.LookupHost(t.Context(), "cname.secure.test")
	if err != nil || h.Canonical != "mx1.secure.test" || len(h.Addrs) != 2 || !h.Authentic {
		t.Errorf("a resolver that does not follow: %+v, %v", h, err)
	}
	dns.Fail("in.plain.test", testdns.Partial)
	h, err = r.LookupHost(t.Context(), "in.plain.test")
	if err != nil || h.Canonical != "mx1.secure.test" || h.Authentic {
		t.Errorf("an unsigned alias followed in steps: %+v, %v", h, err)
	}
	for i := range 12 {
		dns.Add(fmt.Sprintf("c%d.secure.test. CNAME c%d.secure.test.", i, i+1))
	}
	dns.Add("c12.secure.test. A 192.0.2.9")
	var temp *TemporaryError
	if _, err := r.LookupHost(t.Context(), "c0.secure.test"); !errors.As(err, &temp) {
		t.Errorf("chain of 12: %v", err)
	}
	if h, err := r.LookupHost(t.Context(), "c5.secure.test"); err != nil || h.Canonical != "c12.secure.test" {
		t.Errorf("chain of 7: %+v, %v", h, err)
	}
}

func TestLookupTXT(t *testing.T) {
	r, dns := start(t, true)
	got, err := r.LookupTXT(t.Context(), "txt.secure.test")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"one record \"quoted\" \xc8", "another"}, got); d != "" {
		t.Error(d)
	}
	if _, err := r.LookupTXT(t.Context(), "mx1.secure.test"); !errors.Is(err, ErrNoRecords) {
		t.Errorf("no TXT: %v", err)
	}
	dns.Fail("txt.secure.test", testdns.ServFail)
	if _, err := r.LookupTXT(t.Context(), "txt.secure.test"); err == nil || IsAbsence(err) {
		t.Errorf("SERVFAIL: %v", err)
	}
}

func TestSecondServerIsAsked(t *testing.T) {
	bad, good := testdns.New(t, world), testdns.New(t, world)
	bad.Fail("secure.test", testdns.Timeout)
	r, err := New(Options{Servers: []string{bad.Addr(), good.Addr()}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if mx, err := r.LookupMX(t.Context(), "secure.test"); err != nil || len(mx.Records) != 2 {
		t.Errorf("got %+v, %v", mx, err)
	}
	bad.Fail("secure.test", testdns.Bogus)
	good.Fail("secure.test", testdns.Bogus)
	before := len(good.Queries())
	if _, err := r.LookupMX(t.Context(), "secure.test"); err == nil {
		t.Error("bogus answers accepted")
	}
	if n := len(good.Queries()) - before; n != 1 {
		t.Errorf("a bogus answer was asked for %d times", n)
	}
}

func TestCancelledLookup(t *testing.T) {
	r, dns := start(t, true)
	dns.Fail("secure.test", testdns.Timeout)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	if _, err := r.LookupMX(ctx, "secure.test"); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	r, dns := start(t, true)
	for _, name := range []string{"a..b", string(make([]byte, 300))} {
		if _, err := r.LookupMX(t.Context(), name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	if n := len(dns.Queries()); n != 0 {
		t.Errorf("%d queries for names that are none", n)
	}
}

func TestServers(t *testing.T) {
	r, err := New(Options{Servers: []string{"127.0.0.1", "::1", "127.0.0.1:5353"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"127.0.0.1:53", "[::1]:53", "127.0.0.1:5353"}, r.opts.Servers); d != "" {
		t.Error(d)
	}
}
