package relay_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/relay/mtasts"
	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
)

// policies is a PolicySource without a network.
type policies struct {
	policy mtasts.Policy
	err    error
}

func (p policies) Policy(context.Context, string, time.Time) (mtasts.Policy, bool, error) {
	return p.policy, p.policy.Mode != "", p.err
}

// sessions keeps what was reported, as "domain type result".
type sessions struct {
	mu    sync.Mutex
	list  []string
	infos []string
}

func (s *sessions) Record(r tlsrpt.Session, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := string(r.Result)
	if r.Result == tlsrpt.Success {
		result = "ok"
	}
	s.list = append(s.list, fmt.Sprintf("%s %s %s", r.Domain, r.Policy.Type, result))
	s.infos = append(s.infos, r.Detail.Info)
}

func (s *sessions) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.list, ", ")
}

func sts(mode mtasts.Mode, mx ...string) policies {
	return policies{policy: mtasts.Policy{ID: "1", Mode: mode, MX: mx, MaxAge: time.Hour, Fetched: time.Now()}}
}

const (
	wrongKey = "3 1 1 0000000000000000000000000000000000000000000000000000000000000000"
	unusable = "1 1 1 0000000000000000000000000000000000000000000000000000000000000000"
)

// TestTLSPolicy is what a route demands, what a domain publishes and what a host can do, and what comes of it.
func TestTLSPolicy(t *testing.T) {
	const host = "mx1.example.test"
	good := testmx.Script{Hostname: host}
	wrongName := testmx.Script{Hostname: host, CertNames: []string{"other.test"}}
	expired := testmx.Script{Hostname: host, Expired: true}
	none := testmx.Script{Hostname: host, TLS: testmx.NoTLS}
	broken := testmx.Script{Hostname: host, TLS: testmx.BrokenTLS}
	refusing := testmx.Script{Hostname: host, Steps: steps{testmx.StartTLS: {reply("454 4.7.0 not now")}}}
	enforce, trial := sts(mtasts.Enforce, host), sts(mtasts.Testing, host)
	const ok, tempTLS, tempDNS = "delivered 250 dot", "temporary 0 starttls", "temporary 0 dns"
	for _, c := range []struct {
		name   string
		mode   store.TLSMode
		tlsa   string // "good" stands for the host's key
		signed string // what of DNS is; "" stands for all of it
		fault  testdns.Fault
		sts    policies
		script testmx.Script
		want   string
		secure store.Security
		report string // without the domain
	}{
		{name: "opportunistic", script: good, want: ok, secure: store.SecurityEncrypted, report: "no-policy-found ok"},
		{name: "opportunistic, wrong name", script: wrongName, want: ok, secure: store.SecurityEncrypted, report: "no-policy-found ok"},
		{name: "opportunistic, no TLS", script: none, want: ok, secure: store.SecurityNone, report: "no-policy-found starttls-not-supported"},
		{name: "opportunistic, broken TLS", script: broken, want: ok, secure: store.SecurityNone, report: "no-policy-found validation-failure"},
		{name: "opportunistic, STARTTLS refused", script: refusing, want: ok, secure: store.SecurityNone, report: "no-policy-found starttls-not-supported"},
		{name: "none", mode: store.TLSNone, tlsa: wrongKey, sts: enforce, script: good, want: ok, secure: store.SecurityNone},
		{name: "required", mode: store.TLSRequired, script: wrongName, want: ok, secure: store.SecurityEncrypted, report: "no-policy-found ok"},
		{name: "required, no TLS", mode: store.TLSRequired, script: none, want: tempTLS, report: "no-policy-found starttls-not-supported"},
		{name: "required, broken TLS", mode: store.TLSRequired, script: broken, want: tempTLS, report: "no-policy-found validation-failure"},
		{name: "required, STARTTLS refused", mode: store.TLSRequired, script: refusing, want: "temporary 454 starttls", report: "no-policy-found starttls-not-supported"},
		{name: "verified", mode: store.TLSVerified, script: good, want: ok, secure: store.SecurityVerified, report: "no-policy-found ok"},
		{name: "verified, wrong name", mode: store.TLSVerified, script: wrongName, want: tempTLS, report: "no-policy-found certificate-host-mismatch"},
		{name: "verified, expired", mode: store.TLSVerified, script: expired, want: tempTLS, report: "no-policy-found certificate-expired"},

		{name: "DANE", tlsa: "good", script: good, want: ok, secure: store.SecurityDANE, report: "tlsa ok"},
		{name: "DANE does not look at names or dates", tlsa: "good", script: testmx.Script{Hostname: host, CertNames: []string{"other.test"}, Expired: true}, want: ok, secure: store.SecurityDANE, report: "tlsa ok"},
		{name: "DANE, wrong key", tlsa: wrongKey, script: good, want: tempTLS, report: "tlsa validation-failure"},
		{name: "DANE, no TLS", tlsa: "good", script: none, want: tempTLS, report: "tlsa starttls-not-supported"},
		{name: "DANE, broken TLS", tlsa: "good", script: broken, want: tempTLS, report: "tlsa validation-failure"},
		{name: "DANE, no usable record", tlsa: unusable, script: wrongName, want: ok, secure: store.SecurityEncrypted, report: "tlsa ok"},
		{name: "DANE, no usable record, no TLS", tlsa: unusable, script: none, want: tempTLS, report: "tlsa starttls-not-supported"},
		{name: "DANE, no usable record, verified", mode: store.TLSVerified, tlsa: unusable, script: wrongName, want: tempTLS, report: "tlsa certificate-host-mismatch"},
		{name: "DANE satisfies verified", mode: store.TLSVerified, tlsa: "good", script: wrongName, want: ok, secure: store.SecurityDANE, report: "tlsa ok"},
		{name: "DANE in unsigned DNS", tlsa: wrongKey, signed: "other.test", script: good, want: ok, secure: store.SecurityEncrypted, report: "no-policy-found ok"},
		{name: "DANE of a host that unsigned DNS names", tlsa: wrongKey, signed: host, script: good, want: ok, secure: store.SecurityEncrypted, report: "no-policy-found ok"},
		{name: "DANE, bogus answer", tlsa: "good", fault: testdns.Bogus, script: good, want: tempDNS, report: "tlsa dnssec-invalid"},
		{name: "DANE, server fails", tlsa: "good", fault: testdns.ServFail, script: good, want: tempDNS, report: "tlsa dnssec-invalid"},
		{name: "DANE before MTA-STS", tlsa: wrongKey, sts: enforce, script: good, want: tempTLS, report: "tlsa validation-failure"},
		{name: "DANE spares MTA-STS", tlsa: "good", sts: sts(mtasts.Enforce, "other.test"), script: wrongName, want: ok, secure: store.SecurityDANE, report: "tlsa ok"},

		{name: "MTA-STS", sts: enforce, script: good, want: ok, secure: store.SecuritySTS, report: "sts ok"},
		{name: "MTA-STS, required", mode: store.TLSRequired, sts: enforce, script: wrongName, want: tempTLS, report: "sts certificate-host-mismatch"},
		{name: "MTA-STS, wrong name", sts: enforce, script: wrongName, want: tempTLS, report: "sts certificate-host-mismatch"},
		{name: "MTA-STS, expired", sts: enforce, script: expired, want: tempTLS, report: "sts certificate-expired"},
		{name: "MTA-STS, no TLS", sts: enforce, script: none, want: tempTLS, report: "sts starttls-not-supported"},
		{name: "MTA-STS, broken TLS", sts: enforce, script: broken, want: tempTLS, report: "sts validation-failure"},
		{name: "MTA-STS, host not named", sts: sts(mtasts.Enforce, "other.test"), script: good, want: tempTLS, report: "sts validation-failure"},
		{name: "MTA-STS testing", sts: trial, script: good, want: ok, secure: store.SecurityEncrypted, report: "sts ok"},
		{name: "MTA-STS testing, wrong name", sts: trial, script: wrongName, want: ok, secure: store.SecurityEncrypted, report: "sts certificate-host-mismatch"},
		{name: "MTA-STS testing, host not named", sts: sts(mtasts.Testing, "other.test"), script: good, want: ok, secure: store.SecurityEncrypted, report: "sts validation-failure"},
		{name: "MTA-STS testing, no TLS", sts: trial, script: none, want: ok, secure: store.SecurityNone, report: "sts starttls-not-supported"},
		{name: "MTA-STS none", sts: sts(mtasts.None), script: wrongName, want: ok, secure: store.SecurityEncrypted, report: "no-policy-found ok"},
		{name: "MTA-STS not to be had", sts: policies{err: &mtasts.FetchError{Domain: "example.test", Kind: mtasts.Invalid, Err: errors.New("no version")}}, script: good, want: ok,
			secure: store.SecurityEncrypted, report: "sts sts-policy-invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mx := testmx.New(t, c.script)
			dns := testdns.New(t, "example.test. MX 10 mx1.example.test.\nmx1.example.test. A 127.0.0.1\n")
			dns.Secure(cmp.Or(c.signed, "example.test"))
			if c.tlsa != "" {
				dns.Add("_25._tcp.mx1.example.test. TLSA " + strings.Replace(c.tlsa, "good", mx.TLSA(), 1))
			}
			if c.fault != testdns.None {
				dns.Fail("_25._tcp.mx1.example.test", c.fault, "TLSA")
			}
			resolver, err := dane.New(dane.Options{Servers: []string{dns.Addr()}, Trusted: true, Timeout: time.Second, Rounds: 1})
			if err != nil {
				t.Fatal(err)
			}
			w, seen := newWorld(), &sessions{}
			w.at["127.0.0.1:25"] = mx.Addr()
			o := w.options()
			o.DANE, o.STS, o.TLSReports, o.RootCAs = resolver, c.sts, seen, mx.RootCAs()
			j := job()
			j.Route.TLS = c.mode
			got := transport(t, o).Send(context.Background(), j)[0]
			if fate(got) != c.want || got.TLS.Security != c.secure {
				t.Errorf("Send = %s with security %q, want %s with %q\n%+v\n%q", fate(got), got.TLS.Security, c.want, c.secure, got, mx.Transcripts())
			}
			if c.secure == "" && got.Reply.Code == 0 && got.Reply.Enhanced != [3]int{4, 7, 5} {
				t.Errorf("enhanced code %v, want 4.7.5", got.Reply.Enhanced)
			}
			if want := "example.test " + c.report; seen.String() != want && c.report+seen.String() != "" {
				t.Errorf("reported %q, want %q", seen, want)
			}
		})
	}
}

// TestTLSPolicy_NextHost is a first host that does not keep the policy and a second that does.
func TestTLSPolicy_NextHost(t *testing.T) {
	ca := testmx.NewCA(t)
	first := testmx.New(t, testmx.Script{Hostname: "a.test", CertNames: []string{"x.test"}, CA: ca})
	second := testmx.New(t, testmx.Script{Hostname: "b.test", CA: ca})
	w := newWorld()
	w.mail("example.test", 10, "a.test")
	w.mail("example.test", 20, "b.test")
	w.host("a.test", 1, first)
	w.host("b.test", 2, second)
	o := w.options()
	o.STS, o.RootCAs = sts(mtasts.Enforce, "*.test"), ca.Pool()
	got := transport(t, o).Send(context.Background(), job())[0]
	if fate(got) != "delivered 250 dot" || len(first.Messages()) != 0 || len(second.Messages()) != 1 {
		t.Errorf("Send = %s, %d and %d messages, want it at the second host only", fate(got), len(first.Messages()), len(second.Messages()))
	}
	if want := (store.TLS{Security: store.SecuritySTS, Version: "TLS 1.3", Cipher: got.TLS.Cipher, Subject: "CN=testmx"}); got.TLS != want || got.TLS.Cipher == "" {
		t.Errorf("TLS = %+v, want %+v with a cipher", got.TLS, want)
	}
}

// TestTLSPolicy_NotShared keeps a connection that was not verified from those who need a verified one.
func TestTLSPolicy_NotShared(t *testing.T) {
	w, mx := single(t, testmx.Script{Hostname: "mx1.example.test"})
	o := w.options()
	o.RootCAs = mx.RootCAs()
	tr := transport(t, o)
	for _, mode := range []store.TLSMode{"", store.TLSVerified, store.TLSOpportunistic, store.TLSVerified} {
		j := job()
		j.Route.TLS = mode
		if got := tr.Send(context.Background(), j)[0]; got.Verdict() != relay.Delivered {
			t.Fatalf("mode %q: %s", mode, fate(got))
		}
	}
	if mx.Connections() != 2 {
		t.Errorf("%d connections, want one for each demand", mx.Connections())
	}
}

// TestTLSPolicy_IsTold is what the operator reads of mail that waits because of TLS: who demands it, and what was published.
func TestTLSPolicy_IsTold(t *testing.T) {
	const host = "mx1.example.test"
	wrongName := testmx.Script{Hostname: host, CertNames: []string{"other.test"}}
	unknown := policies{err: &mtasts.FetchError{Domain: "example.test", Kind: mtasts.FetchFailed, Err: errors.New("policy host answered 500")}}
	for _, c := range []struct {
		name   string
		mode   store.TLSMode
		tlsa   string
		fault  testdns.Fault
		sts    policies
		script testmx.Script
		answer string // the end of the last one
		talk   string // a line of the conversation
	}{
		{name: "MTA-STS, wrong name", sts: sts(mtasts.Enforce, host), script: wrongName,
			answer: "; the MTA-STS policy of example.test demands a valid certificate", talk: "MTA-STS policy of example.test, mode enforce: mx1.example.test"},
		{name: "MTA-STS, host not named", sts: sts(mtasts.Enforce, "*.other.test", "b.test"), script: wrongName,
			answer: "of the domain example.test", talk: "MTA-STS policy of example.test, mode enforce: *.other.test, b.test"},
		{name: "MTA-STS not to be had", mode: store.TLSVerified, sts: unknown, script: wrongName,
			answer: "; the route demands a valid certificate", talk: "goes on without an MTA-STS policy: MTA-STS policy of example.test: policy host answered 500"},
		{name: "DANE, wrong key", tlsa: wrongKey, script: wrongName,
			answer: "certificate matches no TLSA record; the DANE record of mx1.example.test demands a valid certificate", talk: "TLSA records of mx1.example.test: " + wrongKey},
		{name: "required, broken TLS", mode: store.TLSRequired, script: testmx.Script{Hostname: host, TLS: testmx.BrokenTLS}, answer: "; the route demands TLS"},
		{name: "bogus answer", fault: testdns.Bogus, script: wrongName, answer: "answered SERVFAIL: its DNSSEC signatures are not valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mx := testmx.New(t, c.script)
			dns := testdns.New(t, "example.test. MX 10 mx1.example.test.\nmx1.example.test. A 127.0.0.1\n")
			dns.Secure("example.test")
			if c.tlsa != "" {
				dns.Add("_25._tcp.mx1.example.test. TLSA " + c.tlsa)
			}
			dns.Fail("example.test", c.fault, "MX")
			resolver, err := dane.New(dane.Options{Servers: []string{dns.Addr()}, Trusted: true, Timeout: time.Second, Rounds: 1})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			w.at["127.0.0.1:25"] = mx.Addr()
			o := w.options()
			seen := &sessions{}
			o.DANE, o.STS, o.TLSReports, o.RootCAs = resolver, c.sts, seen, mx.RootCAs()
			q := newQueue()
			_, stop := start(t, q, newDirectory(t, store.Stream{ID: "outbound", Route: store.Route{TLS: c.mode}}), o)
			id := q.submit("outbound", time.Now(), "b@example.test")
			q.until(t, "the first attempt", func() bool { return q.delivery(id).Recipients[0].Last.Text != "" })
			stop()
			d := q.delivery(id)
			if text := d.Recipients[0].Last.Text; !strings.HasSuffix(text, c.answer) || strings.Count(text, "looking up") > 1 {
				t.Errorf("last answer %q, want it to end with %q", text, c.answer)
			}
			if talk := fmt.Sprint(d.Conversation.Lines); !strings.Contains(talk, c.talk) {
				t.Errorf("conversation lacks %q:\n%s", c.talk, talk)
			}
			if infos := strings.Join(seen.infos, "\n"); strings.Contains(infos, "demands") {
				t.Errorf("the report to the domain tells what we demand:\n%s", infos)
			}
		})
	}
}

// TestTLSPolicy_KeptConnection tells each domain of a host what its own policy was worth, whoever opened the connection.
func TestTLSPolicy_KeptConnection(t *testing.T) {
	w, mx := single(t, testmx.Script{Hostname: "mx1.example.test"})
	w.mail("other.test", 10, "mx1.example.test")
	o := w.options()
	o.STS, o.RootCAs = onlyFor{"example.test", sts(mtasts.Enforce, "mx1.example.test")}, mx.RootCAs()
	tr := transport(t, o)
	for i, want := range []store.Security{store.SecuritySTS, store.SecurityVerified, store.SecuritySTS} {
		j := job([]string{"b@example.test", "b@other.test", "b@example.test"}[i])
		j.Route.TLS = []store.TLSMode{"", store.TLSVerified, ""}[i]
		got := tr.Send(context.Background(), j)[0]
		if got.TLS.Security != want || strings.Contains(got.Detail, "MTA-STS") != (want == store.SecuritySTS) {
			t.Errorf("message %d: security %q, %q; want %q", i+1, got.TLS.Security, got.Detail, want)
		}
	}
	if mx.Connections() != 1 {
		t.Errorf("%d connections, want one", mx.Connections())
	}
}

// onlyFor is a PolicySource in which one domain has a policy.
type onlyFor struct {
	domain string
	policies
}

func (p onlyFor) Policy(ctx context.Context, domain string, now time.Time) (mtasts.Policy, bool, error) {
	if domain != p.domain {
		return mtasts.Policy{}, false, nil
	}
	return p.policies.Policy(ctx, domain, now)
}

// TestTLSPolicy_NewKey keeps a connection that was checked against other records from those who go by the new ones.
func TestTLSPolicy_NewKey(t *testing.T) {
	mx := testmx.New(t, testmx.Script{Hostname: "mx1.example.test"})
	dns := testdns.New(t, "example.test. MX 10 mx1.example.test.\nmx1.example.test. A 127.0.0.1\n_25._tcp.mx1.example.test. TLSA "+mx.TLSA())
	dns.Secure("example.test")
	resolver, err := dane.New(dane.Options{Servers: []string{dns.Addr()}, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	w.at["127.0.0.1:25"] = mx.Addr()
	o := w.options()
	o.DANE = resolver
	tr := transport(t, o)
	for i, want := range []string{"delivered 250 dot", "delivered 250 dot", "temporary 0 starttls"} {
		if i == 2 {
			dns.Remove("_25._tcp.mx1.example.test")
			dns.Add("_25._tcp.mx1.example.test. TLSA " + wrongKey)
		}
		if got := tr.Send(context.Background(), job())[0]; fate(got) != want {
			t.Errorf("message %d: %s, want %s", i+1, fate(got), want)
		}
	}
	if mx.Connections() != 2 {
		t.Errorf("%d connections, want one for each set of records", mx.Connections())
	}
}
