package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) routeLimit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "limit STREAM ROUTE", Short: "Set the daily quota and the send rate of a route", Args: cobra.ExactArgs(2),
		Long: `Set the daily quota and the send rate of a route, by its number in the list. Both count recipients.
Streams with a route to the same user of the same host share the count of the day, as they share
the account there. What a route may not take goes by the next one of its stream, or waits.`,
		Example: "  mailchute stream route limit outbound 1 --daily-quota 50000 --rate 14/s\n  mailchute stream route limit outbound 1 --rate 0",
	}
	v := &routeFlags{cmd: cmd}
	addLimitFlags(cmd, v)
	cmd.MarkFlagsOneRequired("daily-quota", "rate")
	return a.routeCommand(cmd, func(_ *admin, s *store.Stream, args []string) error {
		var err error
		return firstError(editRoutes(s, args[0], func(routes []store.Route, i int) []store.Route {
			err = v.limits(&routes[i])
			return routes
		}), &err)
	})
}

// firstError returns err, or what second has become by then.
func firstError(err error, second *error) error {
	if err != nil {
		return err
	}
	return *second
}

func (a *app) routePause() *cobra.Command {
	return a.routeSwitch("pause", "Leave out a route for now; the others of the stream take over",
		func(r *store.Route, now time.Time, why string) { r.Paused, r.PausedWhy = now, why })
}

func (a *app) routeResume() *cobra.Command {
	return a.routeSwitch("resume", "Use a route again that was paused or drained",
		func(r *store.Route, _ time.Time, _ string) {
			r.Paused, r.PausedWhy, r.Draining, r.DrainingWhy = time.Time{}, "", time.Time{}, ""
		})
}

// routeSwitch is a command that pauses a route or undoes that.
func (a *app) routeSwitch(verb, short string, change func(*store.Route, time.Time, string)) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " STREAM ROUTE", Short: short, Args: cobra.ExactArgs(2),
		Example:           fmt.Sprintf("  mailchute stream route %s outbound 2", verb),
		ValidArgsFunction: a.completeStreams,
	}
	server := a.serverFlag(cmd)
	op := addOperationFlags(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		_, s, err := streamOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		at, err := routeAt(s, args[1])
		if err != nil {
			return err
		}
		on := fmt.Sprintf("route %s of stream %s of server %d", s.Routes()[at].Key(), s.ID, s.Server)
		n, err := countQueued(ctx, a, func(l store.Lane) bool { return l.Server == s.Server && l.Stream == s.ID })
		if err != nil || op.dry {
			return op.counted(a, err, verb, on, n)
		}
		s, err = updateStream(ctx, a, *server, args[0], func(s *store.Stream) error {
			return editRoutes(s, args[1], func(routes []store.Route, i int) []store.Route {
				change(&routes[i], a.now(), string(op.why))
				return routes
			})
		})
		if err != nil {
			return err
		}
		if err := op.log(ctx, a, verb, on, n, nil); err != nil {
			return err
		}
		return printRoutes(a, s)
	})
	return cmd
}

// namedRoute finds the key of a route by its number in the list, or by the key itself.
func namedRoute(s store.Stream, name string) (key string, ok bool) {
	if i, err := routeAt(s, name); err == nil {
		return s.Routes()[i].Key(), true
	}
	return name, slices.ContainsFunc(s.Routes(), func(r store.Route) bool { return r.Key() == name })
}
