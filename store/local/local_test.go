package local_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/local"
	"github.com/mailchute/mailchute/store/storetest"
)

// small keeps tests quick: segments of 4 MiB, none made ahead. Few messages make
// a search block, and soon.
var small = local.Options{
	Journal: journal.Options{SegmentSize: 4 << 20, NoPrewrite: true}, MinFree: -1, CheckpointEvery: 20 * time.Millisecond,
}.WithBlocksOf(4)

// opener opens engines that are closed, and then checked from the ground up,
// when the test ends; a directory that was opened several times is checked once.
type opener struct{ verified sync.Map }

func (o *opener) open(t testing.TB, dir string) store.Store {
	t.Helper()
	s, err := local.Open(dir, small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, done := o.verified.LoadOrStore(dir, true); !done {
			verify(t, dir)
		}
	})
	return s
}

// verify fails the test when the directory of a closed engine has a fault.
func verify(t testing.TB, dir string) {
	t.Helper()
	report, err := local.Check(context.Background(), dir, small, local.CheckOptions{Full: true})
	if err != nil {
		t.Error(err)
	}
	for _, p := range report.Problems {
		t.Errorf("check: %s", p)
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, new(opener).open) }

func TestOpen_CreatesAndReopens(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := store.Update(t.Context(), s, func(snap *store.Snapshot) ([]store.Change, error) {
		return []store.Change{{Server: &store.Server{ID: snap.NextID(0), Name: "one", DeliveryType: store.Live}}}, nil
	})
	if err != nil || snap.Revision != 1 {
		t.Fatalf("Update = revision %d, %v", snap.Revision, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = local.Open(dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Snapshot(); got.Revision != 1 || got.Servers[1].Name != "one" || got.LastID != 1 {
		t.Errorf("Snapshot = %+v", got)
	}
}
