package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

// maxPauses bounds a list that every snapshot carries.
const maxPauses = 1000

func (a *app) queuePause() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pause DESTINATION", Short: "Deliver nothing to a destination for now, from any stream", Args: cobra.ExactArgs(1),
		Long: `Deliver nothing to a destination for now, from any stream; mail for it is taken and waits. What is
under way ends normally. The destination is a domain, a smarthost as host:port, or a site as "queue
sites" names it. A stream that has another route than a paused smarthost uses that. The pause
outlives a restart. See also "stream pause" and "stream route pause".`,
		Example: "  mailchute queue pause example.org --dry-run\n  mailchute queue pause example.org --why \"they migrate today\"",
	}
	op := addOperationFlags(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		p := store.Pause{Destination: destinationName(args[0]), Since: a.now(), Why: string(op.why)}
		if err := checkDestination(p.Destination); err != nil {
			return err
		}
		n, err := a.queuedFor(ctx, p.Destination)
		if err != nil || op.dry {
			return op.counted(a, err, "pause", p.Destination, n)
		}
		if err = a.putPause(ctx, p); err == nil {
			err = op.log(ctx, a, "pause", p.Destination, n, nil)
		}
		return orSay(a, err, p, "Paused %[2]s; %[1]d deliveries to it wait. To go on: mailchute queue resume %[2]s", n, p.Destination)
	})
	return cmd
}

// destinationName is a destination as pauses and lanes name it.
func destinationName(arg string) string { return strings.ToLower(strings.TrimSuffix(arg, ".")) }

// maxDestination bounds the name of a destination, in octets: a site names all of its hosts.
const maxDestination = 300

func checkDestination(name string) error {
	if name == "" || len(name) > maxDestination || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return usage("%q is no destination: name a domain, a smarthost as host:port, or a site", name)
	}
	return nil
}

// putPause puts a pause or a drain in the place of what there was for the destination.
func (a *admin) putPause(ctx context.Context, p store.Pause) error {
	return a.changePauses(ctx, func(all []store.Pause) ([]store.Pause, error) {
		all = slices.DeleteFunc(all, func(o store.Pause) bool { return o.Destination == p.Destination })
		if len(all) >= maxPauses {
			return nil, fmt.Errorf("%d destinations are paused already: %w", maxPauses, store.ErrLimit)
		}
		return append(all, p), nil
	})
}

func (a *app) queueResume() *cobra.Command {
	cmd := &cobra.Command{
		Use: "resume DESTINATION", Short: "Go on with a destination that was paused or drained", Args: cobra.ExactArgs(1),
		Example: "  mailchute queue resume example.org",
	}
	op := addOperationFlags(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		name := destinationName(args[0])
		n, err := a.queuedFor(ctx, name)
		if err != nil || op.dry {
			return op.counted(a, err, "resume", name, n)
		}
		err = a.changePauses(ctx, func(all []store.Pause) ([]store.Pause, error) {
			left := slices.DeleteFunc(slices.Clone(all), func(o store.Pause) bool { return o.Destination == name })
			if len(left) == len(all) {
				return nil, fmt.Errorf("pause of %q: %w; \"mailchute queue pauses\" lists them", name, store.ErrNotFound)
			}
			return left, nil
		})
		if err == nil {
			err = op.log(ctx, a, "resume", name, n, nil)
		}
		return orSay(a, err, map[string]string{"resumed": name}, "Resumed %s.", name)
	})
	return cmd
}

func (a *app) queuePauses() *cobra.Command {
	return &cobra.Command{
		Use: "pauses", Short: "List what is paused or drained: destinations, streams, routes", Args: noArgs,
		Example: "  mailchute queue pauses",
		RunE: a.admin(func(_ context.Context, a *admin, _ []string) error {
			list := pausesIn(a.store.Snapshot())
			return a.print(list, func() error {
				if len(list) == 0 {
					a.say("Nothing is paused, drained or refusing.")
					return nil
				}
				t := newTable(a.out, "WHAT", "STATE", "SINCE", "WHY", "TO GO ON")
				for _, p := range list {
					t.row(p.What, p.State, p.Since, dash(printable(p.Why)), p.Change)
				}
				return t.flush()
			})
		}),
	}
}

// pauseView is something that the operator has stopped.
type pauseView struct {
	store.Pause
	What   string `json:"what"`
	State  string `json:"state"` // paused, drained or refusing
	Change string `json:"change"`
}

// pausesIn lists all that stands still by somebody's wish.
func pausesIn(snap *store.Snapshot) []pauseView {
	out := []pauseView{}
	state := map[bool]string{false: "paused", true: "drained"}
	for _, p := range snap.Account.Pauses {
		out = append(out, pauseView{p, "destination " + p.Destination, state[p.Drain], "mailchute queue resume " + p.Destination})
	}
	for _, v := range sortedServers(snap) {
		for _, s := range snap.StreamsOf(v.ID) {
			out = append(out, pausesOfStream(v, s)...)
		}
	}
	return out
}

func sortedServers(snap *store.Snapshot) (out []store.Server) {
	for _, v := range snap.Servers {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b store.Server) int { return int(a.ID - b.ID) })
	return out
}

func pausesOfStream(v store.Server, s store.Stream) (out []pauseView) {
	name := fmt.Sprintf("stream %s of server %d", s.ID, v.ID)
	if s.Paused {
		out = append(out, pauseView{store.Pause{Since: s.PausedAt, Why: s.PausedWhy}, name, "paused", fmt.Sprintf("mailchute stream resume %s --server %d", s.ID, v.ID)})
	}
	if s.IntakePaused {
		out = append(out, pauseView{store.Pause{Since: s.IntakePausedAt, Why: s.IntakePausedWhy}, name, "refusing", fmt.Sprintf("mailchute stream set %s --server %d --refuse-submissions=false", s.ID, v.ID)})
	}
	for i, r := range s.Routes() {
		change := fmt.Sprintf("mailchute stream route resume %s %d --server %d", s.ID, i+1, v.ID)
		if !r.Paused.IsZero() {
			out = append(out, pauseView{store.Pause{Since: r.Paused, Why: r.PausedWhy}, "route " + r.Key() + " of " + name, "paused", change})
		}
		if !r.Draining.IsZero() {
			out = append(out, pauseView{store.Pause{Since: r.Draining, Why: r.DrainingWhy, Drain: true}, "route " + r.Key() + " of " + name, "drained", change})
		}
	}
	return out
}

func (a *admin) changePauses(ctx context.Context, change func([]store.Pause) ([]store.Pause, error)) error {
	_, err := store.Update(ctx, a.store, func(snap *store.Snapshot) ([]store.Change, error) {
		account := snap.Account
		var err error
		if account.Pauses, err = change(slices.Clone(account.Pauses)); err != nil {
			return nil, err
		}
		return []store.Change{{Account: &account}}, nil
	})
	if err != nil {
		return fmt.Errorf("changing the pauses: %w", err)
	}
	return nil
}

// queuedFor counts what waits for a destination, a smarthost or a site. Without a server only the first two are known, and a
// smarthost only where it is a stream's first route.
func (a *admin) queuedFor(ctx context.Context, name string) (int, error) {
	return countQueued(ctx, a, func(l store.Lane) bool {
		return l.Destination == name ||
			a.sitesOf != nil && slices.Contains(a.sitesOf(store.StreamKey{Server: l.Server, Stream: l.Stream}, l.Destination), siteName(name))
	})
}

func orSay(a *admin, err error, v any, format string, args ...any) error {
	if err != nil {
		return err
	}
	return a.print(v, func() error {
		a.say(format, args...)
		return nil
	})
}
