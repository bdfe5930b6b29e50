package local

import (
	"path/filepath"
	"testing"

	"github.com/mailchute/mailchute/store"
)

// v2Dir is a data directory that schema version 2 wrote: the messages of v1Dir,
// of which v1Held has bounced, and a suppression. It had no index of bounces.
const v2Dir = "testdata/v2"

func TestV2_OpensForEver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v2")
	copyDir(t, v2Dir, dir)
	s := openT(t, dir, smallOptions())
	list, _, err := s.ListBounces(t.Context(), store.BounceFilter{Server: 1, Stream: "outbound"}, "", 10)
	if err != nil || len(list) != 1 || list[0].Message != v1Held || list[0].Type != "HardBounce" || list[0].Recipient != "jane.doe@example.org" || list[0].Tag != "shipping" {
		t.Errorf("ListBounces = %+v, %v", list, err)
	}
	if len(list) == 1 {
		if b, err := s.Bounce(t.Context(), 1, list[0].ID); err != nil || b != list[0] {
			t.Errorf("Bounce = %+v, %v", b, err)
		}
	}
	if off, err := s.Suppressed(t.Context(), 1, "outbound", "ada@example.org"); err != nil || len(off) != 1 {
		t.Errorf("Suppressed = %+v, %v", off, err)
	}
	checkT(t, s)
}

// TestBounces_OfAMessageThatForgetsEvents: the index has no key of an event that
// went because there are too many.
func TestBounces_OfAMessageThatForgetsEvents(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	id := acceptT(t, s, 10)
	deliverT(t, s, id)
	at := moment
	for range 12 {
		var events []store.Event
		for range 100 {
			at = at.Add(1)
			events = append(events, store.Event{At: at, Kind: store.EventDelayed, Bounce: "Transient"})
		}
		if err := s.Return(t.Context(), store.Return{Message: id, Was: store.Sent, State: store.Sent, Events: events}); err != nil {
			t.Fatal(err)
		}
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.CountBounces(t.Context(), 1); err != nil || n["Transient"] != maxEvents {
		t.Errorf("CountBounces = %v, %v, want %d", n, err, maxEvents)
	}
	checkT(t, s)
}
