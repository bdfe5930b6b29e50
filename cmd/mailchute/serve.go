package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/api/unsubscribe"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/smtpd"
	"github.com/mailchute/mailchute/webhook"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: noArgs,
		Long: `Run the server until SIGINT or SIGTERM. It then takes nothing new, finishes what is in its final
dot, and ends; a second signal ends it at once. SIGHUP reads the configuration and the
certificate files again.

In an empty directory it makes everything it needs and prints what to paste into your client.`,
		Example: `  mailchute serve
  mailchute serve --config /etc/mailchute.yaml
  mailchute serve --data /var/lib/mailchute --listen 127.0.0.1:587 --listen 127.0.0.1:465/implicit`,
	}
	cmd.Flags().StringSlice("listen", nil, "`address` to listen on, with /starttls (default), /implicit or /none; repeatable")
	cmd.Flags().String("hostname", "", "our `name` in greetings and trace fields")
	cmd.Flags().String("log-level", "", "`level`: debug, info, warn, error")
	cmd.RunE = a.local(func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		log, level := newLogger(cfg.Log, a.errout)
		s, err := openServer(cfg, log)
		if err != nil {
			return err
		}
		if err := s.firstRun(cmd.Context(), a.out); err != nil {
			return errors.Join(err, s.close())
		}
		s.reload = func() (Config, error) { return a.config(cmd) }
		s.level = level
		return s.run(cmd.Context())
	})
	return cmd
}

// server is everything that runs.
type server struct {
	loaded   Config
	cfg      Config // loaded, with the addresses really listened on
	log      *slog.Logger
	files    *files
	cert     *certificate
	verifier *auth.Verifier
	smtp     []submission
	api      *api.Server
	relay    *relay.Dispatcher
	domains  *domains.Keeper
	outbound *outbound
	control  *control
	webhooks *webhook.Sender
	reload   func() (Config, error) // nil: SIGHUP does nothing
	level    *slog.LevelVar

	apiListeners []api.Listener

	tlsCounts  *tlsrpt.Recorder // nil: no reports
	tlsReports *tlsrpt.Reporter // likewise

	unsubscribe          *unsubscribe.Handler // nil: no hosted links
	unsubscribeListeners []unsubscribe.Listener
}

// submission is a submission server with its listeners.
type submission struct {
	*smtpd.Server
	listeners []smtpd.Listener
}

// openServer wires everything together, from the store outward. Nothing is
// served before run.
func openServer(cfg Config, log *slog.Logger) (_ *server, err error) {
	s := &server{loaded: cfg, cfg: cfg, log: log}
	if s.files, err = openOrCreate(cfg, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	db, keyring := s.files.store, s.files.keyring
	if err := keyring.Check(db.Snapshot()); err != nil {
		return nil, exitWith(exitConfig, "key_file: %w; put the right file back, or give up what it cannot open with \"mailchute key reset --yes\"", err)
	}
	if s.cert, err = openCertificate(cfg, log); err != nil {
		return nil, err
	}
	s.verifier = auth.NewVerifier(db, keyring, verifierOptions(cfg))
	hopeless := relay.NewDomainBook(nil)
	in := intake.New(db, db, intakeOptions(cfg, db, db, hopeless))
	if err := s.openListeners(in); err != nil {
		return nil, err
	}
	hooks, err := cfg.Webhooks.options(log.With("part", "webhook"), cfg.Delivery.Resolver)
	if err != nil {
		return nil, err
	}
	s.webhooks = webhook.New(db, keyring, hooks)
	if err := s.openUnsubscribe(); err != nil {
		return nil, err
	}
	s.domains = domains.NewKeeper(db, keyring, domainsOptions(cfg, log))
	if err := s.openAPI(in); err != nil {
		return nil, err
	}
	if err := s.openBounces(); err != nil {
		return nil, err
	}
	if err := s.openRelay(hopeless); err != nil {
		return nil, err
	}
	live := newAdmin(s.files, s.cfg)
	live.waiting, live.sites, live.revive, live.clock = s.relay.Waiting, s.relay.Sites, s.relay.Revive, s.relay.ClockFault
	live.routes, live.sitesOf = s.relay.Routes, s.relay.SitesOf
	if s.tlsCounts != nil {
		live.tlsReports = s.tlsCounts.Reports
	}
	s.control, err = listenControl(s.cfg, live, log.With("part", "control"))
	return s, err
}

// openRelay makes the way out.
func (s *server) openRelay(hopeless *relay.DomainBook) error {
	db, keyring := s.files.store, s.files.keyring
	out, err := relayOptions(s.cfg, s.log, db, domains.NewSigner(db, keyring, domains.SignerOptions{}))
	if err != nil {
		return err
	}
	if s.outbound, err = openOutbound(s.cfg, s.log); err != nil {
		return err
	}
	if err := s.outbound.apply(s.cfg, &out); err != nil {
		return err
	}
	out.Domains = hopeless
	out.ReturnPath, out.Unsubscribe = s.returnPath(), s.links().Fields
	out.Suppressor, out.Suppressions, out.Notes = suppressor{directory: db, lists: db}, db, db
	if err := s.openTLSReports(&out); err != nil {
		return err
	}
	if s.relay, err = relay.New(db, db, out); err != nil {
		return &exitError{exitConfig, fmt.Errorf("delivery: %w", err)}
	}
	return nil
}

// openListeners binds the addresses where clients submit.
func (s *server) openListeners(in smtpd.Submitter) error {
	s.cfg.SMTP.Listeners = slices.Clone(s.cfg.SMTP.Listeners)
	opts := smtpdOptions(s.cfg, s.log, s.cert.config(), s.files.store.Healthy)
	return s.listen("smtp.listeners", s.cfg.SMTP.Listeners, opts, func(o smtpd.Options) (*smtpd.Server, error) {
		return smtpd.New(s.verifier, in, o)
	})
}

// listen binds addresses and notes in list which they really are. Those
// without TLS get a server of their own, which offers no STARTTLS and counts
// its connections apart.
func (s *server) listen(key string, list []ListenerConfig, secure smtpd.Options, open func(smtpd.Options) (*smtpd.Server, error)) error {
	plain := secure
	plain.TLS = nil
	groups := []struct {
		opts      smtpd.Options
		listeners []smtpd.Listener
	}{{opts: secure}, {opts: plain}}
	for i, c := range list {
		l, err := net.Listen("tcp", c.Address)
		if err != nil {
			closeListeners(groups[0].listeners, groups[1].listeners)
			return &exitError{listenCode(err), fmt.Errorf("%s[%d].address: %w", key, i, err)}
		}
		list[i].Address = l.Addr().String()
		g := &groups[0]
		if c.TLS == tlsNone {
			g = &groups[1]
		}
		g.listeners = append(g.listeners, smtpd.Listener{Listener: l, ImplicitTLS: c.TLS == tlsImplicit, ProxyFrom: c.ProxyFrom})
	}
	for _, g := range groups {
		if len(g.listeners) == 0 {
			continue
		}
		srv, err := open(g.opts)
		if err != nil {
			closeListeners(groups[0].listeners, groups[1].listeners)
			return &exitError{exitConfig, fmt.Errorf("%s: %w", key, err)}
		}
		s.smtp = append(s.smtp, submission{srv, g.listeners})
	}
	return nil
}

func listenCode(err error) int {
	if errors.Is(err, os.ErrPermission) {
		return exitPermission
	}
	return exitConfig
}

func closeListeners(groups ...[]smtpd.Listener) {
	for _, g := range groups {
		for _, l := range g {
			_ = l.Close() // nothing was accepted yet
		}
	}
}

// run serves until ctx ends, and then stops in the order in which mail flows:
// listeners and sessions, dispatcher, store. What fails first stops the rest.
func (s *server) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	defer runtime.KeepAlive(reserveHeadroom())
	spareProcessor()
	g, ctx := errgroup.WithContext(ctx)
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	hangup := make(chan struct{}, 1)
	g.Go(func() error { return s.control.Run(ctx) })
	g.Go(func() error { return s.cert.Run(ctx, hangup) })
	g.Go(func() error { return s.hangups(ctx, hangup) })
	g.Go(func() error { return s.retain(ctx) })
	g.Go(func() error { return s.domains.Run(ctx) })
	g.Go(func() error { return ended(ctx, "webhook sender", s.webhooks.Run(ctx)) })
	g.Go(func() error { return s.outbound.Run(ctx) })
	g.Go(func() error { return faulted(ctx, s.files.store.Fault()) })
	g.Go(func() error {
		defer stopBehind() // the dispatcher works until no session can hand it more
		return s.submissions(ctx)
	})
	g.Go(func() error { return ended(behind, "credential verifier", s.verifier.Run(behind)) })
	if s.tlsCounts != nil {
		g.Go(func() error { return s.tlsReports.Run(ctx) })
		g.Go(func() error { return s.tlsCounts.Run(behind) })
	}
	g.Go(func() error { return ended(behind, "dispatcher", s.relay.Run(behind)) })
	s.announce()
	err = g.Wait()
	s.log.Info("stopped")
	return err
}

// announce logs where everything listens, and what will be missed when it is needed.
func (s *server) announce() {
	s.log.Info("serving", "data", s.cfg.DataDir, "hostname", hostname(s.cfg), "listeners", s.cfg.SMTP.addresses(), "api", s.cfg.API.addresses(),
		"bounces", SMTPConfig{Listeners: s.cfg.Bounces.Listeners}.addresses(), "unsubscribe", APIConfig{Listeners: s.cfg.Unsubscribe.Listeners}.addresses(),
		"control", s.control.path)
	if err := missingStreams(s.cfg, s.files.store.Snapshot()); err != nil {
		s.log.Warn("the configuration names a stream that is not there", "err", err)
	}
}

// ended makes an error of a part that returned before it was told to.
func ended(ctx context.Context, part string, err error) error {
	if err == nil && ctx.Err() == nil {
		return fmt.Errorf("%s ended by itself", part)
	}
	return err
}

func (s *server) submissions(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, sub := range s.smtp {
		g.Go(func() error { return sub.Run(ctx, sub.listeners...) })
	}
	g.Go(func() error { return s.api.Run(ctx, s.apiListeners...) })
	if s.unsubscribe != nil {
		g.Go(func() error { return s.unsubscribe.Run(ctx, s.unsubscribeListeners...) })
	}
	return g.Wait()
}

// faulted ends the process when the store cannot go on: a fresh one recovers
// what is durable.
func faulted(ctx context.Context, faults <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-faults:
		return &exitError{exitIO, fmt.Errorf("the store has stopped; start again: %w", err)}
	}
}

const retainEvery = time.Hour

// retain forgets what is older than the retention time. What the clock has jumped
// ahead makes nothing older.
func (s *server) retain(ctx context.Context) error {
	r := retention{store: s.files.store, jumped: s.relay.Jumped, log: s.log}
	r.keep = time.Duration(failpoint.Tune(failpoint.RetentionNanos, int64(s.cfg.Storage.Retention)))
	r.every = time.Duration(failpoint.Tune(failpoint.RetainNanos, int64(retainEvery)))
	return r.run(ctx)
}

type retention struct {
	store interface {
		Prune(ctx context.Context, before time.Time) (int, error)
	}
	jumped      func() time.Duration
	log         *slog.Logger
	keep, every time.Duration
}

func (r *retention) run(ctx context.Context) error {
	for {
		n, err := r.store.Prune(ctx, time.Now().Add(-r.keep-r.jumped()))
		switch {
		case err != nil && ctx.Err() == nil:
			r.log.Error("old messages not removed", "err", err)
		case n > 0:
			r.log.Info("old messages removed", "messages", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(r.every):
		}
	}
}

// hangups applies on SIGHUP what can be changed while running.
func (s *server) hangups(ctx context.Context, certs chan<- struct{}) error {
	if s.reload == nil {
		return nil
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		s.applyReload()
		select {
		case certs <- struct{}{}:
		default: // it has yet to look after the last one
		}
	}
}

func (s *server) applyReload() {
	fresh, err := s.reload()
	if err != nil {
		s.log.Error("configuration not reloaded, the old one stays", "err", err)
		return
	}
	setLevel(s.level, fresh.Log)
	s.log.Info("configuration reloaded", "needs_restart", changedKeys(s.loaded, fresh))
}

// close closes what openServer opened, in reverse order. It can be called after
// a partial opening.
func (s *server) close() error {
	if s.control != nil {
		_ = s.control.listener.Close() // Run has closed it, except where it never ran
	}
	for _, sub := range s.smtp {
		closeListeners(sub.listeners)
	}
	s.closeAPI()
	s.closeUnsubscribe()
	return errors.Join(s.outbound.close(), s.files.close())
}

// newLogger logs to w. Its level can be changed while running.
func newLogger(cfg LogConfig, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	setLevel(level, cfg)
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), level
	}
	return slog.New(slog.NewTextHandler(w, opts)), level
}

func setLevel(v *slog.LevelVar, cfg LogConfig) {
	var l slog.Level
	if l.UnmarshalText([]byte(cfg.Level)) == nil { // Validate has seen it
		v.Set(l)
	}
}
