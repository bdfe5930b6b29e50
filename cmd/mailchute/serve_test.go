package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// These tests are in the package: the server is not exported.

func TestFaulted_EndsWithIOError(t *testing.T) {
	faults := make(chan error, 1)
	faults <- store.ErrUnknown
	if err := faulted(context.Background(), faults); exitCode(err) != exitIO || !errors.Is(err, store.ErrUnknown) {
		t.Errorf("faulted = %v, exit code %d, want %d", err, exitCode(err), exitIO)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if err := faulted(stopped, make(chan error)); err != nil {
		t.Errorf("faulted = %v at an orderly stop", err)
	}
}

func TestEnded_TellsOrderlyStopFromSilence(t *testing.T) {
	running, stop := context.WithCancel(context.Background())
	if err := ended(running, "dispatcher", nil); err == nil {
		t.Error("a part that ended by itself is no error")
	}
	stop()
	if err := ended(running, "dispatcher", nil); err != nil {
		t.Errorf("ended = %v at an orderly stop", err)
	}
	if err := ended(running, "dispatcher", io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ended = %v, want the part's own error", err)
	}
}

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{usage("x"), exitUsage},
		{errors.Join(io.EOF, exitWith(exitConfig, "x")), exitConfig},
		{store.ErrNotFound, exitUnavailable},
		{store.ErrLimit, exitData},
		{store.ErrNotDue, exitBusy},
		{store.ErrUnknown, exitIO},
		{io.EOF, exitUnavailable},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestPasteLines_OfferOnlyWhatWorks(t *testing.T) {
	for _, tt := range []struct {
		name         string
		listeners    []ListenerConfig
		has, doesNot []string
	}{
		{"default", Default().SMTP.Listeners, []string{"127.0.0.1:2525 --from", "127.0.0.1:2525 --tls", "127.0.0.1:4465 --tls-on-connect", "SMTP_URL=smtp://u:p@127.0.0.1:2525"}, nil},
		{"public", []ListenerConfig{{Address: "[::]:587", TLS: tlsStart}}, []string{"relay.example:587 --tls"}, []string{"relay.example:587 --from", "--tls-on-connect"}},
		{"no TLS", []ListenerConfig{{Address: "[::1]:25", TLS: tlsNone}}, []string{"[::1]:25 --from", "SMTP_PORT=25"}, []string{"--tls"}},
		{"implicit only", []ListenerConfig{{Address: "0.0.0.0:465", TLS: tlsImplicit}}, []string{"relay.example:465 --tls-on-connect", "SMTP_URL=smtps://u:p@relay.example:465"}, []string{"--tls --from"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Default()
			cfg.Hostname, cfg.SMTP.Listeners = "relay.example", tt.listeners
			var out strings.Builder
			if err := pasteLines(&out, cfg, "u", "p"); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %q:\n%s", want, out.String())
				}
			}
			for _, not := range tt.doesNot {
				if strings.Contains(out.String(), not) {
					t.Errorf("has %q:\n%s", not, out.String())
				}
			}
		})
	}
}

func TestServer_ForgetsWhatIsOlderThanRetention(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := demoConfig(filepath.Join(t.TempDir(), "data"))
	log := slog.New(slog.DiscardHandler)
	s, err := openServer(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := createStarter(t.Context(), s.files, time.Now()); err != nil {
		t.Fatal(err)
	}
	old := commit(t, s.files.store, time.Now().Add(-cfg.Storage.Retention-time.Minute))
	young := commit(t, s.files.store, time.Now().Add(-cfg.Storage.Retention+time.Hour))
	runUntil(t, s, func(db *local.Store) bool { // captured by its stream
		queued, _, err := db.List(t.Context(), store.Filter{Queued: true}, "", 1)
		return err == nil && len(queued) == 0
	})

	if s, err = openServer(cfg, log); err != nil {
		t.Fatal(err)
	}
	runUntil(t, s, func(db *local.Store) bool {
		_, err := db.Record(t.Context(), old)
		return errors.Is(err, store.ErrNotFound)
	})
	if s, err = openServer(cfg, log); err != nil {
		t.Fatal(err)
	}
	if _, err := s.files.store.Record(t.Context(), young); err != nil {
		t.Errorf("a message within the retention time: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

func TestServer_ListenerKinds(t *testing.T) {
	for _, tt := range []struct {
		listener  string
		cleartext []netip.Prefix
		client    string // TLS that the client uses
		offers    []string
		lacks     []string
		auth      string
	}{
		{tlsStart, prefixes("127.0.0.0/8"), "", []string{"STARTTLS", "AUTH PLAIN LOGIN"}, nil, "235 "},
		{tlsStart, nil, "", []string{"STARTTLS"}, []string{"AUTH"}, "538 "},
		{tlsImplicit, nil, tlsImplicit, []string{"AUTH PLAIN LOGIN"}, []string{"STARTTLS"}, "235 "},
		{tlsNone, prefixes("127.0.0.0/8"), "", []string{"AUTH PLAIN LOGIN"}, []string{"STARTTLS"}, "235 "},
		{tlsNone, nil, "", nil, []string{"STARTTLS", "AUTH"}, "538 "},
	} {
		t.Run(fmt.Sprintf("%s/%v", tt.listener, tt.cleartext), func(t *testing.T) {
			cfg := demoConfig(filepath.Join(t.TempDir(), "data"))
			cfg.SMTP.Listeners = []ListenerConfig{{Address: "127.0.0.1:0", TLS: tt.listener}}
			cfg.SMTP.CleartextAuth = tt.cleartext
			s, err := openServer(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			begin, err := createStarter(t.Context(), s.files, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			runUntil(t, s, func(*local.Store) bool { return true }, func() {
				hello, auth := helloAndAuth(t, s.cfg.SMTP.Listeners[0].Address, tt.client, begin.serverToken)
				for _, word := range tt.offers {
					if !strings.Contains(hello, word) {
						t.Errorf("EHLO lacks %s: %s", word, hello)
					}
				}
				for _, word := range tt.lacks {
					if strings.Contains(hello, word) {
						t.Errorf("EHLO offers %s: %s", word, hello)
					}
				}
				if !strings.HasPrefix(auth, tt.auth) {
					t.Errorf("AUTH is answered %q, want %q", auth, tt.auth)
				}
			})
		})
	}
}

// helloAndAuth returns the answers to EHLO and to AUTH PLAIN.
func helloAndAuth(t *testing.T, address, mode, token string) (hello, auth string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if mode == tlsImplicit {
		c = tls.Client(c, demoTLS())
	}
	r := textproto.NewReader(bufio.NewReader(c))
	ask := func(line string) string {
		t.Helper()
		if _, err := io.WriteString(c, line); err != nil {
			t.Fatal(err)
		}
		code, text, err := r.ReadResponse(0)
		if code == 0 {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %s", code, text)
	}
	ask("")
	hello = ask("EHLO test.example\r\n")
	return hello, ask("AUTH PLAIN " + plainResponse(token, token) + "\r\n")
}

// commit stores a message of the stream outbound that was accepted at a time.
func commit(t *testing.T, db *local.Store, at time.Time) store.ID {
	t.Helper()
	server, err := serverOf(db.Snapshot(), "")
	if err != nil {
		t.Fatal(err)
	}
	draft, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Discard()
	if _, err := io.WriteString(draft, "Subject: old\r\n\r\nHello.\r\n"); err != nil {
		t.Fatal(err)
	}
	m := store.Message{ID: store.NewID(), Server: server.ID, Stream: "outbound", Accepted: at, From: "shop@example.com"}
	err = draft.Commit(t.Context(), m, []store.Delivery{{
		ID: store.DeliveryID{Message: m.ID}, Server: server.ID, Stream: "outbound", Destination: "capture",
		Recipients: []store.Recipient{{Address: "someone@example.org", State: store.Queued}},
		Due:        at, Expires: at.Add(24 * time.Hour),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// runUntil runs a server until what it should do is done, and then what the
// test does with it.
func runUntil(t *testing.T, s *server, done func(*local.Store) bool, then ...func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	deadline := time.Now().Add(patience)
	for !done(s.files.store) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	ok := done(s.files.store)
	for _, do := range then {
		do()
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Fatalf("it did not come about within %v", patience)
	}
}
