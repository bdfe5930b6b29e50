package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

// benchStreams is how many streams a server gets before there is another one.
const benchStreams = 25

// benchConfig is the normal configuration without the limits that keep a single
// client from doing what a measurement does.
func benchConfig(order benchOrder) Config {
	cfg := Default()
	cfg.API = APIConfig{}
	if order.Options.Search {
		cfg.API = APIConfig{Listeners: []APIListenerConfig{{Address: "127.0.0.1:0"}}}
	}
	cfg.DataDir = filepath.Join(order.Dir, "data")
	cfg = cfg.resolved(nil)
	cfg.Hostname = "bench.example"
	cfg.SMTP.Listeners = []ListenerConfig{{Address: "127.0.0.1:0", TLS: tlsStart}, {Address: "127.0.0.1:0", TLS: tlsImplicit}}
	l := &cfg.SMTP.Limits
	l.Connections, l.ConnectionsPerNetwork, l.ConnectionRate, l.Messages = 1_000_000, 1_000_000, 1_000_000, 1_000_000
	l.MessageSize = max(l.MessageSize, 2*order.Options.Size)
	cfg.Delivery.AllowPrivate = true
	cfg.Delivery.Resolver = order.Resolver
	if _, port, err := net.SplitHostPort(order.Sink); err == nil {
		cfg.Delivery.MXPort, _ = strconv.Atoi(port) // a listener's own address
	}
	return cfg
}

// prepareBench makes servers, streams and the backlog, and returns a login for
// each server.
func prepareBench(ctx context.Context, order benchOrder) (logins []string, err error) {
	cfg := benchConfig(order)
	f, err := openOrCreate(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	_, err = store.Update(ctx, f.store, func(s *store.Snapshot) ([]store.Change, error) {
		var changes []store.Change
		changes, logins = benchDirectory(f, s, cfg, order)
		return changes, nil
	})
	if err != nil {
		return nil, err
	}
	if err := signBench(ctx, f, order.Options); err != nil {
		return nil, err
	}
	if err := breakIn(ctx, f.store, cfg.DataDir, order.Options); err != nil {
		return nil, err
	}
	return logins, fillBacklog(ctx, f.store, order.Options)
}

// What breakIn writes is small and comes from few writers, as the journal makes
// spare segments for small groups only.
const (
	breakInBytes   = 80 << 20 // a segment of the journal, and enough of the next to have spares made
	breakInBody    = 16 << 10
	breakInWriters = 4
	breakInWait    = 20 * time.Second
)

// breakIn makes the directory that of a relay which has run for a while: its
// first journal segment, which grew as it was written and so took longer to
// sync, is full, and the next ones lie ready.
func breakIn(ctx context.Context, s store.Store, dir string, o benchOptions) error {
	if o.Fresh {
		return nil
	}
	f := filling{store: s, size: breakInBody, count: breakInBytes / breakInBody, writers: breakInWriters, domains: 1, state: store.Sent}
	if err := f.run(ctx); err != nil {
		return fmt.Errorf("filling the first segment: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, breakInWait)
	defer cancel()
	for {
		spares, err := filepath.Glob(filepath.Join(dir, "journal", "*.free"))
		if err != nil || len(spares) >= 2 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for spare segments: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func benchDirectory(f *files, s *store.Snapshot, cfg Config, order benchOrder) (changes []store.Change, logins []string) {
	now := time.Now()
	changes = append(changes, store.Change{Account: &store.Account{Name: "Benchmark", Created: now}})
	next := 0
	id := func() int64 { next++; return s.NextID(int64(next - 1)) }
	for left := order.Options.Streams; left > 0; left -= benchStreams {
		server := store.Server{ID: id(), Name: fmt.Sprintf("Benchmark %d", len(logins)+1), DeliveryType: store.Live, Created: now}
		changes = append(changes, store.Change{Server: &server})
		for i := range min(left, benchStreams) {
			changes = append(changes, store.Change{Stream: benchStream(cfg, order, server.ID, i)})
		}
		token, record := auth.MintServerToken(f.keyring, id(), server.ID, "bench", now)
		changes = append(changes, store.Change{ServerToken: &record})
		logins = append(logins, base64.StdEncoding.EncodeToString([]byte("\x00"+token+"\x00"+token)))
	}
	return changes, logins
}

// benchStream is paused where only acceptance counts. One destination is reached
// over a smarthost, several over MX.
func benchStream(cfg Config, order benchOrder, server int64, i int) *store.Stream {
	s := &store.Stream{
		Server: server, ID: benchStreamID(i), Name: "Benchmark", Kind: store.Transactional,
		Mode: store.ModeLive, Paused: !order.Options.Deliver, Created: time.Now(),
	}
	if order.Options.Destinations == 1 {
		s.Route = store.Route{Host: "127.0.0.1", Port: cfg.Delivery.MXPort, TLS: store.TLSNone}
	}
	return s
}

// benchStreamID and benchDomain are of fixed width, so that they can be replaced
// in a message without making a new one.
func benchStreamID(i int) string { return fmt.Sprintf("bench-%02d", i) }

func benchDomain(i int) string { return fmt.Sprintf("d%05d.example", i) }

// fillBacklog queues messages whose next attempt is tomorrow.
func fillBacklog(ctx context.Context, s store.Store, o benchOptions) error {
	f := filling{store: s, size: 1 << 10, count: o.Backlog, writers: 128, domains: o.Destinations, state: store.Queued}
	if err := f.run(ctx); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return nil
}

// filling is mail that goes straight to the engine, which is what is left of a
// submission once it has been made.
type filling struct {
	store          store.Store
	size           int
	count, writers int
	domains        int
	state          store.State
}

func (f filling) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var n atomic.Int64
	body := bytes.TrimSuffix(benchContent(f.size), []byte(".\r\n"))
	for range min(f.writers, f.count) {
		g.Go(func() error {
			for i := int(n.Add(1)); i <= f.count; i = int(n.Add(1)) {
				if err := putOne(ctx, f.store, body, benchDomain(i%f.domains), f.state); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// putOne stores a message whose recipient is finished, or due tomorrow.
func putOne(ctx context.Context, s store.Store, body []byte, domain string, state store.State) error {
	now := time.Now()
	m := store.Message{
		ID: store.NewID(), Server: firstBenchServer(s), Stream: benchStreamID(0), Accepted: now, From: benchSender,
		Header: store.Display{Subject: "Backlog", From: benchSender, To: []string{"user@" + domain}}, Protocol: "ESMTPA",
	}
	draft, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer draft.Discard()
	if _, err := draft.Write(body); err != nil {
		return err
	}
	return draft.Commit(ctx, m, []store.Delivery{{
		ID: store.DeliveryID{Message: m.ID}, Server: m.Server, Stream: m.Stream, Destination: domain,
		Recipients: []store.Recipient{{Address: "user@" + domain, State: state}},
		Due:        now.Add(24 * time.Hour), Expires: now.Add(5 * 24 * time.Hour),
	}})
}

func firstBenchServer(s store.Directory) int64 {
	first := int64(math.MaxInt64)
	for id := range s.Snapshot().Servers {
		first = min(first, id)
	}
	return first
}

func keyPair(cert, key *pem.Block) (tls.Certificate, error) {
	return tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key))
}
