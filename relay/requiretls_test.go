package relay_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/relay/mtasts"
	"github.com/mailchute/mailchute/store"
)

func requireTLS(j *relay.Job)  { j.Message.RequireTLS = true }
func tlsOptional(j *relay.Job) { j.Message.TLSOptional = true }

// TestRequireTLS is what a message demands of TLS, what is published and what a host can do, and what comes of it (RFC 8689).
func TestRequireTLS(t *testing.T) {
	const host = "mx1.example.test"
	good := testmx.Script{Hostname: host, RequireTLS: true}
	lacking := testmx.Script{Hostname: host}
	wrongName := testmx.Script{Hostname: host, CertNames: []string{"other.test"}, RequireTLS: true}
	none := testmx.Script{Hostname: host, TLS: testmx.NoTLS}
	broken := testmx.Script{Hostname: host, TLS: testmx.BrokenTLS}
	busy := testmx.Script{Hostname: host, RequireTLS: true, Steps: steps{testmx.StartTLS: {reply("454 4.7.0 not now")}}}
	enforce, trial := sts(mtasts.Enforce, host), sts(mtasts.Testing, host)
	nowhere := policies{err: &mtasts.FetchError{Domain: "example.test", Kind: mtasts.FetchFailed, Err: errors.New("no answer")}}
	invalid := policies{err: &mtasts.FetchError{Domain: "example.test", Kind: mtasts.Invalid, Err: errors.New("no version")}}
	notice := func(j *relay.Job) { j.Message.RequireTLS, j.Message.From = true, "" }
	mode := func(m store.TLSMode, wish func(*relay.Job)) func(*relay.Job) {
		return func(j *relay.Job) { wish(j); j.Route.TLS = m }
	}
	const ok, unsupported, unencrypted = "delivered 250 dot", "permanent 550 mail 5.7.30", "permanent 550 mail 5.7.10"
	for _, c := range []struct {
		name   string
		job    func(*relay.Job)
		zone   string // "" means one MX record
		tlsa   string
		signed bool
		sts    policies
		script testmx.Script
		want   string
		secure store.Security
		params string // of MAIL
	}{
		{name: "signed MX", job: requireTLS, signed: true, script: good, want: ok, secure: store.SecurityVerified, params: "SIZE=72 REQUIRETLS"},
		{name: "DANE", job: requireTLS, signed: true, tlsa: "good", script: wrongName, want: ok, secure: store.SecurityDANE, params: "SIZE=72 REQUIRETLS"},
		{name: "DANE, wrong key", job: requireTLS, signed: true, tlsa: wrongKey, script: good, want: unencrypted},
		{name: "MTA-STS", job: requireTLS, sts: enforce, script: good, want: ok, secure: store.SecuritySTS, params: "SIZE=72 REQUIRETLS"},
		{name: "MTA-STS testing names hosts, too", job: requireTLS, sts: trial, script: good, want: ok, secure: store.SecurityVerified, params: "SIZE=72 REQUIRETLS"},
		{name: "MTA-STS, host not named", job: requireTLS, sts: sts(mtasts.Enforce, "other.test"), script: good, want: unencrypted},
		{name: "MTA-STS testing, host not named", job: requireTLS, sts: sts(mtasts.Testing, "other.test"), script: good, want: unsupported},
		{name: "MTA-STS cannot be asked", job: requireTLS, sts: nowhere, script: good, want: "temporary 0 starttls 4.7.5"},
		{name: "MTA-STS is none that counts", job: requireTLS, sts: invalid, script: good, want: unsupported},
		{name: "nothing vouches for the host", job: requireTLS, script: good, want: unsupported},
		{name: "the host is the domain", job: requireTLS, zone: "example.test. A 127.0.0.1\n", script: testmx.Script{CertNames: []string{"example.test"}, RequireTLS: true},
			want: ok, secure: store.SecurityVerified, params: "SIZE=72 REQUIRETLS"},
		{name: "not offered", job: requireTLS, signed: true, script: lacking, want: unsupported},
		{name: "wrong name", job: requireTLS, signed: true, script: wrongName, want: unencrypted},
		{name: "no TLS", job: requireTLS, signed: true, script: none, want: unencrypted},
		{name: "TLS that is none", job: requireTLS, signed: true, script: broken, want: unencrypted},
		{name: "no TLS for the moment", job: requireTLS, signed: true, script: busy, want: "temporary 454 starttls 4.7.0"},
		{name: "a route without TLS", job: mode(store.TLSNone, requireTLS), signed: true, script: good, want: unencrypted},
		{name: "RET=FULL counts for nothing", job: func(j *relay.Job) { requireTLS(j); j.Message.Ret = "FULL" }, signed: true, script: good, want: ok,
			secure: store.SecurityVerified, params: "SIZE=72 RET=HDRS REQUIRETLS"},

		{name: "notice", job: notice, script: good, want: ok, secure: store.SecurityEncrypted, params: "SIZE=72 REQUIRETLS"},
		{name: "notice, not offered", job: notice, script: lacking, want: ok, secure: store.SecurityEncrypted, params: "SIZE=72"},
		{name: "notice, no TLS", job: notice, script: none, want: "temporary 0 starttls 4.7.5"},
		{name: "notice, policy", job: notice, sts: enforce, script: wrongName, want: "temporary 0 starttls 4.7.5"},

		{name: "optional, no TLS, DANE", job: tlsOptional, signed: true, tlsa: "good", script: none, want: ok, secure: store.SecurityNone, params: "SIZE=72"},
		{name: "optional, wrong key", job: tlsOptional, signed: true, tlsa: wrongKey, script: good, want: ok, secure: store.SecurityEncrypted, params: "SIZE=72"},
		{name: "optional, MTA-STS", job: tlsOptional, sts: enforce, script: wrongName, want: ok, secure: store.SecurityEncrypted, params: "SIZE=72"},
		{name: "optional, MTA-STS without the host", job: tlsOptional, sts: sts(mtasts.Enforce, "other.test"), script: good, want: ok, secure: store.SecurityEncrypted, params: "SIZE=72"},
		{name: "optional, broken TLS", job: tlsOptional, sts: enforce, script: broken, want: ok, secure: store.SecurityNone, params: "SIZE=72"},
		{name: "optional, stream demands", job: mode(store.TLSVerified, tlsOptional), script: none, want: ok, secure: store.SecurityNone, params: "SIZE=72"},
		{name: "optional, stream without TLS", job: mode(store.TLSNone, tlsOptional), script: good, want: ok, secure: store.SecurityNone, params: "SIZE=72"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mx := testmx.New(t, c.script)
			if c.zone == "" {
				c.zone = "example.test. MX 10 mx1.example.test.\nmx1.example.test. A 127.0.0.1\n"
			}
			dns := testdns.New(t, c.zone)
			if c.signed {
				dns.Secure("example.test")
			}
			if c.tlsa != "" {
				dns.Add("_25._tcp.mx1.example.test. TLSA " + strings.Replace(c.tlsa, "good", mx.TLSA(), 1))
			}
			resolver, err := dane.New(dane.Options{Servers: []string{dns.Addr()}, Trusted: true, Timeout: time.Second, Rounds: 1})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			w.at["127.0.0.1:25"] = mx.Addr()
			o := w.options()
			o.DANE, o.STS, o.RootCAs = resolver, c.sts, mx.RootCAs()
			j := job()
			c.job(&j)
			got := transport(t, o).Send(t.Context(), j)[0]
			text := fate(got)
			if got.Verdict() != relay.Delivered {
				text += enhanced(got.Reply.Enhanced)
			}
			if text != c.want || c.secure != "" && got.TLS.Security != c.secure {
				t.Errorf("Send = %s with security %q, want %s with %q\n%+v\n%q", text, got.TLS.Security, c.want, c.secure, got, mx.Transcripts())
			}
			if c.params == "" && (mx.Reached(testmx.Mail) > 0 || len(mx.Messages()) > 0) {
				t.Errorf("the host has got as far as MAIL: %q", mx.Transcripts())
			}
			if m := mx.Messages(); c.params != "" && (len(m) != 1 || m[0].Params != c.params) {
				t.Errorf("messages %+v, want one with MAIL parameters %s", m, c.params)
			}
		})
	}
}

func enhanced(e [3]int) string { return fmt.Sprintf(" %d.%d.%d", e[0], e[1], e[2]) }

// TestRequireTLS_NextHost looks through the hosts of a domain for one that makes the promise.
func TestRequireTLS_NextHost(t *testing.T) {
	ca := testmx.NewCA(t)
	w := newWorld()
	var hosts []*testmx.Server
	for i, s := range []testmx.Script{{TLS: testmx.NoTLS}, {}, {CertNames: []string{"x.test"}, RequireTLS: true}, {RequireTLS: true}} {
		s.Hostname, s.CA = fmt.Sprintf("mx%d.test", i), ca
		mx := testmx.New(t, s)
		hosts = append(hosts, mx)
		w.mail("example.test", uint16(i), s.Hostname)
		w.host(s.Hostname, i+1, mx)
	}
	o := w.options()
	o.STS, o.RootCAs = sts(mtasts.Enforce, "*.test"), ca.Pool()
	tr := transport(t, o)
	j := job()
	requireTLS(&j)
	if got := tr.Send(t.Context(), j)[0]; got.Verdict() != relay.Delivered || len(hosts[3].Messages()) != 1 {
		t.Errorf("Send = %s, want it at the last host", fate(got))
	}
	if got := tr.Send(t.Context(), job())[0]; got.Verdict() != relay.Delivered || len(hosts[1].Messages()) != 1 || hosts[1].Connections() != 1 {
		t.Errorf("Send = %s, want the message without a demand on the connection that the other left", fate(got))
	}
}

// TestRequireTLS_DownIsNotUnwilling: a host that cannot be reached may make the promise when it can.
func TestRequireTLS_DownIsNotUnwilling(t *testing.T) {
	ca := testmx.NewCA(t)
	w := newWorld()
	w.mail("example.test", 1, "mx1.test")
	w.mail("example.test", 2, "mx2.test")
	w.host("mx1.test", 1, nil)
	w.host("mx2.test", 2, testmx.New(t, testmx.Script{Hostname: "mx2.test", CA: ca}))
	o := w.options()
	o.STS, o.RootCAs = sts(mtasts.Enforce, "*.test"), ca.Pool()
	j := job()
	requireTLS(&j)
	if got := transport(t, o).Send(t.Context(), j)[0]; got.Verdict() != relay.Temporary {
		t.Errorf("Send = %s, want temporary", fate(got))
	}
}

// TestRequireTLS_Smarthost: its name is the operator's, its TLS is raised, and another route is tried where it makes no
// promise.
func TestRequireTLS_Smarthost(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   store.TLSMode
		script testmx.Script
		want   string
	}{
		{"verified", store.TLSStartTLS, testmx.Script{RequireTLS: true}, "delivered 250 dot"},
		{"raised", store.TLSOpportunistic, testmx.Script{RequireTLS: true}, "delivered 250 dot"},
		{"raised, wrong name", store.TLSOpportunistic, testmx.Script{CertNames: []string{"x.test"}, RequireTLS: true}, "permanent 550 mail"},
		{"no TLS", store.TLSNone, testmx.Script{RequireTLS: true}, "permanent 550 mail"},
		{"no promise", store.TLSStartTLS, testmx.Script{}, "permanent 550 mail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := testmx.NewCA(t)
			c.script.CA = ca
			first, second := testmx.New(t, c.script), testmx.New(t, testmx.Script{CA: ca, RequireTLS: true})
			o := routesOptions()
			o.RootCAs = ca.Pool()
			tr := transport(t, o)
			j := job()
			requireTLS(&j)
			j.Route = store.Route{Host: "127.0.0.1", Port: first.Port(), TLS: c.mode}
			if got := tr.Send(t.Context(), j)[0]; fate(got) != c.want {
				t.Errorf("%s, want %s: %q", fate(got), c.want, first.Transcripts())
			}
			for _, m := range first.Messages() {
				if !m.TLS || !strings.HasSuffix(m.Params, "REQUIRETLS") {
					t.Errorf("%+v", m)
				}
			}
			if len(first.Messages()) > 0 {
				return
			}
			j.Alternates = []store.Route{{Host: "127.0.0.1", Port: second.Port(), TLS: store.TLSStartTLS}}
			if got := tr.Send(t.Context(), j)[0]; got.Verdict() != relay.Delivered || len(second.Messages()) != 1 {
				t.Errorf("with another route: %s", fate(got))
			}
		})
	}
}

// TestRequireTLS_Notice is the notice about a message that demanded TLS: without content, with the same demand.
func TestRequireTLS_Notice(t *testing.T) {
	w, _ := single(t, testmx.Script{TLS: testmx.NoTLS})
	sender := testmx.New(t, testmx.Script{RequireTLS: true})
	w.host("sender.test", 2, sender)
	q := newQueue()
	start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), w.options())
	original(q, func(m *store.Message, d *store.Delivery) {
		m.RequireTLS, m.Ret = true, "FULL"
		d.Recipients = d.Recipients[:1]
	})
	n := sender.Wait(1)[0]
	if n.From != "" || !n.TLS || !strings.HasSuffix(n.Params, " REQUIRETLS") {
		t.Errorf("notice from %q, TLS %v, %s", n.From, n.TLS, n.Params)
	}
	if !bytes.Contains(n.Body, []byte("Status: 5.7.30")) || bytes.Contains(n.Body, []byte("Hello")) || !bytes.Contains(n.Body, []byte("Subject: x")) {
		t.Errorf("notice:\n%s", n.Body)
	}
}
