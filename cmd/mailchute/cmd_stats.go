package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

func (a *app) statsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stats", Short: "Count what became of recipients, by day", Args: noArgs,
		Long: `Count what became of recipients, by day in UTC.

SENT are those who were sent to, or given up: what waits, was cancelled or was on a suppression list does not count. BOUNCED of
them failed, at once or later; COMPLAINED called it spam. Days stay counted when their messages have gone.`,
		Example: "  mailchute stats\n  mailchute stats --server shop --stream broadcast --tag welcome --since 30d",
	}
	f := cmd.Flags()
	server := f.String("server", "", "of this server, by `name` or number; not needed where there is one")
	stream := f.String("stream", "", "of this `stream`")
	tag := f.String("tag", "", "with exactly this `tag`")
	since := f.String("since", "", "from the day of this `time` on, or of this long ago: 2026-01-31 or 30d")
	until := f.String("until", "", "to the day of this `time`, or of this long ago")
	a.completeFlag(cmd, "server", a.completeServers)
	a.completeFlag(cmd, "stream", a.completeStreams)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		of, err := serverOf(a.store.Snapshot(), *server)
		if err != nil {
			return err
		}
		q := store.StatsFilter{Server: of.ID, Stream: *stream, Tag: *tag}
		if q.Since, err = parseTime("since", *since, a.now()); err != nil {
			return err
		}
		if q.Until, err = parseTime("until", *until, a.now()); err != nil {
			return err
		}
		days, err := a.store.Stats(ctx, q)
		if err != nil {
			return err
		}
		if err := a.misnamed(len(days), of.ID, *stream); err != nil {
			return err
		}
		if days == nil {
			days = []store.Day{}
		}
		return a.print(days, func() error { return printStats(a, days) })
	})
	return cmd
}

func printStats(a *admin, days []store.Day) error {
	t := newTable(a.out, "DAY", "SENT", "BOUNCED", "COMPLAINED", "WHAT CAME")
	var sum store.Counts
	for _, d := range days {
		statsRow(t, d.Date.Format(time.DateOnly), d.Counts)
		sum.Add(d.Counts)
	}
	if len(days) != 1 {
		statsRow(t, "all", sum)
	}
	return t.flush()
}

func statsRow(t *table, name string, c store.Counts) {
	var failed int64
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(c.Bounces)) {
		if bounce.Type(kind).Failure() {
			failed += c.Bounces[kind]
		}
		kinds = append(kinds, fmt.Sprintf("%d %s", c.Bounces[kind], kind))
	}
	complaints := c.Bounces[string(bounce.SpamComplaint)]
	t.row(name, c.Sent, share(failed, c.Sent), share(complaints, c.Sent), dash(strings.Join(kinds, ", ")))
}

// share is a number with its percentage, as "3 (1.5 %)".
func share(n, of int64) string {
	if n == 0 || of == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d (%.1f %%)", n, float64(n)*100/float64(of))
}
