package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local/boltwrites"
)

// faultyView is an engine one of whose writes to its bbolt file fails.
type faultyView struct {
	t       *testing.T
	s       *Store
	refused []store.ID
	promises
}

// failWrite makes the nth write from now on fail, and those behind it that are
// wanted; met tells whether there was one.
func (w *faultyView) failWrite(n int, cause error) (met *bool) {
	count, met := 0, new(bool)
	boltwrites.Intercept(w.s.db.bolt, func(next boltwrites.WriteAt) boltwrites.WriteAt {
		return func(b []byte, off int64) (int, error) {
			if count++; count == n {
				*met = true
				return 0, &fs.PathError{Op: "write", Path: dbName, Err: cause}
			}
			return next(b, off)
		}
	})
	return met
}

// work does what changes the file, goes on after what is refused, and writes down
// what was promised.
func (w *faultyView) work() (failed []error) {
	ctx := w.t.Context()
	try := func(what string, err error) bool {
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", what, err))
		}
		return err == nil
	}
	for round := range 2 {
		for range 4 {
			id, err := acceptOne(w.s, make([]byte, 3000))
			if try("accept", err) {
				w.accepted[id] = 3000
			} else if !errors.Is(err, store.ErrUnknown) {
				w.refused = append(w.refused, id)
			}
		}
		for _, id := range slices.SortedFunc(maps.Keys(w.accepted), func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) }) {
			if !w.sent[id] && len(w.sent) < 3*(round+1) && try("deliver", deliverOne(w.s, id)) {
				w.sent[id] = true
			}
		}
		try("checkpoint", w.s.checkpoint())
		_, err := w.s.Change(ctx, w.s.Snapshot().Revision, store.Change{Server: &store.Server{ID: int64(round + 1), Name: fmt.Sprint(round), DeliveryType: store.Live}})
		if try("change", err) {
			w.servers++
		}
		_, err = w.s.Suppress(ctx, store.Suppression{
			Server: 1, Stream: "outbound", Address: "b@example.org", Reason: store.SuppressedHardBounce, Origin: store.OriginRecipient, Created: time.Now(),
		})
		if try("suppress", err) {
			w.suppressed = 1
		}
	}
	return failed
}

// TestFault_EveryWriteOfTheView fails each write in turn. Without space just what
// needed it is refused, and the engine goes on; whatever else it is, it stops for good.
// A new process finds every promise and nothing that was refused.
func TestFault_EveryWriteOfTheView(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		full := cause == syscall.ENOSPC || cause == syscall.EDQUOT
		n := 1
		for ; ; n++ {
			opts := smallOptions()
			opts.CheckpointEvery = time.Hour
			w := &faultyView{t: t, s: openT(t, t.TempDir(), opts), promises: promises{accepted: map[store.ID]int64{}, sent: map[store.ID]bool{}}}
			met := w.failWrite(n, cause)
			failed := w.work()
			if !*met {
				break
			}
			if stopped := errors.Is(w.s.Healthy(), ErrFaulted); stopped == full || full && len(failed) != 1 || len(failed) == 0 {
				t.Fatalf("%v at write %d: stopped %v, %v", cause, n, stopped, failed)
			}
			for i, err := range failed {
				if want := map[bool]error{true: store.ErrFull, false: ErrFaulted}[full]; !errors.Is(err, want) && (full || i > 0 || !errors.Is(err, store.ErrUnknown)) {
					t.Fatalf("%v at write %d: %v", cause, n, err)
				}
			}
			if err := w.s.Close(); err != nil {
				t.Fatalf("%v at write %d: Close = %v", cause, n, err)
			}
			again := openT(t, w.s.root, smallOptions())
			if err := w.kept(t.Context(), again); err != nil {
				t.Fatalf("%v at write %d: %v", cause, n, err)
			}
			for _, id := range w.refused {
				if _, err := again.Record(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("%v at write %d: Record of what was refused = %v", cause, n, err)
				}
			}
			checkT(t, again)
		}
		if n < 20 {
			t.Errorf("%v: only %d writes", cause, n-1)
		}
		t.Logf("%v: %d writes", cause, n-1)
	}
}
