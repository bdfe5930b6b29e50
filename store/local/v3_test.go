package local

import (
	"path/filepath"
	"testing"

	"github.com/mailchute/mailchute/store"
)

// v3Dir is a data directory that schema version 3 wrote: v2Dir after an opening.
// It had no queue of notifications.
const v3Dir = "testdata/v3"

func TestV3_OpensForEver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v3")
	copyDir(t, v3Dir, dir)
	s := openT(t, dir, smallOptions())
	w := store.Webhook{ID: 9, Server: 1, Stream: "outbound", URL: "https://x.example", Triggers: store.Triggers{Delivery: true, Bounce: true}, Sealed: []byte{1}}
	if _, err := store.Update(t.Context(), s, func(*store.Snapshot) ([]store.Change, error) { return []store.Change{{Webhook: &w}}, nil }); err != nil {
		t.Fatal(err)
	}
	deliverT(t, s, v1Tail)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	got := claimT(t, s, 9)
	if len(got) != 1 || got[0].Message != v1Tail {
		t.Errorf("notifications = %+v, want that of the new event alone", got)
	}
	checkT(t, s)
}
