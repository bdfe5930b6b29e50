package main

import (
	"context"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// explained is a message with the reasons why each of its deliveries waits.
type explained struct {
	recordView
	Waiting []waitView `json:"waiting"`
}

type waitView struct {
	Part        int            `json:"part"`
	Destination string         `json:"destination"`
	Reasons     []relay.Reason `json:"reasons"`
	// Schedule is where the running server has it; absent without one.
	Schedule *relay.Waiting `json:"schedule,omitempty"`
}

// explainMessage answers why a message waits: from the running dispatcher, and
// without one from the files.
func explainMessage(ctx context.Context, a *admin, args []string) error {
	r, err := a.record(ctx, args[0])
	if err != nil {
		return err
	}
	view := explained{viewRecord(r), []waitView{}}
	for _, d := range r.Deliveries {
		if !d.Done() {
			view.Waiting = append(view.Waiting, a.explain(d))
		}
	}
	return a.print(view, func() error { return printExplained(a, r, view.Waiting) })
}

func (a *admin) explain(d store.Delivery) waitView {
	v := waitView{Part: d.ID.Part, Destination: d.Destination}
	if a.waiting != nil {
		if w, running := a.waiting(d.ID); running {
			v.Schedule = &w
		}
	}
	v.Reasons = relay.Reasons(d, a.store.Snapshot(), v.Schedule, a.now())
	return v
}

func printExplained(a *admin, r store.Record, waiting []waitView) error {
	if err := printRecord(a, r); err != nil {
		return err
	}
	for _, w := range waiting {
		d := r.Deliveries[w.Part]
		a.say("\nWhy it waits, to %s:", printable(w.Destination))
		for i, reason := range w.Reasons {
			a.say("  %d. %s%s", i+1, printable(reason.What), reasonTimes(reason, a.now()))
			if reason.Change != "" {
				a.say("     to change that: %s", printable(reason.Change))
			}
		}
		if len(d.Conversation.Lines) > 0 {
			printConversation(a, d.Conversation)
		}
	}
	return nil
}

func reasonTimes(r relay.Reason, now time.Time) string {
	text := ""
	if !r.Since.IsZero() {
		text += ", since " + when(r.Since)
	}
	if !r.Until.IsZero() {
		text += ", until " + when(r.Until)
		if r.Until.After(now) {
			text += " (in " + span(r.Until.Sub(now)) + ")"
		}
	}
	return text
}

func printConversation(a *admin, c store.Conversation) {
	a.say("\nThe conversation of attempt %d, %s:", c.Attempt, when(c.Began))
	marks := map[store.Speaker]string{store.Client: "->", store.Remote: "<-", store.Note: "**"}
	for i, l := range c.Lines {
		if c.Missing > 0 && i == 60 {
			a.say("             (%d lines left out)", c.Missing)
		}
		a.say("  %8.3fs %s %s", float64(l.After)/1000, marks[l.Speaks], printable(l.Text))
	}
}
