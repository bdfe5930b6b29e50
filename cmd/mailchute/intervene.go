package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

// operation is what commands have in common that intervene in the queue: they
// can count first, take a reason, and leave an entry in the log.
type operation struct {
	dry bool
	why reason
}

// reason is the value of --why. It is checked before anything is done.
type reason string

func (r *reason) String() string { return string(*r) }
func (r *reason) Type() string   { return "reason" }

func (r *reason) Set(text string) error {
	if len(text) > maxWhy {
		return fmt.Errorf("it is longer than %d octets", maxWhy)
	}
	*r = reason(text)
	return nil
}

func addOperationFlags(cmd *cobra.Command) *operation {
	o := &operation{}
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "only count the deliveries that it concerns")
	cmd.Flags().Var(&o.why, "why", "`reason`, kept in the log that \"queue events\" shows")
	return o
}

// signed is who did it, with the reason, for the timelines of messages.
func (o *operation) signed(by string) string {
	if o.why == "" {
		return by
	}
	return by + ": " + string(o.why)
}

// maxWhy bounds a reason, in octets.
const maxWhy = 300

// log writes down what was done. failed is what cut it short.
func (o *operation) log(ctx context.Context, a *admin, what, on string, n int, failed error) error {
	i := store.Intervention{At: a.now(), By: a.by, What: what, On: on, Count: n, Why: string(o.why)}
	if failed != nil {
		i.Error = failed.Error()
	}
	return a.store.Intervened(context.WithoutCancel(ctx), i)
}

// counted says what a dry run has found.
func (o *operation) counted(a *admin, err error, what, on string, n int) error {
	return orSay(a, err, map[string]any{"dry_run": true, "action": what, "on": on, "deliveries": n},
		"Dry run: %s would concern %d queued deliveries of %s; nothing was changed.", what, n, on)
}

// countQueued counts the unfinished deliveries of some lanes.
func countQueued(ctx context.Context, a *admin, of func(store.Lane) bool) (n int, err error) {
	lanes, err := a.store.Lanes(ctx)
	if err != nil {
		return 0, fmt.Errorf("counting the queue: %w", err)
	}
	for _, l := range lanes {
		if of(l) {
			n += l.Deliveries
		}
	}
	return n, nil
}
