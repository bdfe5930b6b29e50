package local

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// The look into the view is spared for IDs that are higher than all that it can
// hold: lower ones, and those of a checkpoint under way, must still be seen.
func TestOverlay_BeyondView(t *testing.T) {
	o := newOverlay(Options{MaxOverlay: 100, MaxOverlayBytes: 1 << 20}.withDefaults(), nil)
	low, middle, high := store.ID{1}, store.ID{2}, store.ID{3}
	want := func(when string, id store.ID, beyond bool) {
		t.Helper()
		if got := o.beyondView(id); got != beyond {
			t.Errorf("%s: beyondView(%x) = %v, want %v", when, id[:1], got, beyond)
		}
	}
	o.inView = low
	want("after a start", low, false)
	want("after a start", middle, true)
	o.highest = middle
	want("while newer messages are in memory alone", middle, true)
	o.end = func() (p journal.Position) { return p }
	b := o.take()
	want("in a checkpoint under way", middle, false)
	want("in a checkpoint under way", high, true)
	o.settle(b, nil)
	want("after the checkpoint", low, false)
	want("after the checkpoint", middle, false)
}

func TestLoad_KnowsTheHighestID(t *testing.T) {
	dir := t.TempDir()
	s := openT(t, dir, smallOptions())
	id := acceptT(t, s, 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openT(t, dir, smallOptions())
	if s.over.inView != id || s.over.beyondView(id) {
		t.Errorf("the highest ID of the view is %s, want %s", s.over.inView, id)
	}
}

// TestLanes_MoveIsRemovalAndAddition compares lanes that follow changes with lanes
// that are counted anew.
func TestLanes_MoveIsRemovalAndAddition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	some := func(st stamp) queued {
		at := moment.Add(time.Duration(rnd.IntN(4)) * time.Second)
		q := queued{stamp: st, server: 1, stream: "outbound", destination: []string{"a.example", "b.example"}[rnd.IntN(2)], due: at, held: rnd.IntN(4) == 0}
		if rnd.IntN(2) == 0 {
			q.lease = at.Add(time.Duration(rnd.IntN(3)-1) * time.Second)
		}
		return q
	}
	kept, have := lanes{}, make([]queued, 20)
	for i := range have {
		have[i] = some(stampOf(moment.Add(time.Duration(i)), store.ID{byte(i)}))
		kept.add(&have[i])
	}
	for range 1000 {
		i := rnd.IntN(len(have))
		next := some(have[i].stamp)
		kept.move(&have[i], &next)
		have[i] = next
		counted := lanes{}
		for j := range have {
			counted.add(&have[j])
		}
		if d := cmp.Diff(counted.list(), kept.list()); d != "" {
			t.Fatalf("lanes (-counted +kept):\n%s", d)
		}
	}
}
