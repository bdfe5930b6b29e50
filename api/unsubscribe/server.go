package unsubscribe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// Listener is an address to serve, in TLS from the first octet where TLS is set.
type Listener struct {
	net.Listener
	TLS *tls.Config
}

const (
	requestTime = 15 * time.Second // for a request with its body
	answerTime  = 2 * actTime
	idleTime    = 30 * time.Second
	maxHeader   = 16 << 10
	maxConns    = 1000 // of one listener
	stopTime    = 10 * time.Second
)

// Run serves on listeners of its own until ctx ends, lets requests under way finish, and returns nil. It closes the
// listeners. Without one it waits for ctx.
func (h *Handler) Run(ctx context.Context, listeners ...Listener) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: requestTime + answerTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(h.opts.Log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		limited := netutil.LimitListener(l.Listener, maxConns)
		if l.TLS != nil {
			limited = tls.NewListener(limited, l.TLS)
		}
		g.Go(func() error {
			if err := srv.Serve(limited); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving unsubscriptions on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if srv.Shutdown(bounded) != nil {
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}
