package journal_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// workloadBlocks fill four segments.
const workloadBlocks = 16

// workload opens the journal, writes blocks of all shapes over several
// segments, releases one and closes. It stops at the first power cut. Other errors are
// what they say: a failed block. Ids begin at first.
func workload(fs *faultfs.FS, o *outcome, first uint64, n int) error {
	j, err := journal.Open(testDir, smallOptions(fs))
	if err != nil {
		return err
	}
	defer j.Close()
	ctx := context.Background()
	for i := range n {
		b := block{ID: first + uint64(i)}
		for k := range i % 3 {
			b.Sizes = append(b.Sizes, 100+1700*((i+k)%4))
		}
		if i%4 == 3 {
			b.Chunks = []int{3000, 5000, 10}
		}
		pos, err := b.append(ctx, j)
		switch {
		case err == nil:
			o.acked = append(o.acked, b.ID)
			o.where[b.ID] = pos
		case errors.Is(err, faultfs.ErrCut):
			return err
		default:
			o.failed[b.ID] = true
		}
		if i == n*3/4 {
			releaseFirst(j, o)
		}
	}
	return j.Close()
}

// releaseFirst releases the oldest segment.
func releaseFirst(j *journal.Journal, o *outcome) {
	segments := j.Segments()
	if len(segments) == 0 {
		return
	}
	oldest := segments[0]
	if oldest.Active || oldest.Staged > 0 {
		return
	}
	o.freed[oldest.Number] = true
	_ = j.Release(oldest.Number) // an error leaves the file, which is allowed
}

// checkImage opens what a crash left and then uses it: a journal that was
// recovered must take new blocks, and keep them through a clean restart.
func checkImage(image *faultfs.FS, o *outcome) error {
	for round := range 2 {
		j, err := journal.Open(testDir, smallOptions(image))
		if err != nil {
			return fmt.Errorf("open %d: %w", round, err)
		}
		if err := o.verify(j); err != nil {
			_ = j.Close()
			return fmt.Errorf("round %d: %w", round, err)
		}
		b := block{ID: uint64(1_000_000 + round), Sizes: []int{5000}, Chunks: []int{2000}}
		pos, err := b.append(context.Background(), j)
		if err != nil {
			_ = j.Close()
			return fmt.Errorf("append after recovery: %w", err)
		}
		o.acked = append(o.acked, b.ID)
		o.where[b.ID] = pos
		if err := j.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (o *outcome) clone() *outcome {
	c := newOutcome()
	c.acked = append(c.acked, o.acked...)
	c.failed, c.freed = o.failed, o.freed
	for id, pos := range o.where {
		c.where[id] = pos
	}
	return c
}

// TestPowerCutAtEveryOperation cuts the power before every operation of a
// workload that would change the disk, and looks at what each kind of loss leaves.
func TestPowerCutAtEveryOperation(t *testing.T) {
	images := 0
	for n := 1; ; n++ {
		fs := faultfs.New()
		fs.CutAt(n)
		o := newOutcome()
		err := workload(fs, o, 1, workloadBlocks)
		for _, loss := range faultfs.Losses() {
			images++
			if err := checkImage(fs.Crash(loss, uint64(n)), o.clone()); err != nil {
				t.Fatalf("cut before operation %d, loss %v: %v", n, loss, err)
			}
		}
		if err == nil {
			if len(o.acked) != workloadBlocks {
				t.Fatalf("only %d blocks were acknowledged without a cut", len(o.acked))
			}
			if last := o.where[workloadBlocks].Segment; last < 4 || len(o.freed) == 0 {
				t.Fatalf("the workload is too small: it ends in segment %d and released %v", last, o.freed)
			}
			t.Logf("%d cuts, %d images", n, images)
			return
		}
	}
}

// TestPowerCutTwice cuts the power again while the journal recovers and goes
// on over what the first crash tore.
func TestPowerCutTwice(t *testing.T) {
	for n := 3; n < 60; n += 4 {
		for m := 1; m < 30; m += 4 {
			loss := faultfs.Losses()[(n+m)%len(faultfs.Losses())]
			o := newOutcome()
			fs := faultfs.New()
			fs.CutAt(n)
			_ = workload(fs, o, 1, workloadBlocks)
			second := fs.Crash(loss, uint64(n))
			second.CutAt(m)
			_ = workload(second, o, 500, 8)
			for _, again := range []faultfs.Loss{faultfs.Torn512, faultfs.Reorder, faultfs.KeepAll} {
				if err := checkImage(second.Crash(again, uint64(m)), o.clone()); err != nil {
					t.Fatalf("cuts before operations %d and %d, loss %v then %v: %v", n, m, loss, again, err)
				}
			}
		}
	}
}

// TestEveryOperationFails fails the N-th operation of the workload for every N
// and each error. Every block's fate must be what its caller was told, in the
// process, after a kill, and after a power cut.
func TestEveryOperationFails(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := 1; ; n++ {
			fs := faultfs.New()
			fs.FailAt(n, fault)
			o := newOutcome()
			err := workload(fs, o, 1, workloadBlocks)
			done := fs.Count() < n
			if err == nil && !done && len(o.acked)+len(o.failed) != workloadBlocks {
				t.Fatalf("%v at operation %d: %d acknowledged, %d failed", fault, n, len(o.acked), len(o.failed))
			}
			if len(o.failed) > 2 {
				t.Fatalf("%v at operation %d: one fault failed the blocks %v", fault, n, o.failed)
			}
			loss := faultfs.Losses()[n%len(faultfs.Losses())]
			for _, loss := range []faultfs.Loss{faultfs.KeepAll, loss} {
				if err := checkImage(fs.Crash(loss, uint64(n)), o.clone()); err != nil {
					t.Fatalf("%v at operation %d, loss %v: %v", fault, n, loss, err)
				}
			}
			if done {
				t.Logf("%v: %d operations", fault, n-1)
				break
			}
		}
	}
}

// TestKillThenPowerCut: what Open took for committed after a kill was only in
// the page cache. It was shown to the caller, so it must survive a power cut as well.
func TestKillThenPowerCut(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	mustAppend(t, j, data([]byte("acknowledged")))
	fs.CutAt(2) // the write is done, the fdatasync never
	if _, _, err := j.Append(context.Background(), data([]byte("written"))); err == nil {
		t.Fatal("acknowledged without a sync")
	}
	fs.SetFault(nil)
	shown, err := replayed(mustOpen(t, fs, opts))
	if err != nil || len(shown) != 2 {
		t.Fatalf("after the kill: %q, %v", shown, err)
	}
	got, err := replayed(mustOpen(t, fs.Crash(faultfs.DropAll, 0), opts))
	if err != nil || len(got) != len(shown) {
		t.Fatalf("after the power cut: %q, %v; shown before: %q", got, err, shown)
	}
}
