package store_test

import (
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// wantBounceID was computed by another program.
const wantBounceID = 2288657800026947

// TestBounceID_IsForEver: clients keep the numbers.
func TestBounceID_IsForEver(t *testing.T) {
	id, err := store.ParseID("0195620d-0000-7000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	e := store.Event{At: time.Unix(1772600000, 123456789), Kind: store.EventBounced, Recipient: "ada@example.org", Bounce: "HardBounce"}
	if got := e.BounceID(id); got != wantBounceID {
		t.Errorf("BounceID = %d, want %d", got, wantBounceID)
	}
	seen := map[int64]bool{}
	for i := range 100_000 {
		e.At = e.At.Add(time.Nanosecond)
		n := e.BounceID(id)
		if n < 1 || n > 1<<53-1 || seen[n] {
			t.Fatalf("number %d: %d", i, n)
		}
		seen[n] = true
	}
}

func TestBounceID_TellsApart(t *testing.T) {
	at := time.Unix(1772600000, 0)
	base := store.Event{At: at, Kind: store.EventBounced, Recipient: "ada@example.org", Bounce: "HardBounce"}
	seen := map[int64]string{base.BounceID(store.ID{1}): "base", base.BounceID(store.ID{2}): "message"}
	for what, change := range map[string]func(*store.Event){
		"time": func(e *store.Event) { e.At = at.Add(1) }, "kind": func(e *store.Event) { e.Kind = store.EventExpired },
		"recipient": func(e *store.Event) { e.Recipient = "bob@example.org" }, "type": func(e *store.Event) { e.Bounce = "SoftBounce" },
		"what came": func(e *store.Event) { e.Notice = store.ID{1} },
	} {
		e := base
		change(&e)
		if other, same := seen[e.BounceID(store.ID{1})]; same {
			t.Errorf("the number tells %s and %s not apart", what, other)
		}
		seen[e.BounceID(store.ID{1})] = what
	}
	e := base
	e.At, e.Reply, e.Detail, e.Part = at.UTC(), store.Reply{Text: "no"}, "detail", 3
	if e.BounceID(store.ID{1}) != base.BounceID(store.ID{1}) {
		t.Error("the number depends on the zone or on words for people")
	}
}
