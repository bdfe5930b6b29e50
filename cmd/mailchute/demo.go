package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Show the whole path of mail in a few seconds, in a temporary directory", Args: noArgs,
		Long: `Run a temporary relay and a receiving mail host, both on loopback; submit a message with each
kind of credential and a refused one of each sort; show the timeline of every message.

It touches nothing but a temporary directory. It ends with a fault if anything did not happen
as promised.`,
		Example: "  mailchute demo",
		RunE: a.local(func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "mailchute-demo-")
			if err != nil {
				return &exitError{exitCreate, err}
			}
			defer os.RemoveAll(dir)
			return runDemo(cmd.Context(), a.out, dir)
		}),
	}
}

// demo is one run of it.
type demo struct {
	out    io.Writer
	server *server
	mx     *demoMX
	starter
	revoked string
	other   auth.SMTPCredential // of broadcast
	faults  []string
}

// demoConfig is the normal server with short waits and a small size limit.
func demoConfig(dir string) Config {
	cfg := Default()
	cfg.API = APIConfig{}
	cfg.DataDir = dir
	cfg = cfg.resolved(nil)
	cfg.Hostname = "demo.example"
	cfg.SMTP.Listeners = []ListenerConfig{{Address: "127.0.0.1:0", TLS: tlsStart}, {Address: "127.0.0.1:0", TLS: tlsImplicit}}
	cfg.SMTP.Limits.MessageSize = 64 * KiB
	cfg.Auth.FirstDelay, cfg.Auth.MaxDelay = 10*time.Millisecond, 50*time.Millisecond
	cfg.Delivery.Schedule = []time.Duration{500 * time.Millisecond}
	cfg.Storage.MinFree = 1
	return cfg
}

func runDemo(ctx context.Context, out io.Writer, dir string) (err error) {
	begun := time.Now()
	d := &demo{out: out}
	if d.mx, err = listenMX(); err != nil {
		return err
	}
	if d.server, err = openServer(demoConfig(dir), slog.New(slog.DiscardHandler)); err != nil {
		return errors.Join(err, d.mx.listener.Close())
	}
	if err := d.prepare(ctx); err != nil {
		return errors.Join(err, d.mx.listener.Close(), d.server.close())
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- d.mx.Run(ctx) }()
	go func() { ended <- d.server.run(ctx) }()
	err = d.show(ctx)
	stop()
	if err = errors.Join(err, <-ended, <-ended); err != nil {
		return err
	}
	return d.verdict(time.Since(begun))
}

// prepare makes the credentials and points the outbound streams at the receiving
// host.
func (d *demo) prepare(ctx context.Context) (err error) {
	f := d.server.files
	if d.starter, err = createStarter(ctx, f, time.Now()); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(d.mx.listener.Addr().String())
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	a := newAdmin(f, d.server.cfg)
	for _, id := range []string{"outbound", "broadcast"} {
		if _, err := updateStream(ctx, a, "", id, func(s *store.Stream) error {
			s.Mode, s.Route = store.ModeLive, store.Route{Host: "127.0.0.1", Port: n, TLS: store.TLSNone}
			return nil
		}); err != nil {
			return err
		}
	}
	server, err := serverOf(f.store.Snapshot(), "")
	if err != nil {
		return err
	}
	d.other, _, err = auth.CreateSMTPToken(ctx, f.store, f.keyring, store.StreamKey{Server: server.ID, Stream: "broadcast"}, "other", time.Now())
	if err != nil {
		return err
	}
	token, record, err := auth.CreateServerToken(ctx, f.store, f.keyring, server.ID, "revoked", time.Now())
	if err != nil {
		return err
	}
	d.revoked = token
	return auth.RevokeServerToken(ctx, f.store, record.ID)
}

func (d *demo) show(ctx context.Context) error {
	d.title("A relay and a receiving mail host, both on loopback")
	t := newTable(d.out)
	t.row("  submission", d.address(false), "STARTTLS, or plain from loopback")
	t.row("  submission", d.address(true), "implicit TLS")
	t.row("  mail host", d.mx.listener.Addr(), "greylists grey…@, knows no nobody@")
	if err := t.flush(); err != nil {
		return err
	}
	taken, err := d.try("Taken: 250 means that the message is on disk", d.welcome())
	if err != nil {
		return err
	}
	if _, err := d.try("Refused: each with its reason, and nothing of it was queued", d.refused()); err != nil {
		return err
	}
	records, err := d.await(ctx, taken)
	if err != nil {
		return err
	}
	return d.timelines(records)
}

func (d *demo) address(implicit bool) string {
	e, _ := endpointOf(d.server.cfg, implicit)
	return e.String()
}

func (d *demo) title(text string) { fmt.Fprintf(d.out, "\n%s\n", text) }

func (d *demo) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// demoSender gets the bounce.
const demoSender = "shop@demo.example"

func (d *demo) base(what string) attempt {
	return attempt{
		what: what, address: d.address(false), username: d.serverToken, password: d.serverToken,
		from: demoSender, to: []string{"alice@example.org"}, text: "Hello.\r\n.\r\n..dots stay dots\r\n", want: "250 2.0.0 queued as ",
	}
}

func (d *demo) with(what string, change func(*attempt)) attempt {
	a := d.base(what)
	change(&a)
	a.text = strings.ReplaceAll(a.text, "\r\n.", "\r\n..") // dot stuffing
	return a
}

func (d *demo) welcome() []attempt {
	pair := func(a *attempt) { a.username, a.password = d.pair.AccessKey, d.pair.Secret }
	return []attempt{
		d.with("server token, plain on loopback", func(*attempt) {}),
		d.with("server token, STARTTLS, X-PM-Message-Stream: broadcast", func(a *attempt) {
			a.tls, a.header = tlsStart, []string{"X-PM-Message-Stream: broadcast"}
		}),
		d.with("access key and secret, implicit TLS, greylisted", func(a *attempt) {
			pair(a)
			a.tls, a.address, a.to = tlsImplicit, d.address(true), []string{"bob@example.org", "grey@example.org"}
		}),
		d.with("access key and secret, unknown recipient", func(a *attempt) {
			pair(a)
			a.tls, a.to = tlsStart, []string{"nobody@example.org"}
		}),
	}
}

func (d *demo) refused() []attempt {
	login := func(what, user, password string) attempt {
		return d.with(what, func(a *attempt) { a.username, a.password, a.want = user, password, "535 5.7.8 " })
	}
	pair := func(a *attempt) { a.username, a.password = d.pair.AccessKey, d.pair.Secret }
	return []attempt{
		d.with("no login", func(a *attempt) { a.username, a.want = "", "530 5.7.0 " }),
		login("access key with the secret of another token", d.pair.AccessKey, d.other.Secret),
		login("secret as username", d.pair.Secret, d.pair.AccessKey),
		login("account token", d.accountToken, d.accountToken),
		login("revoked server token", d.revoked, d.revoked),
		d.with("inbound stream", func(a *attempt) { a.header, a.want = []string{"X-PM-Message-Stream: inbound"}, "550 5.7.1 " }),
		d.with("SMTP token of outbound, naming broadcast", func(a *attempt) {
			pair(a)
			a.header, a.want = []string{"X-PM-Message-Stream: broadcast"}, "550 5.7.1 "
		}),
		d.with("bare CR in the body", func(a *attempt) { a.text, a.want = "one\rtwo\r\n", "550 5.5.2 " }),
		d.with("larger than the limit, and says so", func(a *attempt) { a.size, a.want = 70_000, "552 5.3.4 " }),
		d.with("larger than the limit", func(a *attempt) {
			a.text, a.want = strings.Repeat("All work and no play.\r\n", 3200), "552 5.3.4 "
		}),
	}
}

// try submits and shows each attempt, and returns those that were taken by
// message ID.
func (d *demo) try(title string, attempts []attempt) ([]submitted, error) {
	d.title(title)
	var taken []submitted
	t := newTable(d.out)
	for _, a := range attempts {
		r, err := a.submit()
		if err != nil {
			return nil, fmt.Errorf("demo: %s: %w", a.what, err)
		}
		t.row("  "+a.what, r.command, r.text)
		if !strings.HasPrefix(r.text, a.want) {
			d.fault("%s: answered %q, promised %q", a.what, r.text, a.want)
		}
		if id, err := store.ParseID(r.text[strings.LastIndexByte(r.text, ' ')+1:]); err == nil {
			taken = append(taken, submitted{a, id})
		}
	}
	return taken, t.flush()
}

// submitted is an attempt that was taken.
type submitted struct {
	attempt
	id store.ID
}

// await returns the records of the messages and of the bounces that they caused,
// once nothing is queued any more.
func (d *demo) await(ctx context.Context, taken []submitted) ([]store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	db := d.server.files.store
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		queued, _, err := db.List(ctx, store.Filter{Queued: true}, "", 1)
		if err != nil {
			return nil, err
		}
		if len(queued) == 0 {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, exitWith(exitFailed, "demo: mail is still queued after %v", demoTimeout)
		}
	}
	records, _, err := db.List(ctx, store.Filter{}, "", 100)
	if err != nil {
		return nil, err
	}
	d.judge(taken, records)
	return records, nil
}

// judge compares what happened with what was promised.
func (d *demo) judge(taken []submitted, records []store.Record) {
	if len(taken) != len(d.welcome()) || len(records) != len(taken)+1 {
		d.fault("%d messages taken and %d recorded, promised %d and one bounce", len(taken), len(records), len(d.welcome()))
		return
	}
	letters := d.mx.received()
	for _, s := range taken {
		for _, to := range s.to {
			arrived := s.arrived(letters, to)
			if strings.HasPrefix(to, "nobody@") == arrived {
				d.fault("%s: arrived at %s: %v", s.what, to, arrived)
			}
		}
	}
	d.judgeEvents(records)
	bounces := 0
	for _, l := range letters {
		if l.from == "" && len(l.to) == 1 && l.to[0] == demoSender {
			bounces++
		}
	}
	if bounces != 1 {
		d.fault("%d bounces came back to %s, promised one", bounces, demoSender)
	}
}

// judgeEvents looks for what the timelines must show.
func (d *demo) judgeEvents(records []store.Record) {
	shown := map[string]bool{}
	for _, r := range records {
		shown["stream "+r.Message.Stream] = true
		for _, e := range r.Events {
			shown[string(e.Kind)+" "+e.Recipient] = true
		}
	}
	for _, want := range []string{
		"stream outbound", "stream broadcast", "deferred grey@example.org", "sent grey@example.org", "sent alice@example.org",
		"sent bob@example.org", "bounced nobody@example.org", "sent " + demoSender,
	} {
		if !shown[want] {
			d.fault("nothing shows %q", want)
		}
	}
}

// arrived tells whether a recipient got the text octet for octet.
func (s submitted) arrived(letters []letter, to string) bool {
	text := strings.ReplaceAll("\r\n\r\n"+s.text, "\r\n..", "\r\n.")
	for _, l := range letters {
		for _, rcpt := range l.to {
			if rcpt == to && bytes.Contains(l.body, []byte("Subject: "+s.what+"\r\n")) && bytes.HasSuffix(l.body, []byte(text)) {
				return true
			}
		}
	}
	return false
}

// timelines shows every message, oldest first.
func (d *demo) timelines(records []store.Record) error {
	d.title("What became of them")
	for _, r := range slices.Backward(records) {
		what := r.Message.Header.Subject
		if r.Message.Bounce {
			what = "the bounce, to " + demoSender
		}
		fmt.Fprintf(d.out, "\n  %s  %-9s  %s\n", r.Message.ID, r.Message.Stream, printable(what))
		for _, e := range r.Events {
			fmt.Fprintf(d.out, "    %8s  %-8s  %-18s  %s\n", "+"+span(e.At.Sub(r.Message.Accepted)), e.Kind, dash(e.Recipient), printable(briefly(e)))
		}
	}
	return nil
}

// briefly leaves out how the connection was made, where there was an answer.
func briefly(e store.Event) string {
	if text := e.Reply.Line(); text != "" {
		return text
	}
	return eventText(e)
}

func (d *demo) verdict(took time.Duration) error {
	if len(d.faults) > 0 {
		return exitWith(exitFailed, "demo: not as promised:\n  %s", strings.Join(d.faults, "\n  "))
	}
	_, err := fmt.Fprintf(d.out, `
Everything happened as promised, in %s.

Next:
  mailchute serve         a relay of your own in ./mailchute-data, with tokens and lines to paste
  mailchute --help        servers, streams, tokens, queue
`, span(took))
	return err
}
