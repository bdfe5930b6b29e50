package local

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// TestCheck_BesideTraffic: mail that is taken, delivered and forgotten during a
// check is no fault.
func TestCheck_BesideTraffic(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	ctx, stop := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	moved := make(chan struct{})
	for range 4 {
		traffic.Go(func() {
			for ctx.Err() == nil {
				id, err := acceptOne(s, make([]byte, 20<<10))
				if err == nil {
					err = deliverOne(s, id)
				}
				if err != nil {
					t.Error(err)
					stop()
					return
				}
				select {
				case moved <- struct{}{}:
				default:
				}
			}
		})
	}
	traffic.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Prune(context.Background(), time.Now()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 10 {
		select {
		case <-moved:
		case <-ctx.Done():
		}
		r, err := s.Check(t.Context(), CheckOptions{Full: true})
		if err != nil {
			t.Error(err)
		}
		for _, p := range r.Problems {
			t.Errorf("check: %s", p)
		}
	}
	stop()
	traffic.Wait()
	checkT(t, s)
}

// TestCheck_SeesWhatTheViewLacks: a view that lost a message whole is found
// out, though mail has moved since.
func TestCheck_SeesWhatTheViewLacks(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	id := acceptT(t, s, 100)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	err := s.db.write(func(tx *bbolt.Tx) error {
		st, err := stateIn(tx, id)
		if err != nil {
			return err
		}
		w := openBuckets(tx)
		return w.remove(st)
	})
	if err != nil {
		t.Fatal(err)
	}
	acceptT(t, s, 100)
	r, err := s.Check(t.Context(), CheckOptions{Full: true})
	if want := fmt.Sprintf("bucket %s lacks key %x, which the journal makes", bucketMessage, id[:]); err != nil || !slices.Contains(r.Problems, want) {
		t.Errorf("Check = %+v, %v, want %s", r, err, want)
	}
}
