package api_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// What comes back through a return path is no message of the client's, and has
// the return path's tag in it.
func TestMessages_WhatCameBackIsNoMessage(t *testing.T) {
	r := newRig(t, rigOptions{})
	id, now := store.NewID(), time.Now()
	draft, err := r.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Discard()
	if _, err := bytes.NewBufferString("Subject: returned\r\n\r\nx\r\n").WriteTo(draft); err != nil {
		t.Fatal(err)
	}
	m := store.Message{ID: id, Server: 1, Stream: "outbound", Accepted: now, Returned: true, About: store.NewID()}
	d := store.Delivery{
		ID: store.DeliveryID{Message: id}, Server: 1, Stream: "outbound", Destination: "bounces.example", Due: now, Expires: now,
		Recipients: []store.Recipient{{Address: "tag@bounces.example", State: store.Captured}},
	}
	if err := draft.Commit(t.Context(), m, []store.Delivery{d}); err != nil {
		t.Fatal(err)
	}
	if l := wantOK(t, r.as("GET", "/messages/outbound?count=5&offset=0", "")); l.text("TotalCount") != "0" {
		t.Errorf("listed: %s", l.raw)
	}
	for _, what := range []string{"details", "dump"} {
		wantError(t, r.as("GET", "/messages/outbound/"+id.String()+"/"+what, ""), 422, 701)
	}
}
