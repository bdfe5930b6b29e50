package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) queueDrain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drain [DESTINATION]", Short: "Take nothing new for a stream, a destination or a route, and deliver what is there", Args: cobra.MaximumNArgs(1),
		Long: `Take nothing new for a stream, a destination or a route, and deliver what is there. A stream refuses
submissions; a destination, which is a domain, is refused at RCPT with a temporary code; a route is
left to the messages that can go by no other. With --wait the command ends when nothing is left: with
code 0, or with 75 when all that is left is held. It outlives a restart, until "queue resume", "stream
set --refuse-submissions=false" or "stream route resume".`,
		Example: "  mailchute queue drain --stream broadcast --dry-run\n  mailchute queue drain --stream broadcast --wait\n  mailchute queue drain example.org --why \"domain moves\"\n  mailchute queue drain --stream outbound --route 2 --wait",
	}
	v := &drainFlags{server: a.serverFlag(cmd), op: addOperationFlags(cmd)}
	cmd.Flags().StringVar(&v.stream, "stream", "", "this `stream`")
	cmd.Flags().StringVar(&v.route, "route", "", "this `route` of the stream, by its number")
	cmd.Flags().BoolVar(&v.wait, "wait", false, "end when nothing is left")
	a.completeFlag(cmd, "stream", a.completeStreams)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		d, err := v.drain(a, args)
		if err != nil {
			return err
		}
		return d.run(ctx, a, v)
	})
	return cmd
}

type drainFlags struct {
	server        *string
	stream, route string
	wait          bool
	op            *operation
}

// drain is one thing that is emptied.
type drain struct {
	on    string
	begin func(context.Context) error
	of    func(store.Lane) bool
	// left counts what else keeps it from being empty; nil for nothing.
	left func(context.Context) (int, error)
}

func (v *drainFlags) drain(a *admin, args []string) (*drain, error) {
	switch {
	case (len(args) == 1) == (v.stream != ""):
		return nil, usage("name a destination, or a stream with --stream")
	case len(args) == 1 && v.route != "":
		return nil, usage("--route needs --stream")
	case len(args) == 1:
		return v.destination(a, destinationName(args[0]))
	}
	_, s, err := streamOf(a.store.Snapshot(), *v.server, v.stream)
	if err != nil {
		return nil, err
	}
	if s.Paused {
		return nil, usage("stream %q is paused, so nothing of it is delivered: mailchute stream resume %s --server %d", s.ID, s.ID, s.Server)
	}
	if v.route != "" {
		return v.ofRoute(a, s)
	}
	return &drain{
		on: fmt.Sprintf("stream %s of server %d", s.ID, s.Server),
		begin: func(ctx context.Context) error {
			_, err := updateStream(ctx, a, *v.server, s.ID, func(s *store.Stream) error {
				s.IntakePaused, s.IntakePausedAt, s.IntakePausedWhy = true, a.now(), string(v.op.why)
				return nil
			})
			return err
		},
		of: func(l store.Lane) bool { return l.Server == s.Server && l.Stream == s.ID },
	}, nil
}

func (v *drainFlags) destination(a *admin, name string) (*drain, error) {
	if strings.Contains(name, ":") && !strings.HasPrefix(name, "[") {
		return nil, usage("%s is a smarthost: drain a route with --stream and --route, or pause the smarthost with \"queue pause\"", name)
	}
	if err := checkDestination(name); err != nil {
		return nil, err
	}
	return &drain{
		on: "destination " + name,
		begin: func(ctx context.Context) error {
			return a.putPause(ctx, store.Pause{Destination: name, Since: a.now(), Why: string(v.op.why), Drain: true})
		},
		of: func(l store.Lane) bool { return l.Destination == name },
	}, nil
}

func (v *drainFlags) ofRoute(a *admin, s store.Stream) (*drain, error) {
	n, err := routeAt(s, v.route)
	if err != nil {
		return nil, err
	}
	key, open := s.Routes()[n].Key(), 0
	for _, r := range s.Routes() {
		if r.Key() != key && r.Paused.IsZero() && r.Draining.IsZero() {
			open++
		}
	}
	if open == 0 {
		return nil, usage("stream %q has no other route that is open: drain the stream instead", s.ID)
	}
	pinned := func(ctx context.Context) (int, error) { return a.pinnedTo(ctx, s, key) }
	return &drain{
		on: fmt.Sprintf("route %s of stream %s of server %d", key, s.ID, s.Server),
		begin: func(ctx context.Context) error {
			_, err := updateStream(ctx, a, *v.server, s.ID, func(s *store.Stream) error {
				s.Alternates = append([]store.Route(nil), s.Alternates...)
				return editRoutes(s, v.route, func(routes []store.Route, i int) []store.Route {
					routes[i].Draining, routes[i].DrainingWhy = a.now(), string(v.op.why)
					return routes
				})
			})
			return err
		},
		of: func(store.Lane) bool { return false }, left: pinned,
	}, nil
}

// pinnedTo counts what must go by a route: what is under way on it, and what it may have delivered already.
func (a *admin) pinnedTo(ctx context.Context, s store.Stream, key string) (n int, err error) {
	if a.routes != nil {
		for _, r := range a.routes(store.StreamKey{Server: s.Server, Stream: s.ID}) {
			if r.Route == key {
				n += r.InFlight
			}
		}
	}
	f := store.Filter{Server: s.Server, Stream: s.ID, Queued: true}
	for cursor := ""; ; {
		page, next, err := a.store.List(ctx, f, cursor, pageSize)
		if err != nil {
			return n, fmt.Errorf("looking for what must go by the route: %w", err)
		}
		for _, r := range page {
			for _, d := range r.Deliveries {
				if !d.Done() && d.Stream == s.ID && d.Route == key && !d.Lease.After(a.now()) {
					n++
				}
			}
		}
		if cursor = next; cursor == "" {
			return n, nil
		}
	}
}

// remaining counts what is left, and how much of it is held.
func (d *drain) remaining(ctx context.Context, a *admin) (n, held int, err error) {
	if d.left != nil {
		n, err = d.left(ctx)
		return n, 0, err
	}
	lanes, err := a.store.Lanes(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("counting the queue: %w", err)
	}
	for _, l := range lanes {
		if d.of(l) {
			n, held = n+l.Deliveries, held+l.Held
		}
	}
	return n, held, nil
}

func (d *drain) run(ctx context.Context, a *admin, v *drainFlags) error {
	n, held, err := d.remaining(ctx, a)
	if err != nil || v.op.dry {
		return v.op.counted(a, err, "drain", d.on, n)
	}
	if v.wait && a.waiting == nil {
		return exitWith(exitUnavailable, "no server runs, so nothing would be delivered while you wait: leave --wait out")
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	if err := v.op.log(ctx, a, "drain", d.on, n, nil); err != nil {
		return err
	}
	if v.wait {
		return d.wait(ctx, a)
	}
	return orSay(a, nil, map[string]any{"draining": d.on, "deliveries": n, "held": held}, "Nothing new is taken for %s; %d deliveries are left, %d of them held.", d.on, n, held)
}

// How often the rest is counted while somebody waits, and told.
const (
	drainLook = 200 * time.Millisecond
	drainTell = 10 * time.Second
)

// wait ends when nothing is left that will leave by itself.
func (d *drain) wait(ctx context.Context, a *admin) error {
	began, told := time.Now(), time.Time{}
	for {
		n, held, err := d.remaining(ctx, a)
		switch {
		case err != nil:
			return err
		case n == 0:
			return orSay(a, nil, map[string]any{"drained": d.on, "held": 0}, "Drained: nothing is left for %s, after %s.", d.on, span(time.Since(began)))
		case n == held:
			return exitWith(exitBusy, "all %d deliveries that are left for %s are held: release or delete them", held, d.on)
		case time.Since(told) >= drainTell:
			told = time.Now()
			a.say("%d deliveries are left for %s, %d of them held.", n, d.on, held)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drainLook):
		}
	}
}
