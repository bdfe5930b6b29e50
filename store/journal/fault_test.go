package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// gate lets a test hold the next operations of one kind.
type gate struct {
	entered chan struct{}
	leave   chan error
}

func newGate() *gate { return &gate{entered: make(chan struct{}), leave: make(chan error)} }

// gatedFS holds every Datasync of a segment while a gate is set.
type gatedFS struct {
	*faultfs.FS
	mu   sync.Mutex
	gate *gate
}

func (g *gatedFS) set(gate *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = gate
}

func (g *gatedFS) Create(name string) (journal.File, error) { return g.wrap(g.FS.Create(name)) }

func (g *gatedFS) Open(name string, readOnly bool) (journal.File, error) {
	return g.wrap(g.FS.Open(name, readOnly))
}

func (g *gatedFS) wrap(f journal.File, err error) (journal.File, error) {
	if err != nil {
		return nil, err
	}
	return gatedFile{f, g}, nil
}

type gatedFile struct {
	journal.File
	fs *gatedFS
}

func (f gatedFile) Datasync() error {
	f.fs.mu.Lock()
	gate := f.fs.gate
	f.fs.mu.Unlock()
	if gate != nil {
		gate.entered <- struct{}{}
		if err := <-gate.leave; err != nil {
			return err
		}
	}
	return f.File.Datasync()
}

// appendMany starts n Appends and returns a channel with their errors.
func appendMany(j *journal.Journal, first uint64, n int) chan error {
	errs := make(chan error, n)
	for i := range n {
		go func() {
			b := block{ID: first + uint64(i), Sizes: []int{10}}
			_, err := b.append(context.Background(), j)
			errs <- err
		}()
	}
	return errs
}

// TestGroupCommit holds one fdatasync while others arrive: all of them share the next one.
func TestGroupCommit(t *testing.T) {
	fs := &gatedFS{FS: faultfs.New()}
	opts := smallOptions(fs)
	opts.SegmentSize, opts.NoPrewrite = 1<<20, true
	j := mustOpen(t, fs, opts)
	mustAppend(t, j, data([]byte("first")))
	g := newGate()
	fs.set(g)
	one := appendMany(j, 1, 1)
	<-g.entered
	many := appendMany(j, 100, 50)
	waitFor(t, "50 callers in the queue", func() bool { return j.Pending() == 50 })
	fs.set(nil)
	fs.Record()
	g.leave <- nil
	for range 50 {
		if err := <-many; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-one; err != nil {
		t.Fatal(err)
	}
	var syncs, writes int
	for _, op := range fs.Ops() {
		switch op.Kind {
		case faultfs.Datasync:
			syncs++
		case faultfs.Write:
			writes++
		}
	}
	if syncs != 2 || writes != 1 { // the held sync ends after Record
		t.Fatalf("%d syncs and %d writes for one and fifty Appends", syncs, writes)
	}
}

// TestSyncErrorPoisons fails one fdatasync under a group of callers.
func TestSyncErrorPoisons(t *testing.T) {
	fs := &gatedFS{FS: faultfs.New()}
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	o := newOutcome()
	good := block{ID: 1, Sizes: []int{500}}
	if _, err := good.append(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	o.acked = append(o.acked, 1)
	staged, err := j.Stage(context.Background(), journal.Record{Type: typeChunk, Payload: [][]byte{[]byte("chunk")}})
	if err != nil {
		t.Fatal(err)
	}
	g := newGate()
	fs.set(g)
	errs := appendMany(j, 10, 1)
	<-g.entered
	fs.set(nil)
	fs.FailAt(1, syscall.EIO) // the held fdatasync is the next operation
	fs.Record()
	g.leave <- nil
	if err := <-errs; !errors.Is(err, journal.ErrSync) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("append: %v", err)
	}
	o.failed[10] = true
	if info := j.Segments()[0]; !info.Poisoned || info.Active {
		t.Fatalf("segment after a failed fdatasync: %+v", info)
	}
	_, _, err = j.AppendDepending(context.Background(), []journal.Ref{staged}, data([]byte("message")))
	if !errors.Is(err, journal.ErrStaged) {
		t.Fatalf("committing a chunk of the poisoned part: %v", err)
	}
	next := block{ID: 2, Sizes: []int{500}, Chunks: []int{70}}
	pos, err := next.append(context.Background(), j)
	if err != nil || pos.Segment != 2 {
		t.Fatalf("the next append: %v, %v", pos, err)
	}
	o.acked = append(o.acked, 2)
	syncs := 0
	for _, op := range fs.Ops() {
		if op.Kind == faultfs.Datasync && op.Name == segmentPath(1) {
			syncs++
		}
	}
	if syncs > 1 {
		t.Fatalf("the poisoned file was synced %d times more", syncs-1)
	}
	for _, loss := range faultfs.Losses() {
		if err := checkImage(fs.Crash(loss, 3), o.clone()); err != nil {
			t.Fatalf("%v: %v", loss, err)
		}
	}
}

// TestFailedGroupStaysGoneWithoutSuccessor: the process dies before the next
// segment could be made. The failed group was complete in the page cache.
func TestFailedGroupStaysGoneWithoutSuccessor(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	o := newOutcome()
	for id := range uint64(3) {
		b := block{ID: id, Sizes: []int{300}}
		if id == 2 {
			fs.SetFault(failKind(faultfs.Datasync, syscall.EIO))
		}
		if _, err := b.append(context.Background(), j); err == nil {
			o.acked = append(o.acked, id)
		} else {
			o.failed[id] = true
		}
	}
	if len(o.failed) != 1 {
		t.Fatalf("failed: %v", o.failed)
	}
	if err := checkImage(fs.Crash(faultfs.KeepAll, 0), o); err != nil {
		t.Fatal(err)
	}
}

func failKind(kind faultfs.Kind, err error) faultfs.Fault {
	return func(op faultfs.Op) (int64, error) {
		if op.Kind == kind {
			return 0, err
		}
		return 0, nil
	}
}

// TestPoisonedSegmentKeepsItsEnd: the successor, which alone records where the
// poisoned segment ends, outlives it.
func TestPoisonedSegmentKeepsItsEnd(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	mustAppend(t, j, data([]byte("good")))
	fs.FailAt(2, syscall.EIO)
	if _, _, err := j.Append(context.Background(), data([]byte("bad"))); !errors.Is(err, journal.ErrSync) {
		t.Fatal(err)
	}
	for j.End().Segment < 3 {
		mustAppend(t, j, data(make([]byte, 9000)))
	}
	if err := j.Release(2); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.ReadFile(segmentPath(2)); err != nil {
		t.Fatalf("the successor of a poisoned segment: %v", err)
	}
	got, err := replayed(mustOpen(t, fs.Crash(faultfs.KeepAll, 0), opts))
	if err != nil || len(got) == 0 || string(got[0]) != "good" || len(got) < 3 || string(got[1]) == "bad" {
		t.Fatalf("replay after a restart: %d records, %v", len(got), err)
	}
	if err := j.Release(1); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 2; n++ {
		if _, err := fs.ReadFile(segmentPath(n)); err == nil {
			t.Fatalf("segment %d is still there", n)
		}
	}
}

// TestNoSpace: the batch fails, nothing is poisoned, and service comes back by itself.
func TestNoSpace(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		fs := faultfs.New()
		opts := smallOptions(fs)
		opts.NoPrewrite = true
		j := mustOpen(t, fs, opts)
		kept, err := j.Stage(context.Background(), data([]byte("staged before")))
		if err != nil {
			t.Fatal(err)
		}
		first, _ := mustAppend(t, j, data([]byte("one")))
		fs.SetFault(func(op faultfs.Op) (int64, error) {
			if op.Kind == faultfs.Write {
				return op.Length / 2, full // a part of it got in
			}
			return 0, nil
		})
		for range 3 {
			_, _, err := j.Append(context.Background(), data(make([]byte, 4000)), data([]byte("x")))
			if !errors.Is(err, journal.ErrNoSpace) || !errors.Is(err, full) {
				t.Fatalf("append on a full disk: %v", err)
			}
		}
		fs.SetFault(nil)
		refs, _, err := j.AppendDepending(context.Background(), []journal.Ref{kept}, data([]byte("two")))
		if err != nil {
			t.Fatal(err)
		}
		if info := j.Segments(); len(info) != 1 || info[0].Poisoned || refs[0].Segment != first[0].Segment {
			t.Fatalf("after a full disk: %+v", info)
		}
		got, err := replayed(mustOpen(t, fs.Crash(faultfs.DropAll, 0), opts))
		if err != nil || len(got) != 2 || string(got[0])+string(got[1]) != "onetwo" {
			t.Fatalf("replay: %q, %v", got, err)
		}
	}
}

// TestNoSpaceForANewSegment: the journal waits for space at a rotation too.
func TestNoSpaceForANewSegment(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	mustAppend(t, j, data(make([]byte, 15000)))
	fs.SetFault(noNewFiles)
	for range 3 {
		if _, _, err := j.Append(context.Background(), data(make([]byte, 15000))); !errors.Is(err, journal.ErrNoSpace) {
			t.Fatalf("append: %v", err)
		}
	}
	fs.SetFault(nil)
	mustAppend(t, j, data(make([]byte, 15000)))
	if n := len(j.Segments()); n != 2 {
		t.Fatalf("%d segments", n)
	}
}

// TestCancel: a caller that gives up before its turn leaves nothing behind, and
// one that gives up later is told the truth.
func TestCancel(t *testing.T) {
	fs := &gatedFS{FS: faultfs.New()}
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	mustAppend(t, j, data([]byte("a")))
	g := newGate()
	fs.set(g)
	ctx, cancel := context.WithCancel(context.Background())
	taken, queued := make(chan error, 1), make(chan error, 1)
	go func() {
		_, _, err := j.Append(ctx, data([]byte("taken up")))
		taken <- err
	}()
	<-g.entered
	go func() {
		_, _, err := j.Append(ctx, data([]byte("in the queue")))
		queued <- err
	}()
	waitFor(t, "the second caller", func() bool { return j.Pending() == 1 })
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Fatalf("queued: %v", err)
	}
	fs.set(nil)
	g.leave <- nil
	if err := <-taken; err != nil {
		t.Fatalf("taken up: %v", err)
	}
	got, err := replayed(j)
	if err != nil || fmt.Sprintf("%s", got) != "[a taken up]" {
		t.Fatalf("%s, %v", got, err)
	}
}

// TestRefusals: what can never be written is refused at once.
func TestRefusals(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	ctx := context.Background()
	for name, c := range map[string]struct {
		recs []journal.Record
		want error
	}{
		"no record":     {nil, journal.ErrInvalid},
		"type zero":     {[]journal.Record{{Type: 0}}, journal.ErrInvalid},
		"reserved type": {[]journal.Record{{Type: journal.MaxType + 1}}, journal.ErrInvalid},
		"too large":     {[]journal.Record{data(make([]byte, 32<<10))}, journal.ErrTooLarge},
		"just too large": {
			[]journal.Record{data(make([]byte, 32<<10-framesBegin-16-96+1))}, journal.ErrTooLarge,
		},
	} {
		if _, _, err := j.Append(ctx, c.recs...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustAppend(t, j, data(make([]byte, 32<<10-framesBegin-16-96)))
	if _, _, err := j.AppendDepending(ctx, []journal.Ref{{Segment: 1, Offset: 20000, Length: 3}}, data(nil)); !errors.Is(err, journal.ErrStaged) {
		t.Errorf("an unknown dependency: %v", err)
	}
	if err := j.Release(99); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("releasing a segment that never was: %v", err)
	}
	if err := j.Release(j.End().Segment); !errors.Is(err, journal.ErrInUse) {
		t.Errorf("releasing the active segment: %v", err)
	}
	err := j.Replay(ctx, journal.Position{Segment: 7}, func(journal.Entry) error { return nil })
	if !errors.Is(err, journal.ErrPosition) {
		t.Errorf("replaying from behind the end: %v", err)
	}
	mustClose(t, j)
	if _, _, err := j.Append(ctx, data(nil)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("appending after Close: %v", err)
	}
}

// TestDamageKeepsSuspectReadersOut: a Ref that names no frame is refused, not guessed at.
func TestDamageKeepsSuspectReadersOut(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 100, 200)
	wrong := recs[1].ref
	wrong.Offset--
	if _, err := j.Read(wrong); !errors.As(err, new(*journal.CorruptError)) {
		t.Fatalf("reading beside a frame: %v", err)
	}
	if j.Segments()[0].Quarantined {
		t.Fatal("a wrong Ref quarantined a good segment")
	}
	if got, err := j.Read(recs[0].ref); err != nil || !bytes.Equal(got, recs[0].payload) {
		t.Fatal(err)
	}
	if !strings.HasPrefix(recs[0].ref.String(), "1:") {
		t.Fatal(recs[0].ref.String())
	}
}
