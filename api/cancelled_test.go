package api

import (
	"testing"

	"github.com/mailchute/mailchute/store"
)

// TestEvents_CancelledNamesNoOperator: the timeline has who it was and the reason, which is not for customers.
func TestEvents_CancelledNamesNoOperator(t *testing.T) {
	r := store.Record{Deliveries: []store.Delivery{{Recipients: []store.Recipient{{Address: "ada@example.org", State: store.Cancelled}}}}}
	got := events(store.Event{Kind: store.EventCancelled, Detail: "by root: they do not pay"}, r)
	if len(got) != 1 || got[0].Type != "Bounced" || got[0].Recipient != "ada@example.org" || got[0].Details["Summary"] != "given up by the operator" {
		t.Errorf("events %+v", got)
	}
}
