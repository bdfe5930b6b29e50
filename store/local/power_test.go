package local

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// TestPowerCut loses what the journal had not synced, in every way that a disk
// may lose it, while the view is at an old, a new or no checkpoint.
func TestPowerCut_EveryPromiseIsKept(t *testing.T) {
	for i, loss := range faultfs.Losses() {
		seed := uint64(i % 2)
		t.Run(fmt.Sprintf("%s/%d", loss, seed), func(t *testing.T) { powerCut(t, loss, seed) })
	}
}

func powerCut(t *testing.T, loss faultfs.Loss, seed uint64) {
	memory := faultfs.New()
	opts := smallOptions()
	opts.Journal.FS, opts.CheckpointEvery = memory, time.Hour
	dir := t.TempDir()
	s := openT(t, dir, opts)
	const messages = 10
	sent := map[store.ID]bool{}
	var sizes []int64
	var ids []store.ID
	for i := range messages {
		size := 1000
		if i%5 == 4 {
			size = 300 << 10
		}
		id := acceptT(t, s, size)
		ids, sizes = append(ids, id), append(sizes, int64(size))
		if i%2 == 0 {
			deliverT(t, s, id)
			sent[id] = true
		}
		if uint64(i) == seed*6 {
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	unacknowledged, err := s.Begin(t.Context())
	if err == nil {
		_, err = unacknowledged.Write(make([]byte, 600<<10)) // staged, not synced
	}
	if err != nil {
		t.Fatal(err)
	}
	view, err := os.ReadFile(filepath.Join(dir, dbName))
	if err != nil {
		t.Fatal(err)
	}
	opts.Journal.FS = memory.Crash(loss, seed)
	unacknowledged.Discard()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, dbName), view, 0o600); err != nil {
		t.Fatal(err)
	}
	again := openT(t, dir, opts)
	for i, id := range ids {
		wantBody(t, again, id, sizes[i])
		r, err := again.Record(t.Context(), id)
		if err != nil || r.Deliveries[0].Done() != sent[id] {
			t.Errorf("Record = %+v, %v, want sent: %t", r, err, sent[id])
		}
	}
	if list, _, err := again.List(t.Context(), store.Filter{}, "", 100); err != nil || len(list) != messages {
		t.Errorf("List = %d messages, %v, want %d", len(list), err, messages)
	}
	checkT(t, again)
}
