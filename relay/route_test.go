package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestMX_Routes is what DNS says and where mail goes then.
func TestMX_Routes(t *testing.T) {
	timeout := errors.New("i/o timeout")
	for _, c := range []struct {
		name  string
		build func(w *world, mx *testmx.Server)
		tune  func(*relay.Options)
		to    string
		want  string // fate and text
		dials string
	}{
		{name: "lowest preference first", want: "delivered 250 dot", dials: "127.0.0.1:25", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 20, "b.test")
			w.mail("example.test", 10, "a.test")
			w.host("a.test", 1, mx)
			w.host("b.test", 2, mx)
		}},
		{name: "refused connection goes to the next", want: "delivered 250 dot", dials: "127.0.0.1:25 127.0.0.2:25", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.mail("example.test", 20, "b.test")
			w.host("a.test", 1, nil)
			w.host("b.test", 2, mx)
		}},
		{name: "host without address goes to the next", want: "delivered 250 dot", dials: "127.0.0.2:25", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.mail("example.test", 20, "b.test")
			w.host("b.test", 2, mx)
		}},
		{name: "lookup that fails for one host goes to the next", want: "delivered 250 dot", dials: "127.0.0.2:25", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.mail("example.test", 20, "b.test")
			w.fail["ip a.test"] = timeout
			w.host("b.test", 2, mx)
		}},
		{name: "several addresses of one host", want: "delivered 250 dot", dials: "127.0.0.1:25 127.0.0.2:25 127.0.0.3:25", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.host("a.test", 1, nil)
			w.host("a.test", 2, nil)
			w.host("a.test", 3, mx)
		}},
		{name: "IPv6 and IPv4 alternate", want: "temporary 0 connect refused", dials: "[2001:db8::1]:25 127.0.0.1:25 [2001:db8::2]:25", build: func(w *world, _ *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.hosts["a.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
		}},
		{name: "no more than five addresses", want: "temporary 0 connect refused", dials: "127.0.0.1:25 127.0.0.2:25 127.0.0.3:25 127.0.0.4:25 127.0.0.5:25", build: func(w *world, _ *testmx.Server) {
			for i := range 9 {
				w.mail("example.test", uint16(i), fmt.Sprintf("h%d.test", i))
				w.host(fmt.Sprintf("h%d.test", i), i+1, nil)
			}
		}},
		{name: "MX with a name that is none", want: "temporary 0 dns no mail host left", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a\x1b[31m.test")
			w.host("a\x1b[31m.test", 1, mx)
		}},
		{name: "no MX means the domain itself", want: "delivered 250 dot", dials: "127.0.0.1:25", build: func(w *world, mx *testmx.Server) { w.host("example.test", 1, mx) }},
		{name: "MX forbids the domain itself", want: "temporary 0 dns has no address", build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.host("example.test", 1, mx)
		}},
		{name: "null MX", want: "permanent 556 dns does not accept mail", build: func(w *world, mx *testmx.Server) {
			w.mx["example.test"] = []relay.MX{{Host: "."}}
			w.host("example.test", 1, mx)
		}},
		{name: "NXDOMAIN", want: "permanent 550 dns does not exist", build: func(w *world, _ *testmx.Server) { w.fail["mx example.test"] = fmt.Errorf("x: %w", relay.ErrNoDomain) }},
		{name: "neither MX nor address", want: "permanent 550 dns neither mail host nor address", build: func(*world, *testmx.Server) {}},
		{name: "MX lookup fails", want: "temporary 0 dns i/o timeout", build: func(w *world, mx *testmx.Server) {
			w.fail["mx example.test"] = timeout
			w.host("example.test", 1, mx)
		}},
		{name: "address lookup fails", want: "temporary 0 dns i/o timeout", build: func(w *world, _ *testmx.Server) { w.fail["ip example.test"] = timeout }},
		{name: "private address", want: "permanent 550 dns not a public one", tune: func(o *relay.Options) { o.AllowPrivate = false }, build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.host("a.test", 1, mx)
		}},
		{name: "private address behind a host that is down", want: "temporary 0 connect refused", dials: "192.0.2.1:25", tune: func(o *relay.Options) { o.AllowPrivate = false }, build: func(w *world, mx *testmx.Server) {
			w.mail("example.test", 10, "a.test")
			w.mail("example.test", 20, "b.test")
			w.hosts["a.test"] = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			w.host("b.test", 2, mx)
		}},
		{name: "address literal", to: "b@[127.0.0.9]", want: "delivered 250 dot", dials: "127.0.0.9:25", build: func(w *world, mx *testmx.Server) { w.at["127.0.0.9:25"] = mx.Addr() }},
		{name: "private address literal", to: "b@[127.0.0.9]", want: "permanent 550 dns not a public one", tune: func(o *relay.Options) { o.AllowPrivate = false }, build: func(*world, *testmx.Server) {}},
		{name: "internationalised domain", to: "b@bücher.test", want: "delivered 250 dot", dials: "127.0.0.1:25", build: func(w *world, mx *testmx.Server) { w.host("xn--bcher-kva.test", 1, mx) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, mx := newWorld(), testmx.New(t, testmx.Script{})
			c.build(w, mx)
			o := w.options()
			if c.tune != nil {
				c.tune(&o)
			}
			if c.to == "" {
				c.to = "b@example.test"
			}
			got := transport(t, o).Send(context.Background(), job(c.to))[0]
			fateWant, text := c.want, ""
			if words := strings.SplitN(c.want, " ", 4); len(words) == 4 {
				fateWant, text = strings.Join(words[:3], " "), words[3]
			}
			if fate(got) != fateWant || !strings.Contains(got.Reply.Text, text) {
				t.Errorf("Send = %s %q, want %s", fate(got), got.Reply.Text, c.want)
			}
			if d := strings.Join(w.dialled(), " "); d != c.dials {
				t.Errorf("dialled %q, want %q", d, c.dials)
			}
		})
	}
}

// TestMX_NextHost is when the second host of a domain is tried, and when not.
func TestMX_NextHost(t *testing.T) {
	stall := testmx.Step{Stall: true}
	for _, c := range []struct {
		name   string
		first  testmx.Script
		want   string
		second int // messages at the second host
	}{
		{"banner 554", at(testmx.Connect, reply("554 no")), "delivered 250 dot", 1},
		{"banner 421", at(testmx.Connect, reply("421 busy")), "delivered 250 dot", 1},
		{"EHLO stalls", at(testmx.Hello, stall), "delivered 250 dot", 1},
		{"MAIL drops", at(testmx.Mail, testmx.Step{Drop: true}), "delivered 250 dot", 1},
		{"MAIL 421", at(testmx.Mail, reply("421 busy")), "delivered 250 dot", 1},
		{"RCPT stalls", at(testmx.Rcpt, stall), "delivered 250 dot", 1},
		{"DATA stalls", at(testmx.Data, stall), "delivered 250 dot", 1},
		{"RCPT 450 is an answer", at(testmx.Rcpt, reply("450 greylisted")), "temporary 450 rcpt", 0},
		{"RCPT 550 is an answer", at(testmx.Rcpt, reply("550 unknown")), "permanent 550 rcpt", 0},
		{"dot 451 is an answer", at(testmx.Dot, reply("451 later")), "temporary 451 dot", 0},
		{"dot 421 is an answer", at(testmx.Dot, reply("421 later")), "temporary 421 dot", 0},
		{"lost answer to the dot", at(testmx.Dot, testmx.Step{Drop: true, Take: true}), "uncertain 0 dot", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first, second := testmx.New(t, c.first), testmx.New(t, testmx.Script{})
			w := newWorld()
			w.mail("example.test", 10, "a.test")
			w.mail("example.test", 20, "b.test")
			w.host("a.test", 1, first)
			w.host("b.test", 2, second)
			o := w.options()
			o.Timeouts.Hello, o.Timeouts.Rcpt, o.Timeouts.Data = time.Second, time.Second, time.Second
			got := transport(t, o).Send(context.Background(), job())[0]
			if fate(got) != c.want || len(second.Messages()) != c.second {
				t.Errorf("Send = %s with %d messages at the second host, want %s and %d", fate(got), len(second.Messages()), c.want, c.second)
			}
		})
	}
}

func TestMX_TwoSessionsAreEnough(t *testing.T) {
	w := newWorld()
	for i := range 4 {
		mx := testmx.New(t, at(testmx.Mail, testmx.Step{Drop: true, Always: true}))
		w.mail("example.test", uint16(i), fmt.Sprintf("h%d.test", i))
		w.host(fmt.Sprintf("h%d.test", i), i+1, mx)
	}
	transport(t, w.options()).Send(context.Background(), job())
	if n := len(w.dialled()); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

func TestMX_EqualPreferencesTakeTurns(t *testing.T) {
	first := map[string]int{}
	for i := range 40 {
		w := newWorld()
		w.mail("example.test", 10, "a.test")
		w.mail("example.test", 10, "b.test")
		w.host("a.test", 1, nil)
		w.host("b.test", 2, nil)
		o := w.options()
		o.Rand = func() float64 { return float64(i) / 40 }
		transport(t, o).Send(context.Background(), job())
		first[w.dialled()[0]]++
	}
	if first["127.0.0.1:25"] != 20 || first["127.0.0.2:25"] != 20 {
		t.Errorf("first host by random number: %v, want half and half", first)
	}
}

// TestSend_SeveralDomains is a delivery that was meant for a smarthost, in a stream that uses MX now.
func TestSend_SeveralDomains(t *testing.T) {
	w := newWorld()
	one, two := testmx.New(t, testmx.Script{}), testmx.New(t, testmx.Script{})
	w.host("one.test", 1, one)
	w.host("two.test", 2, two)
	got := transport(t, w.options()).Send(context.Background(), job("a@one.test", "b@two.test", "c@ONE.test", "d@gone.test"))
	if f := fates(got); f != "delivered 250 dot, delivered 250 dot, delivered 250 dot, permanent 550 dns" {
		t.Errorf("Send = %s", f)
	}
	if m := one.Messages(); len(m) != 1 || len(m[0].To) != 2 {
		t.Errorf("one.test got %+v, want one message for two", m)
	}
	if m := two.Messages(); len(m) != 1 || len(m[0].To) != 1 {
		t.Errorf("two.test got %+v, want one message for one", m)
	}
}

func TestSend_HundredRecipientsATransaction(t *testing.T) {
	w, mx := single(t, testmx.Script{})
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("u%d@example.test", i))
	}
	for i, r := range transport(t, w.options()).Send(context.Background(), job(to...)) {
		if r.Verdict() != relay.Delivered {
			t.Fatalf("recipient %d: %s", i, fate(r))
		}
	}
	m := mx.Messages()
	if len(m) != 3 || len(m[0].To) != 100 || len(m[1].To) != 100 || len(m[2].To) != 50 || mx.Connections() != 1 {
		t.Errorf("%d messages on %d connections, want 100, 100 and 50 recipients on one", len(m), mx.Connections())
	}
}

// smarthost returns options and a route to a scripted smarthost that knows one user.
func smarthost(t *testing.T, script testmx.Script, mode store.TLSMode) (relay.Options, store.Route, *testmx.Server) {
	t.Helper()
	script.Users = map[string]string{"chute": secret}
	mx := testmx.New(t, script)
	o := newWorld().options()
	o.Dial = nil
	o.AllowPrivate = false // a smarthost is the operator's choice, so this does not concern it
	o.RootCAs = mx.RootCAs()
	o.ReadPassword = func(path string) (string, error) {
		if path != "/run/password" {
			return "", errors.New("wrong file")
		}
		return secret, nil
	}
	return o, store.Route{Host: "127.0.0.1", Port: mx.Port(), TLS: mode, Username: "chute", PasswordFile: "/run/password"}, mx
}

const secret = "canary-Pa55"

func TestSmarthost(t *testing.T) {
	unreadable := func(o *relay.Options) {
		o.ReadPassword = func(string) (string, error) { return "", errors.New("permission denied") }
	}
	missing := func(o *relay.Options) {
		o.ReadPassword = func(string) (string, error) {
			return "", &fs.PathError{Op: "open", Path: "/run/password", Err: fs.ErrNotExist}
		}
	}
	for _, c := range []struct {
		name   string
		script testmx.Script
		mode   store.TLSMode
		tune   func(*relay.Options)
		want   string
		login  string // mechanism, and whether it was under TLS
		text   string
	}{
		{name: "STARTTLS by default", want: "delivered 250 dot", login: "PLAIN true true"},
		{name: "STARTTLS", mode: store.TLSStartTLS, want: "delivered 250 dot", login: "PLAIN true true"},
		{name: "implicit TLS", mode: store.TLSImplicit, script: testmx.Script{TLS: testmx.ImplicitTLS}, want: "delivered 250 dot", login: "PLAIN true true"},
		{name: "no TLS, as the route says", mode: store.TLSNone, script: testmx.Script{TLS: testmx.NoTLS}, want: "delivered 250 dot", login: "PLAIN true false"},
		{name: "LOGIN only", script: testmx.Script{Mechanisms: []string{"LOGIN"}}, want: "delivered 250 dot", login: "LOGIN true true"},
		{name: "no mechanism of ours", script: testmx.Script{Mechanisms: []string{"CRAM-MD5"}}, want: "temporary 0 auth", text: "neither AUTH PLAIN nor LOGIN"},
		{name: "STARTTLS not offered", script: testmx.Script{TLS: testmx.NoTLS}, want: "temporary 0 starttls", text: "does not offer STARTTLS"},
		{name: "wrong name in the certificate", script: testmx.Script{CertNames: []string{"other.test"}}, want: "temporary 0 starttls", text: "certificate"},
		{name: "unknown authority", tune: func(o *relay.Options) { o.RootCAs = testmx.NewCA(t).Pool() }, want: "temporary 0 starttls", text: "certificate"},
		{name: "implicit TLS to a plain port", mode: store.TLSImplicit, want: "temporary 0 starttls"},
		{name: "opportunistic TLS gets no password", mode: store.TLSOpportunistic, want: "temporary 0 auth", text: "not sent over unverified TLS"},
		{name: "password refused", script: at(testmx.Auth, reply("535 5.7.8 bad")), want: "temporary 535 auth", login: "PLAIN true true", text: "bad"},
		{name: "password echoed", script: at(testmx.Auth, reply("535 5.7.8 bad password "+secret)), want: "temporary 535 auth", login: "PLAIN true true", text: "bad password ***"},
		{name: "password echoed as garbage", script: at(testmx.Auth, testmx.Step{Raw: secret + "\r\n"}), want: "temporary 0 auth", login: "PLAIN true true", text: "not one of SMTP"},
		{name: "password file unreadable", tune: unreadable, want: "temporary 0 auth", text: "permission denied"},
		{name: "password file missing", tune: missing, want: "temporary 0 auth", text: "reading the password file for 127.0.0.1: file does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, route, mx := smarthost(t, c.script, c.mode)
			if c.tune != nil {
				c.tune(&o)
			}
			j := job("b@one.test", "c@two.test")
			j.Route = route
			got := transport(t, o).Send(context.Background(), j)
			if fates(got) != c.want+", "+c.want || !strings.Contains(got[0].Reply.Text, c.text) {
				t.Errorf("Send = %s %q, want %s %q", fates(got), got[0].Reply.Text, c.want, c.text)
			}
			if strings.Contains(fmt.Sprintf("%+v", got), secret) {
				t.Errorf("the password is in the result: %+v", got)
			}
			var login string
			for _, a := range mx.Credentials() {
				login = fmt.Sprint(a.Mechanism, " ", a.OK, " ", a.TLS)
			}
			if login != c.login {
				t.Errorf("login = %q, want %q", login, c.login)
			}
			if c.mode == store.TLSImplicit && c.script.TLS != testmx.ImplicitTLS {
				mx.WaitClosed()
				mx.Forgive() // TLS on a plain port is no command, and that was the point
			}
		})
	}
}

// TestSend_CancelBeforeTheDot cancels in every phase; the host must not get the message, and the result must not blame it.
func TestSend_CancelBeforeTheDot(t *testing.T) {
	for _, p := range []testmx.Phase{testmx.Connect, testmx.Hello, testmx.StartTLS, testmx.Mail, testmx.Rcpt, testmx.Data} {
		t.Run(string(p), func(t *testing.T) {
			w, mx := single(t, at(p, testmx.Step{Stall: true, Always: true}))
			ctx, cancel := context.WithCancel(context.Background())
			go func() { mx.WaitStalled(p, 1); cancel() }()
			got := transport(t, w.options()).Send(ctx, job())[0]
			if got.Verdict() != relay.Interrupted {
				t.Errorf("Send = %s, want interrupted", fate(got))
			}
		})
	}
}

func TestSend_CancelDuringTheBody(t *testing.T) {
	w, mx := single(t, at(testmx.Body, testmx.Step{Stall: true}))
	ctx, cancel := context.WithCancel(context.Background())
	j := job()
	content(strings.Repeat("0123456789abcdef\r\n", 1_000_000))(&j)
	go func() { mx.WaitStalled(testmx.Body, 1); cancel() }()
	got := transport(t, w.options()).Send(ctx, j)[0]
	mx.Release()
	mx.WaitClosed()
	if got.Verdict() != relay.Interrupted || len(mx.Messages()) != 0 {
		t.Errorf("Send = %s, want interrupted and nothing taken", fate(got))
	}
}

func TestSend_CancelAfterTheDotWaits(t *testing.T) {
	w, mx := single(t, at(testmx.Dot, testmx.Step{Stall: true}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { mx.WaitStalled(testmx.Dot, 1); cancel(); mx.Release() }()
	if got := transport(t, w.options()).Send(ctx, job())[0]; got.Verdict() != relay.Delivered {
		t.Errorf("Send = %s, want delivered: the final dot was out", fate(got))
	}
}

func TestSend_AttemptThatTakesTooLongIsTemporary(t *testing.T) {
	w, _ := single(t, at(testmx.Rcpt, testmx.Step{Stall: true}))
	ctx, cancel := context.WithTimeout(context.Background(), quick)
	defer cancel()
	if got := transport(t, w.options()).Send(ctx, job())[0]; got.Verdict() != relay.Temporary {
		t.Errorf("Send = %s, want temporary", fate(got))
	}
}

// TestSend_BadBodyGetsNoDot is content that must never be taken for a whole message.
func TestSend_BadBodyGetsNoDot(t *testing.T) {
	for name, c := range map[string]struct {
		open func(context.Context) (io.ReadCloser, error)
		size int
		want relay.Verdict
	}{
		"damaged at its end": {func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(body), failing{})), nil
		}, len(body), relay.Damaged},
		"damaged when opened":  {func(context.Context) (io.ReadCloser, error) { return nil, store.ErrDamaged }, len(body), relay.Damaged},
		"gone":                 {func(context.Context) (io.ReadCloser, error) { return nil, store.ErrNotFound }, len(body), relay.Temporary},
		"too short":            {open(body), len(body) + 1, relay.Damaged},
		"bare LF":              {open("a: b\n\r\n"), 6, relay.Damaged},
		"without its line end": {open("a: b\r\n\r\nx"), 9, relay.Damaged},
	} {
		t.Run(name, func(t *testing.T) {
			w, mx := single(t, testmx.Script{})
			j := job()
			j.Open, j.Message.Size = c.open, int64(c.size)
			got := transport(t, w.options()).Send(context.Background(), j)[0]
			if got.Verdict() != c.want {
				t.Errorf("Send = %s (%v), want %v", fate(got), got.Err, c.want)
			}
			if c.want == relay.Damaged && name != "damaged when opened" {
				mx.WaitClosed()
			}
			if n := len(mx.Messages()); n != 0 {
				t.Errorf("host took %d messages, want none", n)
			}
		})
	}
}
