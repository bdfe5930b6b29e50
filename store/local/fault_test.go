package local

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

func TestOpen_SecondProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	openT(t, dir, smallOptions())
	opts := smallOptions()
	opts.LockTimeout = time.Millisecond
	if _, err := Open(dir, opts); !errors.Is(err, ErrLocked) {
		t.Errorf("Open = %v, want %v", err, ErrLocked)
	}
	if _, err := Rebuild(context.Background(), dir, opts); !errors.Is(err, ErrLocked) {
		t.Errorf("Rebuild = %v, want %v", err, ErrLocked)
	}
}

// switchable fails bbolt commits while it holds an error.
type switchable struct {
	err   atomic.Pointer[error]
	after bool
}

func (f *switchable) set(err error) { f.err.Store(&err) }
func (f *switchable) fail(after bool) error {
	if p := f.err.Load(); p != nil && after == f.after {
		return *p
	}
	return nil
}

// noRoom is what os.File says of a write without space.
var noRoom = &fs.PathError{Op: "write", Path: dbName, Err: syscall.ENOSPC}

// TestFault_SyncWithoutSpaceIsUnknown: the commit is visible after all, so nobody may
// be told that it has not happened, and it must not be made again.
func TestFault_SyncWithoutSpaceIsUnknown(t *testing.T) {
	fault := switchable{after: true}
	opts := smallOptions()
	opts.commitFault, opts.CheckpointEvery = fault.fail, time.Hour
	s := openT(t, t.TempDir(), opts)
	fault.set(syscall.ENOSPC) // as bbolt returns that of fdatasync
	if _, err := s.Change(t.Context(), 0, store.Change{Account: &store.Account{Name: "x"}}); !errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrFull) {
		t.Errorf("Change = %v, want %v", err, store.ErrUnknown)
	}
	if !errors.Is(s.Healthy(), ErrFaulted) {
		t.Errorf("Healthy = %v", s.Healthy())
	}
}

func TestFault_FailedCommitStopsTheEngineForGood(t *testing.T) {
	fault := switchable{after: true}
	opts := smallOptions()
	opts.commitFault, opts.CheckpointEvery = fault.fail, time.Hour
	s := openT(t, t.TempDir(), opts)
	id := acceptT(t, s, 100)
	fault.set(syscall.EIO)
	_, err := s.Change(t.Context(), 0, store.Change{Account: &store.Account{Name: "x"}})
	if !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Change = %v, want %v", err, store.ErrUnknown)
	}
	if s.Snapshot().Revision != 0 {
		t.Error("a change of unknown outcome is shown")
	}
	fault.set(nil)
	select {
	case err := <-s.Fault():
		if !errors.Is(err, ErrFaulted) || !errors.Is(err, syscall.EIO) {
			t.Errorf("Fault = %v", err)
		}
	default:
		t.Error("Fault is silent")
	}
	if !errors.Is(s.Healthy(), ErrFaulted) {
		t.Errorf("Healthy = %v", s.Healthy())
	}
	if _, err := acceptOne(s, nil); !errors.Is(err, ErrFaulted) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("accepting after a fault = %v, want %v and a certain outcome", err, ErrFaulted)
	}
	if err := deliverOne(s, id); !errors.Is(err, ErrFaulted) {
		t.Errorf("delivering after a fault = %v, want %v", err, ErrFaulted)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	again := openT(t, s.root, smallOptions()) // the commit was visible after all
	if again.Snapshot().Revision != 1 {
		t.Errorf("revision = %d, want 1", again.Snapshot().Revision)
	}
	wantBody(t, again, id, 100)
	checkT(t, again)
}

func TestFault_CheckpointWithoutSpaceIsTriedAgain(t *testing.T) {
	var fault switchable
	opts := smallOptions()
	opts.commitFault, opts.CheckpointEvery, opts.MaxOverlay = fault.fail, time.Hour, 10
	s := openT(t, t.TempDir(), opts)
	first := acceptT(t, s, 10)
	fault.set(noRoom)
	if err := s.checkpoint(); !errors.Is(err, store.ErrFull) {
		t.Fatalf("checkpoint = %v, want %v", err, store.ErrFull)
	}
	deliverT(t, s, first) // deliveries go on
	var err error
	for i := 0; i < 20 && err == nil; i++ {
		_, err = acceptOne(s, nil)
	}
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("accepting beyond the overlay's bound = %v, want %v", err, store.ErrFull)
	}
	if s.Healthy() != nil {
		t.Errorf("Healthy = %v", s.Healthy())
	}
	fault.set(nil)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	acceptT(t, s, 10)
	checkT(t, s)
}

func TestJournal_ErrorsAreTemporaryAndLeaveNothing(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cause error
		kind  faultfs.Kind
		want  error
	}{
		{"no space", syscall.ENOSPC, faultfs.Write, store.ErrFull},
		{"failed sync", syscall.EIO, faultfs.Datasync, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := faultfs.New()
			opts := smallOptions()
			opts.Journal.FS = fs
			s := openT(t, t.TempDir(), opts)
			before := acceptT(t, s, 10)
			fs.SetFault(func(op faultfs.Op) (int64, error) {
				if op.Kind == tc.kind {
					return 0, tc.cause
				}
				return 0, nil
			})
			id, err := acceptOne(s, nil)
			if err == nil || (tc.want != nil && !errors.Is(err, tc.want)) || errors.Is(err, store.ErrUnknown) {
				t.Errorf("accepting = %v, want %v", err, tc.want)
			}
			if err := deliverOne(s, before); err == nil {
				t.Error("a claim succeeded without a journal")
			}
			fs.SetFault(nil)
			if _, err := s.Record(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Record of what was refused = %v, want %v", err, store.ErrNotFound)
			}
			deliverT(t, s, before)
			acceptT(t, s, 10)
			checkT(t, s)
		})
	}
}

func TestSpace_NewMailIsRefusedAndDeliveriesGoOn(t *testing.T) {
	var free atomic.Int64
	var measured atomic.Int32
	free.Store(10 << 30)
	opts := smallOptions()
	opts.MinFree = 0
	opts.space = func(string) (int64, int64, error) { measured.Add(1); return free.Load(), 100 << 30, nil }
	s := openT(t, t.TempDir(), opts)
	id := acceptT(t, s, 10)
	for range 50 {
		acceptT(t, s, 10)
	}
	if n := measured.Load(); n > 3 {
		t.Errorf("free space was measured %d times in a moment", n)
	}
	d, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	free.Store(4 << 30) // a twentieth is 5 GiB
	s.space.at = time.Time{}
	if _, err := s.Begin(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("Begin = %v, want %v", err, store.ErrFull)
	}
	m, ds := sampleMessage(store.NewID(), "example.org")
	if err := d.Commit(t.Context(), m, ds); !errors.Is(err, store.ErrFull) {
		t.Errorf("Commit = %v, want %v", err, store.ErrFull)
	}
	deliverT(t, s, id)
	free.Store(6 << 30)
	s.space.at = time.Time{}
	acceptT(t, s, 10)
}

func TestOverlay_WritersWaitAtItsBound(t *testing.T) {
	opts := smallOptions()
	opts.MaxOverlay = 8
	s := openT(t, t.TempDir(), opts)
	const writers, each = 6, 30
	var most atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if _, err := acceptOne(s, nil); err != nil {
					t.Error(err)
				}
				most.Store(max(most.Load(), int64(len(s.over.all()))))
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 8+writers {
		t.Errorf("%d messages in an overlay of 8", n)
	}
	r, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || r.Messages != writers*each {
		t.Errorf("Check = %+v, %v, want %d messages", r, err, writers*each)
	}
	checkT(t, s)
}

func TestCheckpoint_FinishedMessageIsWrittenOnce(t *testing.T) {
	opts := smallOptions()
	opts.CheckpointEvery = time.Hour
	s := openT(t, t.TempDir(), opts)
	id := acceptT(t, s, 10)
	deliverT(t, s, id)
	if n, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("Prune = %d, %v", n, err)
	}
	if n := len(s.over.all()); n != 0 {
		t.Errorf("%d messages are newer than the view after Prune", n)
	}
	checkT(t, s)
}

func TestReplay_BringsBackWhatTheViewLacks(t *testing.T) {
	opts := smallOptions()
	opts.CheckpointEvery = time.Hour
	dir := t.TempDir()
	s := openT(t, dir, opts)
	old := acceptT(t, s, 10)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	deliverT(t, s, old)
	fresh := acceptT(t, s, 300<<10)
	crashed := filepath.Join(t.TempDir(), "crashed")
	copyDir(t, dir, crashed)
	opts.MaxOverlay = 1 // a checkpoint in the midst of the replay
	again := openT(t, crashed, opts)
	wantBody(t, again, fresh, 300<<10)
	r, err := again.Record(t.Context(), old)
	if err != nil || !r.Deliveries[0].Done() || len(r.Events) != 2 {
		t.Errorf("Record = %+v, %v, want it sent once", r, err)
	}
	checkT(t, again)
}

// heldJournal keeps an Append from returning although it is durable.
type heldJournal struct {
	journalFile
	durable, resume chan struct{}
}

func (j *heldJournal) AppendDepending(ctx context.Context, deps []journal.Ref, recs ...journal.Record) ([]journal.Ref, journal.Position, error) {
	refs, pos, err := j.journalFile.AppendDepending(ctx, deps, recs...)
	j.durable <- struct{}{}
	<-j.resume
	return refs, pos, err
}

// TestCheckpoint_DoesNotPassWhatIsNotApplied has a checkpoint between the moment
// when a record is durable and that when it is in the overlay.
func TestCheckpoint_DoesNotPassWhatIsNotApplied(t *testing.T) {
	opts := smallOptions()
	opts.CheckpointEvery = time.Hour
	s := openT(t, t.TempDir(), opts)
	acceptT(t, s, 10)
	held := &heldJournal{s.jour, make(chan struct{}), make(chan struct{})}
	s.jour = held
	accepted := make(chan store.ID, 1)
	go func() {
		id, err := acceptOne(s, make([]byte, 10))
		if err != nil {
			t.Error(err)
		}
		accepted <- id
	}()
	<-held.durable
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	close(held.resume)
	id := <-accepted
	crashed := filepath.Join(t.TempDir(), "crashed")
	copyDir(t, s.root, crashed)
	again := openT(t, crashed, opts)
	wantBody(t, again, id, 10)
	checkT(t, again)
}
