package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

const tlsReportsFile = "tls-reports.jsonl"

// openTLSReports makes what counts how TLS fares and reports on it, where that is
// configured.
func (s *server) openTLSReports(out *relay.Options) error {
	c := s.cfg.TLSReports
	if c.From == "" {
		return nil
	}
	log := s.log.With("part", "tlsrpt")
	var err error
	s.tlsCounts, err = tlsrpt.Open(filepath.Join(s.cfg.DataDir, tlsReportsFile), tlsrpt.Options{
		Submitter: c.domain(), Organization: c.Organization, Contact: c.contact(), Logger: log,
	})
	if err != nil {
		return &exitError{openCode(err), err}
	}
	client, err := reportClient(s.cfg)
	if err != nil {
		return err
	}
	mail := reportMailer{store: s.files.store, config: c, expire: s.cfg.Delivery.Expire, now: time.Now}
	s.tlsReports, err = tlsrpt.NewReporter(s.tlsCounts, tlsrpt.ReporterOptions{
		From: c.From, LookupTXT: existingTXT(txtResolver{s.cfg.Delivery.Resolver}), Mail: mail.send, Client: client, Logger: log,
	})
	if err != nil {
		return exitWith(exitConfig, "tls_reports: %w", err)
	}
	out.TLSReports = s.tlsCounts
	return nil
}

// existingTXT looks up records of which there may be none.
func existingTXT(dns domains.Resolver) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, name string) ([]string, error) {
		records, err := dns.LookupTXT(ctx, name)
		if errors.Is(err, domains.ErrNoDomain) || errors.Is(err, domains.ErrNoRecords) {
			return nil, nil
		}
		return records, err
	}
}

const reportTime = time.Minute

// reportClient posts to places that strangers name in DNS.
func reportClient(cfg Config) (*http.Client, error) {
	roots, err := rootCAs("delivery.ca_file", cfg.Delivery.CAFile)
	if err != nil {
		return nil, err
	}
	resolver := net.DefaultResolver
	if cfg.Delivery.Resolver != "" {
		resolver = nameServerAt(cfg.Delivery.Resolver).R
	}
	transport := &http.Transport{DialContext: dialer(resolver, cfg.Delivery.AllowPrivate), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, TLSHandshakeTimeout: reportTime}
	return &http.Client{Transport: transport, Timeout: reportTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// reportMailer queues reports on a stream.
type reportMailer struct {
	store  *local.Store
	config TLSReportsConfig
	expire time.Duration
	now    func() time.Time
}

// send queues one report. It goes out whatever the TLS of the domain is like,
// which it may be about, and is not counted itself; the null reverse-path keeps
// failures from coming back.
func (m reportMailer) send(ctx context.Context, to string, body []byte) error {
	snap := m.store.Snapshot()
	stream, ok := namedStream(snap, m.config.Stream)
	if !ok {
		return fmt.Errorf("tls_reports.stream: no stream %q for sending", m.config.Stream)
	}
	now := m.now()
	if _, keys := snap.Signer(m.config.domain(), now); len(keys) == 0 {
		return fmt.Errorf("no active DKIM key signs for %s, and receivers take signed reports only (RFC 8460 3): mailchute domain add %s", m.config.domain(), m.config.domain())
	}
	address, err := message.ParsePath(to, false)
	if err != nil {
		return err
	}
	destination, err := relay.DestinationFor(stream, address)
	if err != nil {
		return err
	}
	msg := store.Message{
		ID: store.NewID(), Server: stream.Server, Stream: stream.ID, Accepted: now, Protocol: "local", TLSOptional: true,
		Header: store.Display{Subject: subjectOf(body), From: m.config.From, To: []string{to}},
	}
	delivery := store.Delivery{
		Server: stream.Server, Stream: stream.ID, Destination: destination, Due: now, Expires: now.Add(m.expire),
		Recipients: []store.Recipient{{Address: address.String(), State: store.Queued, Notify: "NEVER"}},
	}
	return m.commit(ctx, msg, delivery, body)
}

// subjectOf names the domain that a report is about, for lists.
func subjectOf(report []byte) string {
	h, _, err := message.ReadHeader(bytes.NewReader(report), message.HeaderLimits{})
	if err != nil {
		return "TLS report"
	}
	return h.Get("Subject")
}

func (m reportMailer) commit(ctx context.Context, msg store.Message, delivery store.Delivery, body []byte) error {
	draft, err := m.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer draft.Discard()
	if _, err := draft.Write(body); err != nil {
		return err
	}
	return draft.Commit(ctx, msg, []store.Delivery{delivery})
}
