package smtpd

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mailchute/mailchute/auth"
)

// proxyRig listens for proxies on the loopback, in clear and with TLS.
func proxyRig(t *testing.T, trusted string, tweak func(*Options)) *rig {
	opts := quick()
	opts.CleartextAuth = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	tweak(&opts)
	r := &rig{t: t, auth: &fakeAuth{}, in: &fakeIntake{}, log: &lockedBuffer{}}
	s, err := New(r.auth, r.in, opts)
	if err != nil {
		t.Fatal(err)
	}
	r.server = s
	from := []netip.Prefix{netip.MustParsePrefix(trusted)}
	ls := []Listener{{Listener: listen(t), ProxyFrom: from}, {Listener: listen(t), ProxyFrom: from, ImplicitTLS: true}}
	r.plain, r.implicit = ls[0].Addr().String(), ls[1].Addr().String()
	r.run(ls...)
	return r
}

func header(t *testing.T, version byte, from string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.ParseIP(from), Port: 1234}, &net.TCPAddr{IP: net.ParseIP("198.51.100.1"), Port: 587})
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestProxy: the header decides who the client is, and only trusted proxies may
// send one.
func TestProxy(t *testing.T) {
	for version, name := range map[byte]string{1: "v1", 2: "v2"} {
		t.Run(name, func(t *testing.T) {
			r := proxyRig(t, "127.0.0.0/8", func(o *Options) { o.MaxConnsPerNet = 1 })
			p := r.dial()
			p.send(header(t, version, "192.0.2.7"))
			p.play("S: 220 …\nLOGIN\nMAIL\n" + data + okMail)
			if got := r.in.queued()[0].envelope.Client; got != netip.MustParseAddr("192.0.2.7") {
				t.Errorf("client %v", got)
			}
			same := r.dial()
			same.send(header(t, version, "192.0.2.7"))
			same.play("S: 421 4.7.0 …\nS: CLOSED")
			other := r.dial()
			other.send(header(t, version, "203.0.113.9")) // may not authenticate in clear
			other.play("S: 220 …\nC: EHLO x\nS: 250 …\nC: AUTH PLAIN\nS: 538 …\nC: QUIT\nS: 221 …\nS: CLOSED")
		})
	}
	t.Run("TLS", func(t *testing.T) {
		r := proxyRig(t, "127.0.0.0/8", func(*Options) {})
		c, err := net.Dial("tcp", r.implicit)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(header(t, 2, "192.0.2.7"))); err != nil {
			t.Fatal(err)
		}
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		(&peer{t: t, conn: tc, br: bufio.NewReader(tc)}).play("S: 220 …\nLOGIN\nC: QUIT\nS: 221 …\nS: CLOSED")
	})
	t.Run("untrusted", func(t *testing.T) {
		r := proxyRig(t, "10.0.0.0/8", func(*Options) {})
		p := r.dial()
		p.send(header(t, 1, "192.0.2.7"))
		p.play("S: 421 4.7.0 …\nS: CLOSED")
	})
	t.Run("no header", func(t *testing.T) {
		r := proxyRig(t, "127.0.0.0/8", func(o *Options) { o.Handshake = 200 * time.Millisecond })
		r.dial().play("C: EHLO client.example.org\nS: CLOSED")
		r.dial().play("S: CLOSED") // silence: the header has a time limit
	})
	t.Run("not asked for", func(t *testing.T) {
		p := newRig(t, quick()).dial()
		p.play("S: 220 …")
		p.send(header(t, 1, "192.0.2.7"))
		p.play("S: 500 5.5.2 …\n" + alive)
	})
}

// exhausted is a listener in a process without file descriptors.
type exhausted struct {
	net.Listener
	failures atomic.Int64
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return e.Listener.Accept()
}

// TestNoDescriptors: one client is answered with the spare descriptor, and the
// server goes on.
func TestNoDescriptors(t *testing.T) {
	r := &rig{t: t, auth: &fakeAuth{}, in: &fakeIntake{}, log: &lockedBuffer{}}
	s, err := New(r.auth, r.in, quick())
	if err != nil {
		t.Fatal(err)
	}
	r.server = s
	l := &exhausted{Listener: listen(t)}
	l.failures.Store(1)
	r.plain = l.Addr().String()
	r.run(Listener{Listener: l})
	r.dial().play("S: 421 4.3.2 …\nS: CLOSED")
	r.dial().play("S: 220 …")
}

// TestGate: places are given back, and networks without a trace forgotten.
func TestGate(t *testing.T) {
	now := time.Now()
	g := newGate(Options{MaxConns: 2, MaxConnsPerNet: 1, NewConnsPerMinute: 3})
	a, b := auth.NetworkOf(netip.MustParseAddr("192.0.2.1")), auth.NetworkOf(netip.MustParseAddr("2001:db8::1"))
	if auth.NetworkOf(netip.MustParseAddr("2001:db8::ffff")) != b || auth.NetworkOf(netip.MustParseAddr("192.0.2.2")) == a {
		t.Error("a network is one IPv4 address or one IPv6 /64")
	}
	steps := []struct {
		got, want bool
		what      string
	}{
		{g.enter(), true, "first"}, {g.enter(), true, "second"}, {g.enter(), false, "third"},
		{g.admit(a, now), true, "a"}, {g.admit(a, now), false, "a again"}, {g.admit(b, now), true, "b"},
	}
	for _, s := range steps {
		if s.got != s.want {
			t.Errorf("%s: %v", s.what, s.got)
		}
	}
	g.leave()
	g.dismiss(a)
	if !g.enter() || !g.admit(a, now) {
		t.Error("a place that was given back is not there")
	}
	g.dismiss(a)
	if g.admit(a, now) {
		t.Error("the fourth new connection in a minute")
	}
	g.sweep(now.Add(3 * time.Minute))
	if len(g.networks) != 1 {
		t.Errorf("%d networks remembered, want the one that is connected", len(g.networks))
	}
}

// TestOptions: nonsense is refused before anything starts.
func TestOptions(t *testing.T) {
	bad := map[string]func(*Options){
		"hostname":       func(o *Options) { o.Hostname = "" },
		"hostname text":  func(o *Options) { o.Hostname = "a\r\nb" },
		"message size":   func(o *Options) { o.MaxMessageBytes = -1 },
		"line":           func(o *Options) { o.MaxLine = 100 },
		"idle":           func(o *Options) { o.Idle = -1 },
		"rate":           func(o *Options) { o.RateWindow = -1 },
		"line too large": func(o *Options) { o.MaxLine = 1 << 20 },
	}
	for name, f := range bad {
		o := quick()
		f(&o)
		if _, err := New(&fakeAuth{}, &fakeIntake{}, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	o := quick()
	o.TLS = nil
	s, err := New(&fakeAuth{}, &fakeIntake{}, o)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	if err := s.Run(t.Context(), Listener{Listener: l, ImplicitTLS: true}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("implicit TLS without certificate: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener stays open: %v", err)
	}
}
