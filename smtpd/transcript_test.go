package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testUser   = "user"
	testSecret = "correct horse battery staple"
)

// plainIR is the initial response of the valid pair.
func plainIR(user, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
}

// fakeAuth knows one pair. Other usernames name the error that they get.
type fakeAuth struct {
	revoked atomic.Bool
	boxed   atomic.Bool
	asked   atomic.Int64
	delay   time.Duration
}

func (f *fakeAuth) SMTP(_ context.Context, _ netip.Addr, username, password string) (auth.Principal, error) {
	f.asked.Add(1)
	switch {
	case username == testUser && password == testSecret:
		return auth.Principal{Kind: auth.KindServerToken, Token: 7, Server: 1}, nil
	case username == "unavailable":
		return auth.Principal{}, fmt.Errorf("reading /var/lib/keys: %w", auth.ErrUnavailable)
	case username == "throttled":
		return auth.Principal{}, &auth.ThrottledError{}
	case username == "panic":
		panic("verifier broke")
	}
	return auth.Principal{}, &auth.DeniedError{Delay: f.delay, Close: username == "last"}
}

func (f *fakeAuth) Alive(auth.Principal) bool  { return !f.revoked.Load() }
func (f *fakeAuth) Boxed(from netip.Addr) bool { return f.boxed.Load() }

// submitted is one message that the fake intake has made durable.
type submitted struct {
	envelope intake.Envelope
	body     string
}

// fakeIntake reads content as the real one does and refuses by magic words.
type fakeIntake struct {
	mu       sync.Mutex
	messages []submitted
	calls    int
	err      error // what every Submit ends with, after reading
	early    error // what every Submit ends with, before reading
	discard  bool
	hold     chan struct{} // Submit waits for it after reading
	entered  chan struct{} // told when Submit begins
	readErr  error
}

func (f *fakeIntake) CheckSender(_ auth.Principal, from message.Address) error {
	switch from.Local {
	case "notmine":
		return &intake.Refusal{Kind: intake.KindSender, Reason: "sender is not a verified domain"}
	case "full":
		return fmt.Errorf("draft: %w", store.ErrFull)
	case "closed":
		return store.ErrClosed
	case "odd":
		return errors.New("open /var/lib/mailchute: no such file")
	case "panic":
		panic("intake broke")
	}
	return nil
}

func (f *fakeIntake) CheckRecipient(_ auth.Principal, to message.Address) error {
	switch to.Local {
	case "refused":
		return &intake.Refusal{Kind: intake.KindRecipient, Reason: "recipient cannot be sent to"}
	case "panic":
		panic("intake broke")
	}
	return nil
}

func (f *fakeIntake) Submit(ctx context.Context, e intake.Envelope, content io.Reader) (store.ID, error) {
	f.mu.Lock()
	f.calls++
	early, late, hold, entered := f.early, f.err, f.hold, f.entered
	f.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
	}
	if early != nil {
		return store.ID{}, early
	}
	if f.discard {
		_, err := io.Copy(io.Discard, content)
		return testID, err
	}
	body, err := io.ReadAll(message.NewCanonical(content, message.CanonicalOptions{}))
	if err != nil {
		f.mu.Lock()
		f.readErr = err
		f.mu.Unlock()
		return store.ID{}, fmt.Errorf("reading content: %w", err)
	}
	if kind, reason, ok := magic(string(body)); ok {
		return store.ID{}, &intake.Refusal{Kind: kind, Reason: reason}
	}
	if strings.Contains(string(body), "X-Test: panic") {
		panic("intake broke")
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return store.ID{}, ctx.Err()
		}
	}
	if late != nil {
		return store.ID{}, late
	}
	e.Recipients = slices.Clone(e.Recipients)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, submitted{e, string(body)})
	return testID, nil
}

// magic lets the body of a test message name the rule that refuses it.
func magic(body string) (intake.Kind, string, bool) {
	_, rest, ok := strings.Cut(body, "X-Refuse: ")
	if !ok {
		return 0, "", false
	}
	number, rest, _ := strings.Cut(rest, " ")
	reason, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(number)
	return intake.Kind(n), reason, err == nil
}

func (f *fakeIntake) queued() []submitted {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.messages)
}

func (f *fakeIntake) submissions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

var testID = store.ID{0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x01}

// testTLS is made once: a self-signed certificate for the loopback.
var testTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// rig is a running server with its fakes.
type rig struct {
	receiving bool
	t         testing.TB
	auth      *fakeAuth
	in        *fakeIntake
	server    *Server
	log       *lockedBuffer
	plain     string // address with STARTTLS
	implicit  string // address with TLS from the first byte
	stop      func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// quick are options under which tests need not wait for anything.
func quick() Options {
	return Options{
		Hostname: "mail.test", TLS: testTLS(), GreetDelay: -1, ErrorDelay: -1, Linger: 50 * time.Millisecond,
		NewConnsPerMinute: -1, MaxConnsPerNet: -1, Grace: 5 * time.Second,
	}
}

func newRig(t testing.TB, opts Options, tweak ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, auth: &fakeAuth{}, in: &fakeIntake{}, log: &lockedBuffer{}}
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(r.log, nil))
	}
	for _, f := range tweak {
		f(r)
	}
	s, err := New(r.auth, r.in, opts)
	if r.receiving {
		s, err = NewReceiver(r.in, opts)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.server = s
	ls := []Listener{{Listener: listen(t)}}
	r.plain = ls[0].Addr().String()
	if opts.TLS != nil {
		ls = append(ls, Listener{Listener: listen(t), ImplicitTLS: true})
		r.implicit = ls[1].Addr().String()
	}
	r.run(ls...)
	return r
}

func (r *rig) run(ls ...Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Run(ctx, ls...) }()
	var once sync.Once
	var err error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case err = <-done:
			case <-time.After(20 * time.Second):
				err = errors.New("Run did not return")
			}
		})
		return err
	}
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// peer is the client side of a transcript.
type peer struct {
	t    testing.TB
	conn net.Conn
	br   *bufio.Reader
}

func (r *rig) dial() *peer {
	r.t.Helper()
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return &peer{t: r.t, conn: c, br: bufio.NewReader(c)}
}

func (r *rig) dialTLS() *peer {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.implicit, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return &peer{t: r.t, conn: c, br: bufio.NewReader(c)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Logf("write: %v", err) // the reply that follows decides
	}
}

// reply reads one reply and returns its last line; "CLOSED" at the end.
func (p *peer) reply() string {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		line, err := p.br.ReadString('\n')
		switch {
		case line == "" && (errors.Is(err, io.EOF) || isReset(err)):
			return "CLOSED"
		case err != nil:
			return fmt.Sprintf("ERROR %v after %q", err, line)
		case len(line) < 4 || !strings.HasSuffix(line, "\r\n"):
			return fmt.Sprintf("MALFORMED %q", line)
		case line[3] != '-':
			return strings.TrimSuffix(line, "\r\n")
		}
	}
}

func isReset(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "closed pipe"))
}

func (p *peer) want(pattern string) {
	p.t.Helper()
	got := p.reply()
	prefix, open := strings.CutSuffix(pattern, "…")
	if got != pattern && !(open && strings.HasPrefix(got, prefix)) {
		p.t.Fatalf("got  S: %s\nwant S: %s", got, pattern)
	}
}

func (p *peer) startTLS() {
	p.t.Helper()
	c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		p.t.Fatalf("handshake: %v", err)
	}
	p.conn, p.br = c, bufio.NewReader(c)
}

// play runs a script. Lines are
//
//	C: text    sent with CRLF
//	R: text    sent as it is, with Go escapes such as \r\n
//	S: text    the last line of the next reply; … at the end matches anything
//	S: CLOSED  the server has closed the connection
//	LOGIN      EHLO and AUTH with the valid pair, replies checked
//	MAIL       MAIL and RCPT, replies checked
//	TLS        the client's side of the handshake
//	EOF        the client closes its side
func (p *peer) play(script string) {
	p.t.Helper()
	for line := range strings.Lines(script) {
		p.line(strings.TrimRight(strings.TrimLeft(line, "\t "), "\n"))
	}
}

func (p *peer) line(l string) {
	p.t.Helper()
	switch {
	case l == "" || strings.HasPrefix(l, "#"):
	case strings.HasPrefix(l, "C: "):
		p.send(l[3:] + "\r\n")
	case strings.HasPrefix(l, "R: "):
		raw, err := strconv.Unquote(`"` + l[3:] + `"`)
		if err != nil {
			p.t.Fatalf("script line %q: %v", l, err)
		}
		p.send(raw)
	case strings.HasPrefix(l, "S: "):
		p.want(l[3:])
	case l == "LOGIN":
		p.play("C: EHLO client.test\nS: 250 …\nC: AUTH PLAIN " + plainIR(testUser, testSecret) + "\nS: 235 2.7.0 …")
	case l == "MAIL":
		p.play("C: MAIL FROM:<a@example.org>\nS: 250 2.1.0 …\nC: RCPT TO:<b@example.net>\nS: 250 2.1.5 …")
	case l == "TLS":
		p.startTLS()
	case l == "EOF":
		if err := p.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			p.t.Fatal(err)
		}
	default:
		p.t.Fatalf("script line %q", l)
	}
}

// wantQueued checks the bodies that have become durable, in order.
func (r *rig) wantQueued(bodies ...string) {
	r.t.Helper()
	if err := r.stop(); err != nil { // after it nothing can be on its way any more
		r.t.Fatalf("Run: %v", err)
	}
	var got []string
	for _, m := range r.in.queued() {
		got = append(got, m.body)
	}
	if !slices.Equal(got, bodies) {
		r.t.Fatalf("queued %q, want %q", got, bodies)
	}
}

func readFull(p *peer, b []byte) (int, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return io.ReadFull(p.br, b)
}

func cleartextNowhere() []netip.Prefix { return []netip.Prefix{} }
