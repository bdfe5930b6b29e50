package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) queueEvents() *cobra.Command {
	cmd := &cobra.Command{
		Use: "events", Short: "Show what operators did to the queue, newest first", Args: noArgs,
		Long: `Show what operators did to the queue, newest first: pauses, drains and their end, and what was held,
released, retried, rerouted or deleted, by whom and with which reason. What was done to a message
stands in its own timeline too. The newest 10,000 are kept.`,
		Example: "  mailchute queue events\n  mailchute queue events --limit 500 --json",
	}
	limit := cmd.Flags().Int("limit", 50, "at most this many `entries`")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		if *limit < 1 {
			return usage("--limit: %d is not positive", *limit)
		}
		list, err := a.store.ListInterventions(ctx, *limit)
		if err != nil {
			return err
		}
		return a.print(append([]store.Intervention{}, list...), func() error { return printInterventions(a, list) })
	})
	return cmd
}

func printInterventions(a *admin, list []store.Intervention) error {
	if len(list) == 0 {
		a.say("Nobody has intervened yet.")
		return nil
	}
	t := newTable(a.out, "WHEN", "WHO", "WHAT", "ON", "DELIVERIES", "WHY")
	for _, i := range list {
		why := dash(i.Why)
		if i.Error != "" {
			why = fmt.Sprintf("%s (cut short: %s)", why, i.Error)
		}
		t.row(i.At, i.By, i.What, printable(i.On), i.Count, printable(why))
	}
	return t.flush()
}
