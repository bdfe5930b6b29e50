package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/mailchute/mailchute/api/openapi"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// Verifier tells who a token belongs to. Its errors are those of auth.Verifier.
type Verifier interface {
	ServerToken(ctx context.Context, from netip.Addr, token string) (auth.Principal, error)
	AccountToken(ctx context.Context, from netip.Addr, token string) (auth.Principal, error)
}

// Submitter takes messages: intake.Intake.
type Submitter interface {
	Submit(ctx context.Context, e intake.Envelope, content io.Reader) (store.ID, error)
	Earlier(ctx context.Context, server int64, r intake.Request) (store.ID, error)
}

// Store is what the API reads and writes beside mail.
type Store interface {
	store.Directory
	store.Suppressions
	store.Bounces
	Record(ctx context.Context, id store.ID) (store.Record, error)
	Stats(ctx context.Context, f store.StatsFilter) ([]store.Day, error)
	Search(ctx context.Context, f store.Filter, offset, limit int) ([]store.Record, int, error)
	Body(ctx context.Context, id store.ID) (io.ReadCloser, error)
	NotificationQueues(ctx context.Context, webhooks ...int64) ([]store.NotificationQueue, error)
	DeadNotifications(ctx context.Context, webhook int64, cursor string, limit int) ([]store.Notification, string, error)
	ReplayNotifications(ctx context.Context, webhook int64, now time.Time, keys ...string) (int, error)
}

// Server answers the API. It is safe for concurrent use.
type Server struct {
	store    Store
	keyring  *auth.Keyring
	verifier Verifier
	intake   Submitter
	opts     Options
	bodies   *semaphore.Weighted // octets of bodies in memory
	untrue   *semaphore.Weighted // the same for callers without a token
	shares   shares              // of bodies
	searches searches
	mux      *http.ServeMux
	limits   *limiter
	document func() ([]byte, error) // of OpenAPI
}

// New returns a Server. The keyring opens the server tokens that answers show.
func New(s Store, k *auth.Keyring, v Verifier, in Submitter, opts Options) *Server {
	opts = opts.withDefaults()
	server := &Server{
		store: s, keyring: k, verifier: v, intake: in, opts: opts,
		bodies: semaphore.NewWeighted(opts.MaxBodies), untrue: semaphore.NewWeighted(opts.MaxBatch * heldOctets),
		limits: newLimiter(opts.Rate), document: sync.OnceValues(openapi.JSON),
	}
	server.mux = server.newMux()
	return server
}

// Listener is an address to serve, in TLS from the first octet where TLS is set.
type Listener struct {
	net.Listener
	TLS *tls.Config
}

// Limits of a request that come before any handler (RFC 9110 gives no numbers).
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	maxTarget     = 8 << 10
)

// Run serves until ctx ends. It then takes no new connection, lets requests
// under way finish within the grace time, and returns nil. It closes the
// listeners.
func (s *Server) Run(ctx context.Context, listeners ...Listener) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, ReadTimeout: s.opts.ReadTimeout, WriteTimeout: s.opts.ReadTimeout + s.opts.WriteTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, Protocols: &protocols, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error { return serveOne(srv, l, s.opts.MaxConns) })
	}
	g.Go(func() error {
		<-ctx.Done()
		return s.stop(srv)
	})
	return g.Wait()
}

func serveOne(srv *http.Server, l Listener, most int) error {
	limited := netutil.LimitListener(l.Listener, most)
	if l.TLS != nil {
		limited = tls.NewListener(limited, l.TLS)
	}
	if err := srv.Serve(limited); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the API on %s: %w", l.Addr(), err)
	}
	return nil
}

func (s *Server) stop(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Grace)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		s.opts.Log.Warn("API requests cut off", "err", err)
		return srv.Close()
	}
	return nil
}
