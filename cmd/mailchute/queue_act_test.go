package main

import (
	"slices"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

// TestQueueAction_TakesSingleDeliveries of a message that has one of each kind.
func TestQueueAction_TakesSingleDeliveries(t *testing.T) {
	open := []store.Recipient{{Address: "b@example.org", State: store.Queued}}
	r := store.Record{Message: store.Message{ID: store.NewID()}}
	for i, d := range []store.Delivery{
		{},
		{Uncertain: true},
		{Held: time.Now()},
		{Held: time.Now(), Uncertain: true, HeldUncertain: true},
		{Lease: time.Now()},
	} {
		d.ID, d.Recipients = store.DeliveryID{Message: r.Message.ID, Part: i}, open
		r.Deliveries = append(r.Deliveries, d)
	}
	for _, c := range []struct {
		what store.Amendment
		args []string
		want []int
	}{
		{store.Cancel, []string{"--uncertain"}, []int{1, 3}},
		{store.Cancel, []string{"--held"}, []int{2, 3}},
		{store.Cancel, []string{"--held", "--uncertain"}, []int{3}},
		{store.Cancel, nil, []int{0, 1, 2, 3, 4}},
		{store.Hold, []string{"--uncertain"}, []int{1}},
		{store.Release, nil, []int{1, 2, 3}}, // named by its ID
		{store.Release, []string{"--uncertain"}, []int{1, 3}},
		{store.Release, []string{"--stream", ""}, []int{2, 3}},
		{store.Reroute, nil, []int{0, 2, 4}},
	} {
		cmd := &cobra.Command{}
		q := &queueAction{what: c.what, flags: (&app{}).filterFlags(cmd)}
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		sel := &selected{messages: map[store.ID]bool{}, servers: map[int64]bool{}}
		q.take(nil, sel, r)
		var got []int
		for _, id := range sel.ids {
			got = append(got, id.Part)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %v takes deliveries %v, want %v", c.what, c.args, got, c.want)
		}
	}
}
