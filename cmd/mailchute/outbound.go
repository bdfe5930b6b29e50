package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/relay/mtasts"
)

// outbound is what delivery keeps beside the store: the TLS policies of other
// domains.
type outbound struct {
	sts *mtasts.Cache // nil: MTA-STS is switched off
	log *slog.Logger
}

func openOutbound(cfg Config, log *slog.Logger) (*outbound, error) {
	o := &outbound{log: log.With("part", "relay")}
	if !cfg.Delivery.MTASTS {
		return o, nil
	}
	roots, err := rootCAs("delivery.ca_file", cfg.Delivery.CAFile)
	if err != nil {
		return nil, err
	}
	opts := mtasts.Options{RootCAs: roots, Logger: o.log}
	if cfg.Delivery.AllowPrivate {
		opts.Permit = func(netip.Addr) bool { return true }
	}
	if address := cfg.Delivery.Resolver; address != "" {
		r := nameServerAt(address)
		opts.LookupTXT, opts.Dial = r.LookupTXT, dialer(r.R, cfg.Delivery.AllowPrivate)
	}
	if o.sts, err = mtasts.Open(filepath.Join(cfg.DataDir, "mta-sts"), opts); err != nil {
		return nil, &exitError{openCode(err), fmt.Errorf("opening the MTA-STS policies: %w", err)}
	}
	return o, nil
}

// apply makes the policies part of delivery. cfg has the addresses that are really listened on.
func (o *outbound) apply(cfg Config, opts *relay.Options) error {
	if o.sts != nil {
		opts.STS = o.sts
	}
	for _, l := range cfg.SMTP.Listeners {
		if a, err := netip.ParseAddrPort(l.Address); err == nil { // the address of a bound socket
			opts.Listeners = append(opts.Listeners, a)
		}
	}
	if !cfg.Delivery.ResolverTrusted {
		return nil
	}
	d := dane.Options{Trusted: true}
	if cfg.Delivery.Resolver != "" {
		d.Servers = []string{cfg.Delivery.Resolver}
	}
	r, err := dane.New(d)
	if err != nil {
		return exitWith(exitConfig, "delivery.resolver: %w", err)
	}
	opts.DANE = r
	return nil
}

const refreshEvery = time.Hour

// Run keeps the policies fresh until ctx ends.
func (o *outbound) Run(ctx context.Context) error {
	for o.sts != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(refreshEvery):
		}
		if err := o.sts.Refresh(ctx, time.Now()); err != nil && ctx.Err() == nil {
			o.log.Warn("MTA-STS policies not refreshed", "err", err)
		}
	}
	return nil
}

func (o *outbound) close() error {
	if o == nil || o.sts == nil {
		return nil
	}
	return o.sts.Close()
}

// dialer resolves names as delivery does. The addresses are chosen by strangers,
// so special ones are refused unless allowed.
func dialer(r *net.Resolver, private bool) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{Resolver: r, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !private && message.PrivateIP(ap.Addr().Unmap()) {
			return fmt.Errorf("%s is not a public address", ap.Addr())
		}
		return nil
	}}
	return d.DialContext
}
