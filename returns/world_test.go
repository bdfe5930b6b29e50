package returns_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/smtpd"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "bounces.example.com"

// world is a real engine, a real key file and a receiving server on loopback.
type world struct {
	*testing.T
	db      *local.Store
	keys    *auth.Keyring
	tags    returns.Tags
	address string

	mu     sync.Mutex // guards what follows
	now    time.Time
	listed []relay.Suppression
	broken error // of Suppress
}

func newWorld(t *testing.T, tweak func(*returns.Options, *smtpd.Options)) *world {
	t.Helper()
	w := &world{T: t, now: time.Now()}
	var err error
	if w.db, err = local.Open(t.TempDir(), local.Options{MinFree: -1, Journal: journal.Options{SegmentSize: 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.must(w.db.Close()) })
	if w.keys, err = auth.OpenKeyring(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	w.tags = returns.Tags{Keys: w.keys}
	server := store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}
	stream := store.Stream{Server: 1, ID: "outbound", Kind: store.Transactional, Mode: store.ModeLive}
	_, err = w.db.Change(t.Context(), w.db.Snapshot().Revision, store.Change{Server: &server}, store.Change{Stream: &stream})
	w.must(err)
	opts := returns.Options{Host: host, Hostname: "relay.example.com", Tags: w.tags, Suppressor: w, Now: w.clock}
	front := smtpd.Options{Hostname: "relay.example.com", GreetDelay: -1, ErrorDelay: -1, MaxMessageBytes: 5 << 20}
	if tweak != nil {
		tweak(&opts, &front)
	}
	desk, err := returns.NewDesk(w.db, opts)
	w.must(err)
	srv, err := smtpd.NewReceiver(desk, front)
	w.must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx, smtpd.Listener{Listener: l}) }()
	t.Cleanup(func() { cancel(); w.must(<-ended) })
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Suppress implements relay.Suppressor.
func (w *world) Suppress(_ context.Context, s relay.Suppression) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	w.listed = append(w.listed, s)
	return nil
}

func (w *world) suppressed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, s := range w.listed {
		out = append(out, s.Address+" "+string(s.Reason))
	}
	return strings.Join(out, ", ")
}

const original = "From: shop@example.com\r\nMessage-ID: <m1@example.com>\r\nSubject: order\r\n\r\nHello\r\n"

// sent is a message that went to nobody@example.org and other@example.net.
func (w *world) sent(tune func(*store.Message, []store.Delivery)) store.ID {
	w.Helper()
	id := store.NewID()
	m := store.Message{ID: id, Server: 1, Stream: "outbound", Accepted: time.Now(), From: "shop@example.com"}
	ds := []store.Delivery{
		{Destination: "example.org", Expires: time.Now().Add(time.Hour), Recipients: []store.Recipient{{Address: "nobody@example.org", State: store.Sent}}},
		{Destination: "example.net", Expires: time.Now().Add(time.Hour), Recipients: []store.Recipient{{Address: "other@example.net", State: store.Sent}}},
	}
	if tune != nil {
		tune(&m, ds)
	}
	d, err := w.db.Begin(w.Context())
	w.must(err)
	_, err = d.Write([]byte(original))
	w.must(err)
	w.must(d.Commit(w.Context(), m, ds))
	return id
}

func (w *world) record(id store.ID) store.Record {
	w.Helper()
	r, err := w.db.Record(w.Context(), id)
	w.must(err)
	return r
}

func (w *world) body(id store.ID) string {
	w.Helper()
	b, err := w.db.Body(w.Context(), id)
	w.must(err)
	defer b.Close()
	all, err := io.ReadAll(b)
	w.must(err)
	return string(all)
}

// session is one SMTP connection.
type session struct {
	*world
	c  net.Conn
	br *bufio.Reader
}

func (w *world) dial() *session {
	w.Helper()
	c, err := net.Dial("tcp", w.address)
	w.must(err)
	w.Cleanup(func() { _ = c.Close() })
	w.must(c.SetDeadline(time.Now().Add(20 * time.Second)))
	s := &session{w, c, bufio.NewReader(c)}
	s.want("", "220 ")
	s.want("EHLO mx.example.org", "250 ")
	return s
}

// say sends a line, unless it is empty, and returns the last line of the reply with all that came before.
func (s *session) say(line string) (last, all string) {
	s.Helper()
	if line != "" {
		_, err := fmt.Fprintf(s.c, "%s\r\n", line)
		s.must(err)
	}
	for {
		l, err := s.br.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return "CLOSED", all
		}
		s.must(err)
		all += l
		if len(l) < 4 || l[3] != '-' {
			return strings.TrimRight(l, "\r\n"), all
		}
	}
}

func (s *session) want(line, reply string) string {
	s.Helper()
	last, _ := s.say(line)
	if !strings.HasPrefix(last, reply) {
		s.Errorf("%s: %q, want %q", line, last, reply)
	}
	return last
}

// deliver sends a message and returns the ID of what was kept.
func (w *world) deliver(from, to, body, reply string) store.ID {
	w.Helper()
	s := w.dial()
	s.want("MAIL FROM:<"+from+">", "250 ")
	s.want("RCPT TO:<"+to+">", "250 ")
	s.want("DATA", "354 ")
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n")
	last := s.want(body+".", reply)
	id, err := store.ParseID(last[strings.LastIndexByte(last, ' ')+1:])
	if strings.HasPrefix(reply, "250") && err != nil {
		w.Errorf("%q names no message", last)
	}
	return id
}

// dsn is a report about an address.
func dsn(address, action, status, diagnostic string) string {
	return "From: MAILER-DAEMON@mx.example.org\nSubject: Undelivered Mail\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" +
		"--b\nContent-Type: text/plain\n\nSorry.\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n" +
		"Final-Recipient: rfc822; " + address + "\nAction: " + action + "\nStatus: " + status + "\nRemote-MTA: dns; inner.example.org\nDiagnostic-Code: smtp; " + diagnostic + "\n\n--b--\n"
}

// arf is a complaint whose copy of the message has a Return-Path.
func arf(returnPath string) string {
	return "From: fbl@isp.example\nSubject: complaint\nContent-Type: multipart/report; report-type=feedback-report; boundary=a\n\n" +
		"--a\nContent-Type: text/plain\n\nAn abuse report.\n\n--a\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: FBL/1\nVersion: 1\n\n" +
		"--a\nContent-Type: message/rfc822\n\nReturn-Path: <" + returnPath + ">\nFrom: shop@example.com\nMessage-ID: <m1@example.com>\n\nHello\n--a--\n"
}
