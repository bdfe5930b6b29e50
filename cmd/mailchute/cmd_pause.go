package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
sites" names it. The pause outlives a restart.`,
		Example: "  mailchute queue pause example.org --dry-run\n  mailchute queue pause example.org --why \"they migrate today\"",
	}
	dry := cmd.Flags().Bool("dry-run", false, "only count what is queued for that domain or smarthost")
	why := cmd.Flags().String("why", "", "`reason`, shown with every message that waits for it")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		name := strings.ToLower(strings.TrimSuffix(args[0], "."))
		n, err := queuedFor(ctx, a, name)
		if err != nil || *dry {
			return orSay(a, err, map[string]any{"dry_run": true, "destination": name, "deliveries": n}, "Dry run: %d deliveries to %s are queued; nothing was changed.", n, name)
		}
		if name == "" || len(name) > 300 || len(*why) > 300 {
			return usage("a destination or a reason is empty or longer than 300 octets")
		}
		p := store.Pause{Destination: name, Since: a.now(), Why: *why}
		err = a.changePauses(ctx, func(all []store.Pause) ([]store.Pause, error) {
			all = slices.DeleteFunc(all, func(o store.Pause) bool { return o.Destination == name })
			if len(all) >= maxPauses {
				return nil, fmt.Errorf("%d destinations are paused already: %w", maxPauses, store.ErrLimit)
			}
			return append(all, p), nil
		})
		return orSay(a, err, p, "Paused %[2]s; %[1]d deliveries to it wait. To go on: mailchute queue resume %[2]s", n, name)
	})
	return cmd
}

func (a *app) queueResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume DESTINATION", Short: "Deliver to a paused destination again", Args: cobra.ExactArgs(1),
		Example: "  mailchute queue resume example.org",
		RunE: a.admin(func(ctx context.Context, a *admin, args []string) error {
			name := strings.ToLower(strings.TrimSuffix(args[0], "."))
			err := a.changePauses(ctx, func(all []store.Pause) ([]store.Pause, error) {
				left := slices.DeleteFunc(slices.Clone(all), func(o store.Pause) bool { return o.Destination == name })
				if len(left) == len(all) {
					return nil, fmt.Errorf("pause of %q: %w; \"mailchute queue pauses\" lists them", name, store.ErrNotFound)
				}
				return left, nil
			})
			return orSay(a, err, map[string]string{"resumed": name}, "Resumed %s.", name)
		}),
	}
}

func (a *app) queuePauses() *cobra.Command {
	return &cobra.Command{
		Use: "pauses", Short: "List the paused destinations", Args: noArgs,
		Example: "  mailchute queue pauses",
		RunE: a.admin(func(_ context.Context, a *admin, _ []string) error {
			pauses := append([]store.Pause{}, a.store.Snapshot().Account.Pauses...)
			return a.print(pauses, func() error {
				t := newTable(a.out, "DESTINATION", "SINCE", "WHY")
				for _, p := range pauses {
					t.row(p.Destination, p.Since, dash(p.Why))
				}
				return t.flush()
			})
		}),
	}
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

func queuedFor(ctx context.Context, a *admin, destination string) (n int, err error) {
	lanes, err := a.store.Lanes(ctx)
	if err != nil {
		return 0, fmt.Errorf("counting the queue: %w", err)
	}
	for _, l := range lanes {
		if l.Destination == destination {
			n += l.Deliveries
		}
	}
	return n, nil
}

// orSay returns the error, or prints what was done.
func orSay(a *admin, err error, v any, format string, args ...any) error {
	if err != nil {
		return err
	}
	return a.print(v, func() error {
		a.say(format, args...)
		return nil
	})
}
