package local

import (
	"context"
	"io"
	"testing"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// The tests of this package in itself need its fault hooks or its files.

// smallOptions keep tests quick: small segments, none made ahead, and blocks
// that a few messages fill.
func smallOptions() Options {
	return Options{Journal: journal.Options{SegmentSize: 1 << 20, NoPrewrite: true}, MinFree: -1, blockSize: 8}
}

func openT(t testing.TB, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // what matters of it is checked by who closes first
	return s
}

// checkT closes the engine and fails the test when anything is wrong with its files.
func checkT(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	opts := s.opts
	opts.commitFault = nil
	r, err := Check(context.Background(), s.root, opts, CheckOptions{Full: true})
	if err != nil {
		t.Errorf("Check = %v", err)
	}
	for _, p := range r.Problems {
		t.Errorf("check: %s", p)
	}
}

func acceptT(t testing.TB, s *Store, size int) store.ID {
	t.Helper()
	id, err := acceptOne(s, make([]byte, size))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func deliverT(t testing.TB, s *Store, id store.ID) {
	t.Helper()
	if err := deliverOne(s, id); err != nil {
		t.Fatal(err)
	}
}

func bodySize(s *Store, id store.ID) (int64, error) {
	r, err := s.Body(context.Background(), id)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

// wantBody checks that a body of zeros can be read.
func wantBody(t testing.TB, s *Store, id store.ID, size int64) {
	t.Helper()
	if n, err := bodySize(s, id); err != nil || n != size {
		t.Errorf("body of %s = %d octets, %v, want %d", id, n, err, size)
	}
}
