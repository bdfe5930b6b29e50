package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// queueAct is a command that alters deliveries, by message or by filter.
func (a *app) queueAct(verb, short string, what store.Amendment) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " [MESSAGE...]", Short: short + ", by message or by filter",
		Long: short + `, by message or by filter. A filter selects single deliveries, one a
destination: those of the same message to other destinations are left alone. One with --recipient selects
all of the delivery that the recipient is in, except that "delete" ends that recipient only.`,
		Example: fmt.Sprintf("  mailchute queue %[1]s 01890a5d-ac96-774b-bcce-b302099a8057\n  mailchute queue %[1]s --destination example.org --dry-run\n  mailchute queue %[1]s --stream broadcast --tag newsletter --until 2d\n  mailchute queue %[1]s --all", verb),
	}
	act := &queueAction{verb: verb, what: what, flags: a.filterFlags(cmd), op: addOperationFlags(cmd)}
	cmd.Flags().StringVar(&act.flags.site, "site", "", "by this `site`, as \"queue sites\" names it")
	cmd.Flags().BoolVar(&act.all, "all", false, "everything that is queued")
	if what == store.Reroute {
		cmd.Long = rerouteHelp
		cmd.Example = "  mailchute queue reroute --stream broadcast --destination example.org --to-stream bulk --dry-run\n  mailchute queue reroute --stream outbound --to-route 2\n  mailchute queue reroute 01890a5d-ac96-774b-bcce-b302099a8057 --to-route any"
		cmd.Flags().StringVar(&act.toStream, "to-stream", "", "this outbound `stream` of the same server")
		cmd.Flags().StringVar(&act.toRoute, "to-route", "", "only this `route` of the stream, by its number or its name as host:port or mx; any: whichever it has")
		cmd.MarkFlagsOneRequired("to-stream", "to-route")
	}
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error { return act.run(ctx, a, args) })
	return cmd
}

const rerouteHelp = `Give deliveries another stream of the same server, or one route of their stream, by message or by
filter, and make them due now. They keep their ID, envelope and timeline; the settings and the
suppression list of the new stream hold from then on. A delivery whose final dot got no answer stays
with its route, since another could deliver it twice; one with an attempt under way is left.`

// queueAction is one run of such a command.
type queueAction struct {
	verb              string
	what              store.Amendment
	flags             *filterFlags
	op                *operation
	all               bool
	toStream, toRoute string
}

// selected is what a command line selects.
type selected struct {
	ids       []store.DeliveryID
	messages  map[store.ID]bool
	servers   map[int64]bool // of the messages
	uncertain int            // left out: only their own route can take them
}

func (q *queueAction) run(ctx context.Context, a *admin, args []string) error {
	if len(args) == 0 && !q.flags.given() && !q.all {
		return usage("name messages, or select them with a filter such as --destination, or say --all")
	}
	if len(args) > 0 && (q.flags.given() || q.all) {
		return usage("name messages or select them with a filter, not both")
	}
	sel, err := q.choose(ctx, a, args)
	if err != nil {
		return err
	}
	if len(args) == 0 && len(sel.ids)+sel.uncertain == 0 {
		if err := q.mistaken(a); err != nil {
			return err
		}
	}
	if err := q.reachable(a.store.Snapshot(), sel); err != nil {
		return err
	}
	alter := store.Alteration{Amendment: q.what, By: q.op.signed(a.by), Stream: q.toStream}
	if q.what == store.Cancel {
		alter.Recipient = q.flags.recipient
	}
	if alter.Route, err = q.routeKey(ctx, a, sel); err != nil {
		return err
	}
	if q.op.dry {
		return q.counted(a, sel)
	}
	return q.apply(ctx, a, alter, sel, args)
}

// choose finds the deliveries.
func (q *queueAction) choose(ctx context.Context, a *admin, args []string) (*selected, error) {
	sel := &selected{messages: map[store.ID]bool{}, servers: map[int64]bool{}}
	for _, arg := range args {
		r, err := a.record(ctx, arg)
		if err != nil {
			return nil, err
		}
		q.take(a, sel, r)
	}
	if len(args) > 0 {
		return sel, nil
	}
	f, err := q.flags.filter(a)
	if err != nil {
		return nil, err
	}
	if q.flags.site != "" && a.sitesOf == nil {
		return nil, exitWith(exitUnavailable, "no server runs, and the files do not hold which site a destination has: leave --site out")
	}
	f.Queued, f.Held = true, f.Held || q.what == store.Release && !f.Uncertain
	for cursor := ""; ; {
		page, next, err := a.store.List(ctx, f, cursor, pageSize)
		if err != nil {
			return nil, fmt.Errorf("selecting messages: %w", err)
		}
		for _, r := range page {
			q.take(a, sel, r)
		}
		if cursor = next; cursor == "" {
			return sel, nil
		}
	}
}

// take adds those deliveries of a message that the command is about.
func (q *queueAction) take(a *admin, sel *selected, r store.Record) {
	for _, d := range r.Deliveries {
		switch {
		case d.Done() || !q.flags.matches(a, d) || d.Held.IsZero() && (q.flags.held || q.what == store.Release && !q.decides(d)):
		case q.what == store.Hold && !d.Held.IsZero():
		case q.what == store.Reroute && d.Uncertain:
			sel.uncertain++
		default:
			sel.ids = append(sel.ids, d.ID)
			sel.messages[d.ID.Message] = true
			sel.servers[r.Message.Server] = true
		}
	}
}

// decides tells whether a release is to take the mark off what is not held. Filters that select by something else are
// after what is held.
func (q *queueAction) decides(d store.Delivery) bool {
	return d.Uncertain && (q.flags.uncertain || !q.flags.given() && !q.all)
}

// matches tells whether a delivery is one that the flags select, where those about the message do.
func (v *filterFlags) matches(a *admin, d store.Delivery) bool {
	toRecipient := func(r store.Recipient) bool { return !r.State.Final() && strings.EqualFold(r.Address, v.recipient) }
	switch {
	case v.stream != "" && d.Stream != v.stream,
		v.uncertain && !d.Uncertain,
		v.destination != "" && !strings.EqualFold(d.Destination, v.destination),
		v.recipient != "" && !slices.ContainsFunc(d.Recipients, toRecipient):
		return false
	case v.site == "":
		return true
	}
	return slices.Contains(a.sitesOf(store.StreamKey{Server: d.Server, Stream: d.Stream}, d.Destination), siteName(v.site))
}

// mistaken is an error where the filter has selected nothing and a name in the command line is that of nothing.
func (q *queueAction) mistaken(a *admin) error {
	f, err := q.flags.filter(a)
	if err != nil {
		return err
	}
	if err := a.misnamed(0, f.Server, f.Stream); err != nil {
		return err
	}
	if site := q.flags.site; site != "" && !slices.ContainsFunc(a.sites(), func(s relay.SiteStatus) bool { return siteName(s.Key) == siteName(site) }) {
		return fmt.Errorf("--site: site %q: %w; \"mailchute queue sites\" shows them", site, store.ErrNotFound)
	}
	return q.leads(a.store.Snapshot(), f)
}

// leads refuses --to-stream and --to-route where no stream that deliveries could come to is or has what they name.
func (q *queueAction) leads(s *store.Snapshot, f store.Filter) error {
	to, there := cmp.Or(q.toStream, f.Stream), false
	for key, stream := range s.Streams {
		if !stream.Outbound() || to != "" && key.Stream != to || f.Server != 0 && key.Server != f.Server {
			continue
		}
		there = true
		if _, ok := namedRoute(stream, q.toRoute); q.toRoute == "" || q.toRoute == "any" || ok {
			return nil
		}
	}
	switch {
	case there:
		return fmt.Errorf("--to-route: route %q: %w; \"mailchute stream route list\" shows those of a stream", q.toRoute, store.ErrNotFound)
	case q.toStream != "":
		return fmt.Errorf("--to-stream: outbound stream %q: %w; \"mailchute stream list\" shows them", q.toStream, store.ErrNotFound)
	}
	return nil
}

// reachable refuses --to-stream where a server of the messages has no such outbound stream.
func (q *queueAction) reachable(s *store.Snapshot, sel *selected) error {
	if q.toStream == "" {
		return nil
	}
	for server := range sel.servers {
		if stream, ok := s.Streams[store.StreamKey{Server: server, Stream: q.toStream}]; !ok || !stream.Outbound() {
			return fmt.Errorf("--to-stream: outbound stream %q of server %d: %w; \"mailchute stream list\" shows them", q.toStream, server, store.ErrNotFound)
		}
	}
	return nil
}

// routeKey finds the route that --to-route names: each stream that deliveries come to must have it.
func (q *queueAction) routeKey(ctx context.Context, a *admin, sel *selected) (string, error) {
	if q.toRoute == "" || q.toRoute == "any" {
		return "", nil
	}
	key, seen := "", map[store.StreamKey]bool{}
	for _, id := range sel.ids {
		r, err := a.store.Record(ctx, id.Message)
		if err != nil {
			return "", fmt.Errorf("message %s: %w", id.Message, err)
		}
		to := store.StreamKey{Server: r.Message.Server, Stream: r.Deliveries[id.Part].Stream}
		if q.toStream != "" {
			to.Stream = q.toStream
		}
		if seen[to] {
			continue
		}
		seen[to] = true
		found, ok := namedRoute(a.store.Snapshot().Streams[to], q.toRoute)
		if !ok {
			return "", fmt.Errorf("--to-route: route %q of stream %q: %w; \"mailchute stream route list %s\" shows them", q.toRoute, to.Stream, store.ErrNotFound, to.Stream)
		}
		if key != "" && key != found {
			return "", usage("--to-route: route %s is %s in one stream and %s in another: give --stream, or the route's name", q.toRoute, key, found)
		}
		key = found
	}
	return key, nil
}

func (q *queueAction) counted(a *admin, sel *selected) error {
	view := map[string]any{"dry_run": true, "action": q.what, "messages": len(sel.messages), "deliveries": len(sel.ids), "uncertain": sel.uncertain}
	return a.print(view, func() error {
		a.say("Dry run: %d deliveries of %d messages match; %s changed nothing.", len(sel.ids), len(sel.messages), q.verb)
		sayUncertain(a, sel.uncertain)
		return nil
	})
}

func sayUncertain(a *admin, n int) {
	if n > 0 {
		a.say("%d deliveries stay with their route: their final dot got no answer, and another route could deliver them twice. Release them first to take that upon you.", n)
	}
}

// altered is what a command did. Busy ones had an attempt under way.
type altered struct {
	Action     store.Amendment `json:"action"`
	Messages   int             `json:"messages"`
	Deliveries int             `json:"deliveries"`
	Uncertain  int             `json:"uncertain,omitempty"`
	Busy       []store.ID      `json:"busy"`
}

// apply works in batches, each one transaction, and logs what was done also when it is cut short.
func (q *queueAction) apply(ctx context.Context, a *admin, alter store.Alteration, sel *selected, args []string) error {
	if q.what == store.Retry && a.revive != nil {
		a.revive() // or those retried would be put off again by what their destination answered last
	}
	done := altered{Action: q.what, Messages: len(sel.messages), Uncertain: sel.uncertain, Busy: []store.ID{}}
	var failed error
	for batch := range slices.Chunk(sel.ids, pageSize) {
		alter.At = a.now()
		var n int
		n, failed = alterBatch(ctx, a, alter, &done, batch)
		if done.Deliveries += n; failed != nil {
			break
		}
	}
	if err := q.op.log(ctx, a, q.verb, q.on(args, alter), done.Deliveries, failed); err != nil {
		return errors.Join(failed, err)
	}
	if failed != nil {
		return fmt.Errorf("%s, after %d deliveries: %w", q.verb, done.Deliveries, failed)
	}
	if err := a.print(done, func() error { return sayAltered(a, done) }); err != nil {
		return err
	}
	if len(done.Busy) > 0 {
		return exitWith(exitBusy, "%d messages have an attempt under way and were left: try again in a while", len(done.Busy))
	}
	return nil
}

// alterBatch does a batch in one transaction. One that fails for a busy delivery is done one by one, so that the rest does not
// wait for it.
func alterBatch(ctx context.Context, a *admin, alter store.Alteration, done *altered, batch []store.DeliveryID) (int, error) {
	n, err := a.store.Alter(ctx, alter, batch...)
	if !errors.Is(err, store.ErrNotDue) {
		return n, err
	}
	total := 0
	for _, id := range batch {
		n, err := a.store.Alter(ctx, alter, id)
		if errors.Is(err, store.ErrNotDue) {
			done.Busy = append(done.Busy, id.Message)
			continue
		}
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// on describes for the log what was selected.
func (q *queueAction) on(args []string, alter store.Alteration) string {
	var parts []string
	switch {
	case len(args) > 3:
		parts = append(parts, fmt.Sprintf("%s and %d more messages", args[0], len(args)-1))
	case len(args) > 0:
		parts = append(parts, strings.Join(args, " "))
	case q.all:
		parts = append(parts, "everything")
	}
	for _, name := range filterNames {
		if f := q.flags.cmd.Flags().Lookup(name); f != nil && f.Changed {
			parts = append(parts, name+" "+f.Value.String())
		}
	}
	if alter.Stream != "" {
		parts = append(parts, "to stream "+alter.Stream)
	}
	if alter.Route != "" {
		parts = append(parts, "to route "+alter.Route)
	}
	return strings.Join(parts, ", ")
}

func sayAltered(a *admin, done altered) error {
	words := map[store.Amendment]string{store.Retry: "due now", store.Hold: "held", store.Release: "released", store.Cancel: "deleted", store.Reroute: "rerouted"}
	a.say("%d deliveries of %d messages %s.", done.Deliveries, done.Messages-len(done.Busy), words[done.Action])
	sayUncertain(a, done.Uncertain)
	return nil
}
