package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) queueCommand() *cobra.Command {
	return a.group("queue", "Mail that is waiting: look at it, hold it, release it, retry it, delete it",
		a.queueList(), a.queueLanes(), a.queueSites(), a.queueShow(), a.queueEvents(),
		a.queuePause(), a.queueResume(), a.queueDrain(), a.queuePauses(),
		a.queueAct("retry", "Make deliveries due now", store.Retry),
		a.queueAct("hold", "Keep deliveries from being tried until they are released", store.Hold),
		a.queueAct("release", "Let held deliveries go on", store.Release),
		a.queueAct("delete", "Give up deliveries; no bounce is sent", store.Cancel),
		a.queueAct("reroute", "Give deliveries another stream or route", store.Reroute))
}

// filterFlags select messages on the command line.
type filterFlags struct {
	server, stream, destination, recipient, sender, tag, site string
	held, uncertain                                           bool
	since, until                                              string
	cmd                                                       *cobra.Command
}

func (a *app) filterFlags(cmd *cobra.Command) *filterFlags {
	v := &filterFlags{cmd: cmd}
	f := cmd.Flags()
	f.StringVar(&v.server, "server", "", "of this server, by `name` or number")
	f.StringVar(&v.stream, "stream", "", "of this `stream`")
	f.StringVar(&v.destination, "destination", "", "to this `domain`, or smarthost as host:port")
	f.StringVar(&v.recipient, "recipient", "", "to this `address`")
	f.StringVar(&v.sender, "sender", "", "from this `address`, of the envelope or in From")
	f.StringVar(&v.tag, "tag", "", "with exactly this `tag`")
	f.BoolVar(&v.held, "held", false, "only held ones")
	f.BoolVar(&v.uncertain, "uncertain", false, "only ones that may have been delivered: the answer to their final dot is not known")
	f.StringVar(&v.since, "since", "", "accepted at or after this `time`, or within this duration: 2026-01-31T08:00:00Z or 2h")
	f.StringVar(&v.until, "until", "", "accepted before this `time`, or longer ago than this duration")
	a.completeFlag(cmd, "server", a.completeServers)
	a.completeFlag(cmd, "stream", a.completeStreams)
	return v
}

// filterNames are the flags that select.
var filterNames = [...]string{"server", "stream", "destination", "site", "recipient", "sender", "tag", "held", "uncertain", "since", "until"}

// given tells whether any filter was set.
func (v *filterFlags) given() bool { return slices.ContainsFunc(filterNames[:], v.cmd.Flags().Changed) }

func (v *filterFlags) filter(a *admin) (store.Filter, error) {
	f := store.Filter{Stream: v.stream, Destination: v.destination, Recipient: v.recipient, Sender: v.sender, Tag: v.tag, Held: v.held, Uncertain: v.uncertain}
	if v.server != "" {
		server, err := serverOf(a.store.Snapshot(), v.server)
		if err != nil {
			return f, err
		}
		f.Server = server.ID
	}
	var err error
	if f.Since, err = parseTime("since", v.since, a.now()); err != nil {
		return f, err
	}
	f.Until, err = parseTime("until", v.until, a.now())
	return f, err
}

func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := parseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("--%s: %q is neither a time such as 2026-01-31T08:00:00Z nor a duration such as 2h", flag, text)
}

func (a *app) queueList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List queued messages, newest first", Args: noArgs,
		Example: "  mailchute queue list --destination example.org\n  mailchute queue list --held --json",
	}
	flags, limit := a.filterFlags(cmd), limitFlag(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		f, err := flags.filter(a)
		if err != nil {
			return err
		}
		f.Queued = true
		records, more, err := listRecords(ctx, a, f, *limit)
		if err != nil {
			return err
		}
		return a.print(viewRecords(records), func() error { return printQueue(a, records, more) })
	})
	return cmd
}

func limitFlag(cmd *cobra.Command) *int {
	return cmd.Flags().Int("limit", 50, "at most this many `messages`")
}

const pageSize = 500

// listRecords returns up to limit matches, and whether there are more.
func listRecords(ctx context.Context, a *admin, f store.Filter, limit int) ([]store.Record, bool, error) {
	if limit < 1 {
		return nil, false, usage("--limit: %d is not positive", limit)
	}
	out, cursor := []store.Record{}, ""
	for len(out) < limit {
		page, next, err := a.store.List(ctx, f, cursor, min(pageSize, limit-len(out)))
		if err != nil {
			return nil, false, fmt.Errorf("listing messages: %w", err)
		}
		out, cursor = append(out, page...), next
		if cursor == "" {
			return out, false, a.misnamed(len(out), f.Server, f.Stream)
		}
	}
	return out, true, nil
}

func printQueue(a *admin, records []store.Record, more bool) error {
	t := newTable(a.out, "MESSAGE", "STREAM", "FROM", "DESTINATION", "RCPTS", "TRIES", "STATE", "LAST ANSWER")
	for _, r := range records {
		for _, d := range r.Deliveries {
			if !d.Done() {
				t.row(r.Message.ID, d.Stream, sender(r.Message), d.Destination, openCount(d), d.Attempt, deliveryState(d, a.now()), lastAnswer(d))
			}
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(records) == 0 {
		a.say("Nothing is queued that matches.")
	}
	if more {
		a.say("There is more: raise --limit, or filter.")
	}
	return nil
}

func sender(m store.Message) string {
	if m.From == "" {
		return "<>"
	}
	return m.From
}

func openCount(d store.Delivery) int {
	n := 0
	for _, r := range d.Recipients {
		if !r.State.Final() {
			n++
		}
	}
	return n
}

func deliveryState(d store.Delivery, now time.Time) string {
	switch {
	case d.Done():
		return "done"
	case d.Lease.After(now):
		return "in flight"
	case !d.Held.IsZero():
		return "held since " + when(d.Held) + uncertainMark(d)
	case d.Due.After(now):
		return "due in " + span(d.Due.Sub(now)) + uncertainMark(d)
	}
	return "due now" + uncertainMark(d)
}

func uncertainMark(d store.Delivery) string {
	if d.Uncertain {
		return ", uncertain"
	}
	return ""
}

func lastAnswer(d store.Delivery) string {
	var last store.Reply
	for _, r := range d.Recipients {
		if !r.State.Final() && (last.At.IsZero() || r.Last.At.After(last.At)) {
			last = r.Last
		}
	}
	return dash(last.Line())
}

func (a *app) queueLanes() *cobra.Command {
	return &cobra.Command{
		Use: "lanes", Short: "Count what is queued, by stream and destination", Args: noArgs,
		Example: "  mailchute queue lanes",
		RunE: a.admin(func(ctx context.Context, a *admin, _ []string) error {
			lanes, err := a.store.Lanes(ctx)
			if err != nil {
				return fmt.Errorf("counting the queue: %w", err)
			}
			if lanes == nil {
				lanes = []store.Lane{}
			}
			return a.print(lanes, func() error { return printLanes(a, lanes) })
		}),
	}
}

func printLanes(a *admin, lanes []store.Lane) error {
	if len(lanes) == 0 {
		a.say("The queue is empty.")
		return nil
	}
	snap := a.store.Snapshot()
	t := newTable(a.out, "SERVER", "STREAM", "DESTINATION", "QUEUED", "HELD", "OLDEST", "NEXT DUE")
	for _, l := range lanes {
		t.row(snap.Servers[l.Server].Name, l.Stream, l.Destination, l.Deliveries, l.Held, span(a.now().Sub(l.Oldest))+" ago", nextDue(l, a.now()))
	}
	return t.flush()
}

func nextDue(l store.Lane, now time.Time) string {
	switch {
	case l.NextDue.IsZero():
		return "-"
	case l.NextDue.After(now):
		return "in " + span(l.NextDue.Sub(now))
	}
	return "now"
}

func (a *app) queueShow() *cobra.Command {
	return &cobra.Command{
		Use: "show MESSAGE", Short: "Show a message, why it waits, and its last conversation", Args: cobra.ExactArgs(1),
		Example: "  mailchute queue show 01890a5d-ac96-774b-bcce-b302099a8057",
		RunE:    a.admin(explainMessage),
	}
}
