package relay_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
)

// counted counts what is read from a connection.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestHostile_EndlessReplyIsNotRead is a host that wants to fill our memory: no more is read than a reply may have.
func TestHostile_EndlessReplyIsNotRead(t *testing.T) {
	for _, p := range []testmx.Phase{testmx.Connect, testmx.Hello, testmx.Mail, testmx.Dot} {
		w, _ := single(t, at(p, testmx.Step{Endless: true, Always: true}))
		var read atomic.Int64
		o := w.options()
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := w.dial(ctx, network, address)
			return counted{c, &read}, err
		}
		transport(t, o).Send(context.Background(), job())
		if n := read.Load(); n > 80<<10 {
			t.Errorf("endless reply to %s: %d octets were read", p, n)
		}
	}
}

// delivers is what an input must contain that makes a message delivered: BDAT has no answer before the content.
var delivers = regexp.MustCompile(`(?s)(^|\n)2\d\d.*\n(354|2\d\d[- ](?i:chunking)).*\n2\d\d`)

// FuzzConversation lets a host say anything, one line at a time. The client must end, must not panic, and must not believe
// in a delivery that nobody confirmed.
func FuzzConversation(f *testing.F) {
	f.Add([]byte("220 a\r\n250 PIPELINING\r\n250 a\r\n250 a\r\n354 a\r\n250 a\r\n"))
	f.Add([]byte("220 a\r\n250-a\r\n250 PIPELINING\r\n250 a\r\n250 a\r\n250 a\r\n354 a\r\n250 a\r\n"))
	f.Add([]byte("220 a\r\n250-a\r\n250 STARTTLS\r\n220 a\r\nrubbish"))
	f.Add([]byte("220 a\r\n500 a\r\n250 a\r\n250 a\r\n550 5.1.1 a\r\n452 a\r\n354 a\r\n250"))
	f.Add([]byte("421 a\r\n"))
	f.Add([]byte("220 a\r\n250-a\r\n250 CHUNKING\r\n250 a\r\n250 a\r\n250 a\r\n250 a\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newWorld()
		w.hosts["example.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		o := w.options()
		o.Dial = func(context.Context, string, string) (net.Conn, error) { return recite(in), nil }
		o.Timeouts = relay.Timeouts{Banner: time.Second, Hello: time.Second, TLS: time.Second, Mail: time.Second, Rcpt: time.Second, Data: time.Second, Block: time.Second, Dot: time.Second}
		tr := relay.NewTransport(o)
		got := tr.Send(context.Background(), job("b@example.test", "c@example.test"))
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if r.Verdict() == relay.Delivered && !delivers.Match(in) {
				t.Fatalf("delivered without a confirmation: %+v", r)
			}
		}
	})
}

// recite is a host that says its lines whatever it hears, and hangs up.
func recite(lines []byte) net.Conn {
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }() // ends when either side closes
	go func() {
		defer theirs.Close()
		for _, l := range bytes.SplitAfter(lines, []byte("\n")) {
			if _, err := theirs.Write(l); err != nil {
				return
			}
		}
	}()
	return ours
}
