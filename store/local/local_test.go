package local_test

import (
	"testing"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

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
