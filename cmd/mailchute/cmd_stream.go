package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

func (a *app) streamCommand() *cobra.Command {
	return a.group("stream", "Streams: the queues of a server, each with its own mode and route",
		a.streamList(), a.streamCreate(), a.streamShow(), a.streamSet(), a.streamRoute(),
		a.streamSwitch("pause", "Stop delivering; submissions are taken and wait", "Paused", func(s *store.Stream, now time.Time, why string) { s.Paused, s.PausedAt, s.PausedWhy = true, now, why }),
		a.streamSwitch("resume", "Deliver again", "Resumed", func(s *store.Stream, _ time.Time, _ string) { s.Paused, s.PausedWhy = false, "" }),
		a.streamSwitch("archive", "Refuse submissions for good; what is queued is still delivered", "Archived", func(s *store.Stream, now time.Time, _ string) { s.Archived = now }),
		a.streamSwitch("unarchive", "Take submissions again", "Unarchived", func(s *store.Stream, _ time.Time, _ string) { s.Archived = time.Time{} }))
}

// serverFlag adds --server.
func (a *app) serverFlag(cmd *cobra.Command) *string {
	ref := cmd.Flags().String("server", "", "server, by `name` or number (default: the only one)")
	a.completeFlag(cmd, "server", a.completeServers)
	return ref
}

func (a *app) streamList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the streams of a server", Args: noArgs,
		Example: "  mailchute stream list\n  mailchute stream list --server \"Web shop\"",
	}
	server := a.serverFlag(cmd)
	cmd.RunE = a.admin(func(_ context.Context, a *admin, _ []string) error {
		snap := a.store.Snapshot()
		v, err := serverOf(snap, *server)
		if err != nil {
			return err
		}
		streams := snap.StreamsOf(v.ID)
		return a.print(streams, func() error { return printStreams(a, streams) })
	})
	return cmd
}

func printStreams(a *admin, streams []store.Stream) error {
	t := newTable(a.out, "STREAM", "KIND", "MODE", "ROUTE", "WEIGHT", "STATE", "NAME")
	for _, s := range streams {
		t.row(s.ID, s.Kind, dash(string(s.Mode)), route(s), weight(s), streamState(s), s.Name)
	}
	return t.flush()
}

func weight(s store.Stream) any {
	switch {
	case !s.Outbound():
		return "-"
	case s.Weight == 0:
		return 10
	}
	return s.Weight
}

func route(s store.Stream) string {
	switch {
	case !s.Outbound():
		return "-"
	case s.Mode == store.ModeCapture:
		return "(kept here)"
	}
	by := how(s.Route)
	if n := len(s.Alternates); n > 0 {
		by += fmt.Sprintf(" (and %d more)", n)
	}
	if s.Mode == store.ModeRedirect {
		return "all to " + s.RedirectTo + " by " + by
	}
	return by
}

func dedupeText(d time.Duration) string {
	if d == 0 {
		return "no"
	}
	return "for " + d.String()
}

func routeTLS(r store.Route) store.TLSMode {
	switch {
	case r.TLS != "":
		return r.TLS
	case r.Smarthost():
		return store.TLSStartTLS
	}
	return store.TLSOpportunistic
}

func streamState(s store.Stream) string {
	switch {
	case !s.Archived.IsZero():
		return "archived"
	case s.Paused && s.IntakePaused:
		return "paused, refusing"
	case s.Paused:
		return "paused"
	case s.IntakePaused:
		return "refusing"
	}
	return "active"
}

// streamFlags are what create and set have in common.
type streamFlags struct {
	name, description, mode, redirect, unsubscribe, uncertain            string
	intakePaused, refuseBareLF, requireDKIM, keepSender, suppressBounces bool
	route                                                                *routeFlags
	weight                                                               int
	sources                                                              []string
	dedupe                                                               time.Duration
	cmd                                                                  *cobra.Command
}

func addStreamFlags(cmd *cobra.Command) *streamFlags {
	v := &streamFlags{cmd: cmd}
	f := cmd.Flags()
	f.StringVar(&v.name, "name", "", "`name` for people")
	f.StringVar(&v.description, "description", "", "what it is for")
	f.StringVar(&v.mode, "mode", "", "`mode`: live, capture or redirect")
	f.StringVar(&v.redirect, "redirect-to", "", "`address` that gets all mail in mode redirect")
	v.route = addRouteFlags(cmd)
	f.StringSliceVar(&v.sources, "source", nil, "send from this local `address`, or address=name with the name for EHLO; repeatable, in turns; \"\" for any")
	f.IntVar(&v.weight, "weight", 10, "share between streams, 1 to 100")
	f.BoolVar(&v.intakePaused, "refuse-submissions", false, "refuse submissions for now (=false: take them)")
	f.StringVar(&v.uncertain, "uncertain", "", "what becomes of mail that may have been delivered, after a crash or a lost answer to the final dot: `resend` (default) or hold")
	f.DurationVar(&v.dedupe, "dedupe", 0, "recognise what is submitted again within this `time`, up to 168h, and store it once; 0 for never")
	f.BoolVar(&v.refuseBareLF, "refuse-bare-lf", false, "refuse messages with bare LF instead of repairing them (=false: repair)")
	f.BoolVar(&v.requireDKIM, "require-dkim", false, "let mail wait that cannot be signed (=false: send it unsigned)")
	f.BoolVar(&v.keepSender, "keep-sender", false, "leave the client's envelope sender, also with bounces.host (=false: use a return path of ours)")
	f.BoolVar(&v.suppressBounces, "suppress-bounces", true, "suppress addresses that bounced hard (=false: keep writing to them)")
	f.StringVar(&v.unsubscribe, "unsubscribe", "", "how recipients `leave`: hosted (by a link of ours in the header), custom or none (by the client's own), default (hosted for broadcast)")
	return v
}

// apply puts what was asked for into the stream. Paths count from the caller's
// directory.
func (v *streamFlags) apply(s *store.Stream, now time.Time, abs func(string) string) error {
	f := v.cmd.Flags()
	set(f.Changed("name"), &s.Name, v.name)
	set(f.Changed("description"), &s.Description, v.description)
	set(f.Changed("mode"), &s.Mode, store.StreamMode(v.mode))
	set(f.Changed("weight"), &s.Weight, v.weight)
	if f.Changed("refuse-submissions") {
		s.IntakePaused, s.IntakePausedAt, s.IntakePausedWhy = v.intakePaused, time.Time{}, ""
		if v.intakePaused {
			s.IntakePausedAt = now
		}
	}
	set(f.Changed("uncertain"), &s.Uncertain, store.UncertainPolicy(v.uncertain))
	set(f.Changed("dedupe"), &s.Dedupe, v.dedupe)
	set(f.Changed("refuse-bare-lf"), &s.RefuseBareLF, v.refuseBareLF)
	set(f.Changed("require-dkim"), &s.RequireDKIM, v.requireDKIM)
	set(f.Changed("keep-sender"), &s.KeepSender, v.keepSender)
	set(f.Changed("suppress-bounces"), &s.IgnoreBounces, !v.suppressBounces)
	if f.Changed("unsubscribe") {
		s.Unsubscribe = store.Unsubscribe(v.unsubscribe)
		if v.unsubscribe == "default" {
			s.Unsubscribe = ""
		}
	}
	if f.Changed("redirect-to") {
		address, err := message.ParsePath(v.redirect, true)
		if err != nil {
			return usage("--redirect-to: %v", err)
		}
		s.RedirectTo = address.String()
	}
	if s.Mode == store.ModeRedirect && s.RedirectTo == "" {
		return usage("--mode redirect needs the address that gets the mail: --redirect-to")
	}
	if f.Changed("source") {
		list, err := parseSources(v.sources)
		if err != nil {
			return err
		}
		s.Sources = list
	}
	return v.route.apply(&s.Route, abs)
}

func (a *app) streamCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create STREAM", Short: "Create an outbound stream", Args: cobra.ExactArgs(1),
		Example: `  mailchute stream create receipts --mode live --smarthost smtp.example.com:587 \
      --username shop --password-file /etc/mailchute/shop.pw
  mailchute stream create newsletter --kind broadcast --mode capture`,
	}
	server := a.serverFlag(cmd)
	flags := addStreamFlags(cmd)
	kind := cmd.Flags().String("kind", "transactional", "`kind`: transactional or broadcast")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		s := store.Stream{ID: args[0], Name: args[0], Kind: store.StreamKind(*kind), Mode: store.ModeCapture, Created: a.now()}
		if !s.Outbound() {
			return usage("--kind: %q is neither transactional nor broadcast", *kind)
		}
		if err := flags.apply(&s, s.Created, a.abs); err != nil {
			return err
		}
		return createStream(ctx, a, *server, s)
	})
	return cmd
}

func createStream(ctx context.Context, a *admin, serverRef string, s store.Stream) error {
	_, err := store.Update(ctx, a.store, func(snap *store.Snapshot) ([]store.Change, error) {
		server, err := serverOf(snap, serverRef)
		if err != nil {
			return nil, err
		}
		s.Server = server.ID
		if _, there := snap.Streams[store.StreamKey{Server: s.Server, Stream: s.ID}]; there {
			return nil, fmt.Errorf("stream %q of server %q: %w", s.ID, server.Name, store.ErrExists)
		}
		return []store.Change{{Stream: &s}}, nil
	})
	if err != nil {
		return fmt.Errorf("creating stream: %w", err)
	}
	return a.print(s, func() error {
		a.say("Created the %s stream %q on server %d: mode %s, route %s.", s.Kind, s.ID, s.Server, s.Mode, route(s))
		return nil
	})
}

func (a *app) streamShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show STREAM", Short: "Show one stream with its queue", Args: cobra.ExactArgs(1),
		Example:           "  mailchute stream show outbound",
		ValidArgsFunction: a.completeStreams,
	}
	server := a.serverFlag(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		_, s, err := streamOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		return showStream(ctx, a, s)
	})
	return cmd
}

type streamView struct {
	store.Stream
	Lanes []store.Lane `json:"lanes"`
}

func showStream(ctx context.Context, a *admin, s store.Stream) error {
	all, err := a.store.Lanes(ctx)
	if err != nil {
		return fmt.Errorf("counting the queue: %w", err)
	}
	view := streamView{Stream: s, Lanes: []store.Lane{}}
	for _, l := range all {
		if l.Server == s.Server && l.Stream == s.ID {
			view.Lanes = append(view.Lanes, l)
		}
	}
	return a.print(view, func() error {
		t := newTable(a.out)
		t.row("Stream", s.ID)
		t.row("Name", s.Name)
		t.row("Description", dash(s.Description))
		t.row("Kind", s.Kind)
		t.row("Mode", dash(string(s.Mode)))
		t.row("Route", route(s))
		if len(s.Sources) > 0 {
			t.row("Sources", sourceText(s.Sources))
		}
		t.row("Weight", weight(s))
		t.row("DKIM required", s.RequireDKIM)
		t.row("State", streamState(s))
		if s.Outbound() {
			t.row("Suppresses hard bounces", !s.IgnoreBounces)
			t.row("Uncertain deliveries", cmp.Or(s.Uncertain, store.UncertainResend))
			t.row("Recognises repetitions", dedupeText(s.Dedupe))
			t.row("Unsubscribe", unsubscribeText(s, a.cfg))
		}
		t.row("Created", s.Created)
		if err := t.flush(); err != nil || !s.Outbound() {
			return err
		}
		a.say("")
		return printLanes(a, view.Lanes)
	})
}

func unsubscribeText(s store.Stream, cfg Config) string {
	handling := s.Unsubscribes()
	if handling == store.UnsubscribeHosted && cfg.Unsubscribe.URL == "" {
		return "hosted, but unsubscribe.url is not configured: the client's own header stays"
	}
	return string(handling)
}

func (a *app) streamSet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set STREAM", Short: "Change a stream's mode, route or limits", Args: cobra.ExactArgs(1),
		Example: `  mailchute stream set outbound --mode live --mx
  mailchute stream set outbound --mode live --smarthost smtp.example.com:587 --username u --password-file /etc/mailchute/pw
  mailchute stream set outbound --mode redirect --redirect-to dev@example.com
  mailchute stream set broadcast --weight 2`,
		ValidArgsFunction: a.completeStreams,
	}
	server := a.serverFlag(cmd)
	flags := addStreamFlags(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		s, err := updateStream(ctx, a, *server, args[0], func(s *store.Stream) error {
			s.Edited = a.now()
			return flags.apply(s, s.Edited, a.abs)
		})
		if err != nil {
			return err
		}
		return a.print(s, func() error {
			a.say("Stream %q: mode %s, route %s, weight %v, %s.", s.ID, dash(string(s.Mode)), route(s), weight(s), streamState(s))
			return nil
		})
	})
	return cmd
}

func updateStream(ctx context.Context, a *admin, serverRef, id string, change func(*store.Stream) error) (store.Stream, error) {
	var s store.Stream
	_, err := store.Update(ctx, a.store, func(snap *store.Snapshot) ([]store.Change, error) {
		var err error
		if _, s, err = streamOf(snap, serverRef, id); err != nil {
			return nil, err
		}
		if err := change(&s); err != nil {
			return nil, err
		}
		return []store.Change{{Stream: &s}}, nil
	})
	if err != nil {
		return s, fmt.Errorf("changing stream: %w", err)
	}
	return s, nil
}

// streamSwitch is a command that flips one thing.
func (a *app) streamSwitch(verb, short, done string, change func(*store.Stream, time.Time, string)) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " STREAM", Short: short, Args: cobra.ExactArgs(1),
		Example:           fmt.Sprintf("  mailchute stream %s broadcast", verb),
		ValidArgsFunction: a.completeStreams,
	}
	server, op := a.serverFlag(cmd), addOperationFlags(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		_, s, err := streamOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		on := fmt.Sprintf("stream %s of server %d", s.ID, s.Server)
		n, err := countQueued(ctx, a, func(l store.Lane) bool { return l.Server == s.Server && l.Stream == s.ID })
		if err != nil || op.dry {
			return op.counted(a, err, verb, on, n)
		}
		s, err = updateStream(ctx, a, *server, args[0], func(s *store.Stream) error {
			change(s, a.now(), string(op.why))
			return nil
		})
		if err == nil {
			err = op.log(ctx, a, verb, on, n, nil)
		}
		if err != nil {
			return err
		}
		return a.print(s, func() error {
			a.say("%s stream %q of server %d; it is now %s.", done, s.ID, s.Server, streamState(s))
			return nil
		})
	})
	return cmd
}
