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
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/message/dkim"
)

// zone is that of a relay where all is well.
const zone = `
mail.example.com. A 203.0.113.25
mail.example.com. AAAA 2001:db8::25
25.113.0.203.in-addr.arpa. PTR mail.example.com.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mail.example.com.
example.com. TXT "v=spf1 a:mail.example.com -all"
_dmarc.example.com. TXT "v=DMARC1; p=reject"
`

// healthy returns a case in which every finding is OK, and its DNS.
func healthy(t *testing.T) (Case, *testdns.Server) {
	t.Helper()
	dns := testdns.New(t, zone)
	dns.Secure(".")
	key := newKey(t)
	dns.Add(fmt.Sprintf("s1._domainkey.example.com. TXT %q\n", key))
	resolver, err := NewResolver(dns.Addr())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return Case{
		Direct: true, Hostname: "mail.example.com", Probe: greeter(t, "220 mx.example.net ESMTP\r\n"),
		Sources:     []netip.Addr{netip.MustParseAddr("203.0.113.25"), netip.MustParseAddr("2001:db8::25")},
		Domains:     []Domain{{"example.com", []Key{{"s1._domainkey.example.com", key, true}}, ""}},
		Certificate: Certificate{File: "cert.pem", Chain: chain(t, now.Add(90*24*time.Hour), "mail.example.com"), Host: "mail.example.com"},
		Directory:   Directory{Path: "/data", Mode: 0o700, Free: 10 << 30, MinFree: 1 << 30},
		Clock:       Clock{Now: now, Newest: now.Add(-time.Hour)},
		OpenFiles:   OpenFiles{Limit: 20000, Outgoing: 500, All: 10500},
		Resolver:    resolver, Trusted: true, Dial: (&net.Dialer{}).DialContext,
	}, dns
}

func newKey(t *testing.T) string {
	t.Helper()
	key, err := dkim.GenerateEd25519()
	if err != nil {
		t.Fatal(err)
	}
	return key.Record()
}

// greeter is a host that says one thing to whoever connects, and reads what the
// guest answers.
func greeter(t *testing.T, greeting string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, greeting)
			if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && line != "QUIT\r\n" {
				t.Errorf("guest said %q", line)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestExamine_Healthy(t *testing.T) {
	c, _ := healthy(t)
	findings := Examine(t.Context(), c)
	for _, f := range findings {
		if f.Level != OK || f.Advice != "" {
			t.Errorf("%+v", f)
		}
	}
	if len(findings) != 14 {
		t.Errorf("%d findings: %+v", len(findings), findings)
	}
}

// ailment is one thing made wrong in a healthy case, and the finding that has
// to come of it.
type ailment struct {
	name    string
	spoil   func(*Case, *testdns.Server)
	check   string
	subject string // part of it
	level   Level
	detail  string // part of it
}

func set(f func(*Case)) func(*Case, *testdns.Server) {
	return func(c *Case, _ *testdns.Server) { f(c) }
}

// records replaces all records of a name.
func records(name, text string) func(*Case, *testdns.Server) {
	return func(_ *Case, dns *testdns.Server) {
		dns.Remove(name)
		dns.Add(text)
	}
}

func failing(name string, types ...string) func(*Case, *testdns.Server) {
	return func(_ *Case, dns *testdns.Server) { dns.Fail(name, testdns.ServFail, types...) }
}

const reverse4 = "25.113.0.203.in-addr.arpa."

func networkAilments(t *testing.T) []ailment {
	return []ailment{
		{"not validating", set(func(c *Case) { c.Resolver, c.Trusted = unsigned(t), false }), "resolver", "", Warn, "DANE (RFC 7672) cannot be used"},
		{"trusted and not validating", set(func(c *Case) { c.Resolver = unsigned(t) }), "resolver", "", Warn, "which delivery.resolver_trusted says"},
		{"validating and not trusted", set(func(c *Case) { c.Trusted = false }), "resolver", "", OK, "without delivery.resolver_trusted there is no DANE"},
		{"resolver down", failing(".", "MX"), "resolver", "", Fail, "gives no answer of use: looking up MX of .: "},
		{"bare name", set(func(c *Case) { c.Hostname = "mail" }), "EHLO name", "mail", Fail, "fully qualified"},
		{"name without address", records("mail.example.com.", ""), "EHLO name", "mail.example.com", Fail, "no address"},
		{"name of another address", records("mail.example.com.", "mail.example.com. A 203.0.113.99\n"), "EHLO name", "", Warn, "203.0.113.99"},
		{"name cannot be looked up", failing("mail.example.com."), "EHLO name", "", Warn, "lookup failed"},
		{"no sources", set(func(c *Case) { c.Sources = nil }), "source address", "", Warn, "none of its own"},
		{"behind NAT", set(func(c *Case) { c.Sources, c.Guessed = []netip.Addr{netip.MustParseAddr("10.0.0.5")}, true }), "source address", "10.0.0.5", Warn, "private"},
		{"no PTR", records(reverse4, ""), "source address", "203.0.113.25", Fail, "no name"},
		{"PTR fails", failing(reverse4, "PTR"), "source address", "203.0.113.25", Warn, "lookup of its name failed"},
		{"PTR leads elsewhere", records(reverse4, reverse4+" PTR host.provider.example.\nhost.provider.example. A 198.51.100.1\n"), "source address", "203.0.113.25", Fail, "does not lead back"},
		{"PTR of another name", records(reverse4, reverse4+" PTR host.provider.example.\nhost.provider.example. A 203.0.113.25\n"), "source address", "203.0.113.25", Warn, "not the EHLO name"},
		{"no probe", set(func(c *Case) { c.Probe = "" }), "port 25", "", Warn, "not tried"},
		{"no need of a probe", set(func(c *Case) { c.Probe, c.Direct = "", false }), "port 25", "", OK, "not needed"},
		{"port blocked", set(func(c *Case) { c.Dial = unreachable }), "port 25", "", Fail, "cannot connect"},
		{"greeted badly", set(func(c *Case) { c.Probe = greeter(t, "554 5.7.1 listed\r\n") }), "port 25", "", Warn, "554 5.7.1 listed"},
		{"an endless greeting", set(func(c *Case) { c.Probe = greeter(t, strings.Repeat("x", 5000)) }), "port 25", "", Fail, "no greeting"},
	}
}

func unreachable(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("network is unreachable")
}

// unsigned is the healthy zone behind a resolver that does not validate.
func unsigned(t *testing.T) Resolver {
	t.Helper()
	r, err := NewResolver(testdns.New(t, zone).Addr())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func domainAilments(t *testing.T) []ailment {
	const key, spf, dmarc = "s1._domainkey.example.com.", "example.com.", "_dmarc.example.com."
	waiting := set(func(c *Case) {
		c.Domains[0].Keys = append(c.Domains[0].Keys, Key{"s2._domainkey.example.com", newKey(t), false})
	})
	unsignedDomain := func(c *Case, dns *testdns.Server) {
		dns.Remove(key)
		dns.Remove(spf)
	}
	return []ailment{
		{"no key", set(func(c *Case) { c.Domains[0].Keys = nil }), "DKIM", "example.com", Warn, "not signed"},
		{"key not published", records(key, ""), "DKIM", "s1._domainkey", Fail, "not published"},
		{"another key", records(key, fmt.Sprintf("%s TXT %q\n", key, newKey(t))), "DKIM", "s1._domainkey", Fail, "does not serve"},
		{"two records", records("nothing.", fmt.Sprintf("%s TXT %q\n", key, newKey(t))), "DKIM", "s1._domainkey", Fail, "several"},
		{"key record unreadable", records(key, key+" TXT \"v=DKIM1; p=!\"\n"), "DKIM", "s1._domainkey", Fail, "cannot be read"},
		{"key lookup fails", failing(key, "TXT"), "DKIM", "s1._domainkey", Warn, "lookup failed"},
		{"a key that waits", waiting, "DKIM", "s2._domainkey", Warn, "not published"},
		{"no SPF", records(spf, ""), "SPF", "203.0.113.25", Warn, "no SPF record"},
		{"SPF of others", records(spf, spf+" TXT \"v=spf1 ip4:198.51.100.1 -all\"\n"), "SPF", "203.0.113.25", Fail, "fails"},
		{"SPF of one family", records(spf, spf+" TXT \"v=spf1 ip4:203.0.113.0/24 -all\"\n"), "SPF", "2001:db8::25", Fail, "fails"},
		{"SPF softfail", records(spf, spf+" TXT \"v=spf1 ~all\"\n"), "SPF", "203.0.113.25", Warn, "softfail"},
		{"SPF broken", records(spf, spf+" TXT \"v=spf1 foo\"\n"), "SPF", "203.0.113.25", Fail, "broken"},
		{"SPF lookup fails", failing(spf, "TXT"), "SPF", "203.0.113.25", Warn, "lookup failed"},
		{"no DMARC", records(dmarc, ""), "DMARC", "example.com", Warn, "no policy"},
		{"two policies", records("nothing.", dmarc+" TXT \"v=DMARC1; p=none\"\n"), "DMARC", "example.com", Fail, "2 policies"},
		{"unknown policy", records(dmarc, dmarc+" TXT \"v=DMARC1; p=maybe\"\n"), "DMARC", "example.com", Fail, "unknown"},
		{"DMARC lookup fails", failing(dmarc, "TXT"), "DMARC", "example.com", Warn, "lookup failed"},
		{"met by SPF alone", records(key, ""), "DMARC", "example.com", OK, "met by SPF"},
		{"met by nothing", unsignedDomain, "DMARC", "example.com", Fail, "nothing of our mail meets it"},
		{"of the domain above", set(func(c *Case) { c.Domains = []Domain{{Name: "shop.example.com"}} }), "DMARC", "shop.example.com", Fail, "policy reject"},
	}
}

// bouncing is a case with a host for reverse-paths, in the zone.
func bouncing(records string) func(*Case, *testdns.Server) {
	return func(c *Case, dns *testdns.Server) {
		c.BounceHost = "bounces.example.com"
		dns.Remove("s1._domainkey.example.com.") // so that DMARC needs SPF
		dns.Add(records)
	}
}

func bounceAilments(t *testing.T) []ailment {
	const host, spf = "bounces.example.com. MX 10 mail.example.com.\n", "bounces.example.com. TXT \"v=spf1 a:mail.example.com -all\"\n"
	foreign := func(c *Case, dns *testdns.Server) {
		bouncing("bounces.example.net. MX 10 mail.example.com.\nbounces.example.net. TXT \"v=spf1 a:mail.example.com -all\"\n")(c, dns)
		c.BounceHost = "bounces.example.net"
	}
	own := func(records string) func(*Case, *testdns.Server) {
		return func(c *Case, dns *testdns.Server) {
			foreign(c, dns)
			dns.Add(records)
			c.Domains[0].ReturnPath = "back.example.com"
		}
	}
	tls := func(name string) func(*Case, *testdns.Server) {
		return func(c *Case, dns *testdns.Server) {
			bouncing(host+spf+"bounces.example.com. MX 20 mx2.example.com.\nmx2.example.com. A 203.0.113.25\n")(c, dns)
			c.BounceTLS, c.Certificate.Chain, c.Certificate.Host = true, chain(t, c.Clock.Now.Add(90*24*time.Hour), name), name
		}
	}
	return []ailment{
		{"own host of a domain", own("back.example.com. CNAME bounces.example.net.\n"), "bounce host", "back.example.com", OK, "203.0.113.25"},
		{"its SPF is aligned too", own("back.example.com. CNAME bounces.example.net.\n"), "DMARC", "example.com", OK, "met by SPF"},
		{"own host leads nowhere", own(""), "bounce host", "back.example.com", Fail, "no MX record"},
		{"certificate of the mail hosts", tls("*.example.com"), "bounce certificate", "bounces.example.com", OK, "mail.example.com and mx2.example.com"},
		{"certificate of one of them", tls("mail.example.com"), "bounce certificate", "bounces.example.com", Warn, "not valid for mx2.example.com"},
		{"bounce host is right", bouncing(host + spf), "bounce host", "bounces.example.com", OK, "203.0.113.25"},
		{"SPF of the bounce host passes", bouncing(host + spf), "SPF", "bounces.example.com from 2001:db8::25", OK, "passes"},
		{"its SPF is aligned", bouncing(host + spf), "DMARC", "example.com", OK, "met by SPF"},
		{"its SPF is of others", foreign, "DMARC", "example.com", Fail, "nothing of our mail meets it"},
		{"no MX", bouncing(spf), "bounce host", "", Fail, "no MX record"},
		{"MX without address", bouncing("bounces.example.com. MX 10 nowhere.example.com.\n"), "bounce host", "", Fail, "no address"},
		{"MX of others", bouncing("bounces.example.com. MX 10 mx.example.net.\nmx.example.net. A 198.51.100.7\n"), "bounce host", "", Warn, "198.51.100.7"},
		{"MX lookup fails", func(c *Case, dns *testdns.Server) {
			bouncing(host)(c, dns)
			dns.Fail("bounces.example.com.", testdns.ServFail, "MX")
		}, "bounce host", "", Warn, "lookup failed"},
		{"no SPF of the bounce host", bouncing(host), "SPF", "bounces.example.com", Warn, "no SPF record"},
	}
}

func TestExamine_BounceHostReplacesTheDomainsSPF(t *testing.T) {
	c, dns := healthy(t)
	bouncing("bounces.example.com. MX 10 mail.example.com.\n")(&c, dns)
	for _, f := range Examine(t.Context(), c) {
		if f.Check == "SPF" && strings.HasPrefix(f.Subject, "example.com ") {
			t.Errorf("%+v", f)
		}
	}
}

func TestExamine_NetworkAndDomains(t *testing.T) {
	for _, a := range slices.Concat(networkAilments(t), domainAilments(t), bounceAilments(t)) {
		t.Run(a.name, func(t *testing.T) {
			c, dns := healthy(t)
			a.spoil(&c, dns)
			a.found(t, Examine(t.Context(), c))
		})
	}
}

func (a ailment) found(t *testing.T, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Check != a.check || !strings.Contains(f.Subject, a.subject) {
			continue
		}
		if f.Level == a.level && strings.Contains(f.Detail, a.detail) {
			if f.Level != OK && f.Advice == "" {
				t.Errorf("no advice: %+v", f)
			}
			return
		}
	}
	t.Errorf("no finding %s %s %s with %q in %+v", a.level, a.check, a.subject, a.detail, findings)
}

func TestExamine_SmarthostOnlyAsksNothingAboutAddresses(t *testing.T) {
	c, dns := healthy(t)
	c.Direct = false
	for _, f := range Examine(t.Context(), c) {
		if f.Check == "SPF" || f.Check == "EHLO name" || f.Check == "source address" {
			t.Errorf("%+v", f)
		}
	}
	if n := dns.Count("mail.example.com.", "A") + dns.Count(reverse4, "PTR"); n != 0 {
		t.Errorf("%d lookups of our own addresses", n)
	}
}

func TestExamine_EachSourceHasItsName(t *testing.T) {
	c, dns := healthy(t)
	other := netip.MustParseAddr("203.0.113.26")
	c.Sources, c.Names = []netip.Addr{c.Sources[0], other}, map[netip.Addr]string{other: "news.example.com"}
	dns.Add(`news.example.com. A 203.0.113.26
26.113.0.203.in-addr.arpa. PTR news.example.com.
`)
	dns.Remove("example.com.")
	dns.Add("example.com. TXT \"v=spf1 ip4:203.0.113.25 ip4:203.0.113.26 -all\"\n")
	names := 0
	for _, f := range Examine(t.Context(), c) {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
		if f.Check == "EHLO name" {
			names++
		}
	}
	if names != 2 {
		t.Errorf("%d EHLO names looked at, want both", names)
	}
	c.Names = nil
	ailment{"", nil, "source address", "203.0.113.26", Warn, "not the EHLO name mail.example.com"}.found(t, Examine(t.Context(), c))
}

// TestExamine_ConnectsToNobodyUnasked is the promise of the command.
func TestExamine_ConnectsToNobodyUnasked(t *testing.T) {
	c, _ := healthy(t)
	c.Probe = ""
	c.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		t.Errorf("connected to %s", address)
		return nil, errors.New("no")
	}
	Examine(t.Context(), c)
}
