package smtpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// scriptConn is a client that sends its pieces, one a read, and hangs up.
type scriptConn struct {
	mu     sync.Mutex
	pieces [][]byte
	out    bytes.Buffer
	done   chan struct{}
	once   sync.Once
}

func (c *scriptConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *scriptConn) Close() error                     { c.once.Do(func() { close(c.done) }); return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *scriptConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// strictIntake breaks the test for a submission that must not be.
type strictIntake struct{ t *testing.T }

func (strictIntake) CheckSender(auth.Principal, message.Address) error    { return nil }
func (strictIntake) CheckRecipient(auth.Principal, message.Address) error { return nil }

func (s strictIntake) Submit(_ context.Context, e intake.Envelope, content io.Reader) (store.ID, error) {
	if e.Principal.Token == 0 || len(e.Recipients) == 0 || e.Hello == "" {
		s.t.Errorf("submission without %+v", e)
	}
	_, err := io.Copy(io.Discard, content)
	return testID, err
}

// FuzzSession sends octets at once and in pieces. The replies must be the same
// and well-formed, nothing may panic or hang, and nothing may be submitted
// without a login.
func FuzzSession(f *testing.F) {
	login := "EHLO x\r\nAUTH PLAIN " + plainIR(testUser, testSecret) + "\r\n"
	mail := "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"
	for _, s := range []string{
		login + mail + "DATA\r\nx\r\n..\r\n.\r\nQUIT\r\n",
		login + mail + "BDAT 3\r\nabcBDAT 0 LAST\r\nNOOP\r\n",
		login + mail + "BDAT 3\r\nabcRSET\r\nBDAT 6 LAST\r\nNOOP\r\nVRFY\r\n",
		login + mail + "BDAT 3\r\nabcMAIL FROM:<>\r\nBDAT x\r\n",
		login + mail + "DATA\r\n\n.\n\r\r\n.\r\nRSET\r\n",
		mail + "DATA\r\nx\r\n.\r\n",
		"EHLO x\r\nAUTH LOGIN\r\ndXNlcg==\r\n*\r\nAUTH PLAIN\r\n=\r\nSTARTTLS\r\n",
		"HELO x\nNOOP\nNOOP\n", "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("x", 9000),
	} {
		f.Add([]byte(s), uint16(7))
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint16) {
		whole, pieces := sessions(t, input, cut)
		if whole != pieces {
			t.Errorf("at once   %q\nin pieces %q", whole, pieces)
		}
		for line := range strings.Lines(whole) {
			if len(line) > 512 || !strings.HasSuffix(line, "\r\n") || strings.Contains(line, "4.3.0 internal") {
				t.Errorf("reply %q", line)
			}
		}
	})
}

// sessions runs both ways to send the input against one server.
func sessions(t *testing.T, input []byte, cut uint16) (whole, pieces string) {
	opts := quick()
	opts.TLS = nil // octets behind STARTTLS are told apart by when they come
	s, err := New(&fakeAuth{}, strictIntake{t}, opts)
	if err != nil {
		t.Fatal(err)
	}
	l := newMemListener()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, Listener{Listener: l}) }()
	whole = session1(t, l, [][]byte{input})
	pieces = session1(t, l, split(input, cut))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return whole, pieces
}

func session1(t *testing.T, l *memListener, pieces [][]byte) string {
	c := &scriptConn{done: make(chan struct{})}
	for _, p := range pieces {
		if len(p) > 0 {
			c.pieces = append(c.pieces, bytes.Clone(p))
		}
	}
	l.conns <- c
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		t.Fatal("session hangs")
	}
	return c.out.String()
}

// split cuts b at places that depend on cut alone.
func split(b []byte, cut uint16) (pieces [][]byte) {
	x := uint32(cut)*2 + 1
	for len(b) > 0 {
		x = x*1664525 + 1013904223
		n := min(len(b), 1+int(x>>16)%(1+int(cut)%64))
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return pieces
}

// FuzzParams holds the argument parsers to what they promise the next hop.
func FuzzParams(f *testing.F) {
	for _, s := range []string{`FROM:<a@example.org> SIZE=1 ENVID=a+2Bb`, `TO:<"a>\" b"@example.org> NOTIFY=NEVER ORCPT=utf-8;\x{E4}@x`, "FROM:<>", "TO: <a@[127.0.0.1]>"} {
		f.Add(s)
	}
	w := &wire{srv: &Server{}, opts: &Options{MaxMessageBytes: 1000}, tx: transaction{envelope: &intake.Envelope{}}}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return // refused before
		}
		if m, r := w.parseMail(arg); r == "" && m.from.String() != "" {
			wantRoundTrip(t, m.from, m.utf8)
		}
		if c, r := w.parseRcpt(arg); r == "" {
			wantRoundTrip(t, c.to, w.tx.envelope.UTF8)
			if short, long := mailbox(c.to, c.to.String()), mailbox(c.to, ""); short != long {
				t.Errorf("mailbox of %q is %q, want %q", c.to, short, long)
			}
			if c.orcpt != "" && !printableText(c.orcpt) {
				t.Errorf("ORCPT %q", c.orcpt)
			}
		}
	})
}

func wantRoundTrip(t *testing.T, a message.Address, utf8 bool) {
	t.Helper()
	path, params, ok := cutPath("TO:<"+a.String()+">", "TO:")
	again, err := message.ParsePath(path, utf8)
	if !ok || params != "" || err != nil && !errors.Is(err, message.ErrAddressNotFQDN) || again != a {
		t.Errorf("%+v is written as %q and read as %+v, %v", a, path, again, err)
	}
}
