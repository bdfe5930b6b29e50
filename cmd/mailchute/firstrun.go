package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

// firstServer is the name of the server made on the first start.
const firstServer = "My First Server"

// starter are the credentials of a first start. It is printed once and not kept.
type starter struct {
	accountToken string
	serverToken  string
	pair         auth.SMTPCredential
}

// firstRun fills an empty directory and prints how to begin; later it prints a
// summary without secrets. The listeners are bound by then, so that a port in
// use cannot cost the secret its one showing.
func (s *server) firstRun(ctx context.Context, out io.Writer) error {
	if !s.files.store.Snapshot().Account.Created.IsZero() {
		return s.summary(out)
	}
	begin, err := createStarter(ctx, s.files, time.Now())
	if err != nil {
		return fmt.Errorf("filling the new data directory: %w", err)
	}
	return s.welcome(out, begin)
}

// createStarter makes the account, a server with its three streams in capture
// mode, and a credential of each kind, in one transaction: a crash leaves
// nothing half made.
func createStarter(ctx context.Context, f *files, now time.Time) (starter, error) {
	var begin starter
	_, err := store.Update(ctx, f.store, func(s *store.Snapshot) ([]store.Change, error) {
		server := store.Server{ID: s.NextID(0), Name: firstServer, DeliveryType: store.Live, Created: now}
		changes := []store.Change{
			{Account: &store.Account{Name: "My Organisation", Created: now}},
			{Server: &server},
		}
		streams := store.DefaultStreams(server.ID, store.ModeCapture, now)
		for i := range streams {
			changes = append(changes, store.Change{Stream: &streams[i]})
		}
		var account store.AccountToken
		var token store.ServerToken
		var smtp store.SMTPToken
		var err error
		begin.accountToken, account = auth.MintAccountToken(f.keyring, s.NextID(1), "first", now)
		begin.serverToken, token = auth.MintServerToken(f.keyring, s.NextID(2), server.ID, "first", now)
		begin.pair, smtp, err = auth.MintSMTPToken(f.keyring, s.NextID(3), streams[0], "first", now)
		return append(changes, store.Change{AccountToken: &account}, store.Change{ServerToken: &token}, store.Change{SMTPToken: &smtp}), err
	})
	return begin, err
}

func (s *server) welcome(out io.Writer, begin starter) error {
	var b strings.Builder
	fmt.Fprintf(&b, "mailchute is ready. Its data is in %s; keep a copy of %s apart from it.\n\n", s.cfg.DataDir, s.cfg.KeyFile)
	fmt.Fprintf(&b, "  server         %s (streams outbound, broadcast, inbound; mail is captured, nothing leaves)\n", firstServer)
	fmt.Fprintf(&b, "  server token   %s   username and password for SMTP; X-Postmark-Server-Token for HTTP\n", begin.serverToken)
	fmt.Fprintf(&b, "  access key     %s   username, stream outbound only\n", begin.pair.AccessKey)
	fmt.Fprintf(&b, "  secret key     %s   its password: not stored, shown only now\n", begin.pair.Secret)
	fmt.Fprintf(&b, "  account token  %s   for the account, not for SMTP\n", begin.accountToken)
	s.listening(&b)
	if s.cfg.SMTP.TLS.CertFile == "" {
		fmt.Fprint(&b, "  certificate    self-signed: a client that verifies refuses it, until smtp.tls names a real one\n")
	}
	fmt.Fprint(&b, "\nTry it with the server token:\n")
	swaksLines(&b, s.cfg, begin.serverToken, begin.serverToken)
	fmt.Fprint(&b, "\nTry it with the access key and the secret key:\n")
	swaksLines(&b, s.cfg, begin.pair.AccessKey, begin.pair.Secret)
	envLines(&b, s.cfg, begin.pair.AccessKey, begin.pair.Secret)
	data := dataFlag(s.cfg)
	fmt.Fprintf(&b, `
See what was captured:
  mailchute message list%[1]s
  mailchute message show MESSAGE%[1]s
Let it out:
  mailchute stream set outbound --mode live --mx%[1]s
  mailchute stream set outbound --mode live --smarthost smtp.example.com:587 --username USER --password-file FILE%[1]s

`, data)
	_, err := io.WriteString(out, b.String())
	return err
}

// dataFlag is what commands need to find this server from the same directory.
func dataFlag(cfg Config) string {
	if cwd, err := os.Getwd(); err == nil && cfg.DataDir == filepath.Join(cwd, Default().DataDir) {
		return ""
	}
	return " --data " + cfg.DataDir
}

func (s *server) listening(b *strings.Builder) {
	for _, l := range s.cfg.SMTP.Listeners {
		kind := map[string]string{tlsStart: "STARTTLS, or plain from cleartext_auth networks", tlsImplicit: "implicit TLS", tlsNone: "no TLS"}[l.TLS]
		fmt.Fprintf(b, "  listening      %-22s %s\n", l.Address, kind)
	}
	for _, l := range s.cfg.Bounces.Listeners {
		fmt.Fprintf(b, "  bounces        %-22s for %s\n", l.Address, s.cfg.Bounces.Host)
	}
	for _, l := range s.cfg.API.Listeners {
		fmt.Fprintf(b, "  HTTP API       %s://%s\n", map[string]string{tlsImplicit: "https", tlsNone: "http"}[l.TLS], l.Address)
	}
}

func (s *server) summary(out io.Writer) error {
	var b strings.Builder
	snap := s.files.store.Snapshot()
	fmt.Fprintf(&b, "mailchute serves %s: %d servers, %d streams, %d server tokens, %d SMTP tokens.\n",
		s.cfg.DataDir, len(snap.Servers), len(snap.Streams), len(snap.ServerTokens), len(snap.SMTPTokens))
	s.listening(&b)
	_, err := io.WriteString(out, b.String())
	return err
}
