package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// TestRoundTrip stores records of all shapes over several segments, and finds
// them by Ref and by replay from every position.
func TestRoundTrip(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	var recs []written
	positions := []journal.Position{{}}
	counts := []int{0}
	for i := range uint64(40) {
		var batch []journal.Record
		for k := range i%3 + 1 {
			p := filler(i, k, int(i*k*40))
			batch = append(batch, journal.Record{Type: byte(i + 1), Payload: [][]byte{p[:len(p)/3], nil, p[len(p)/3:]}})
			recs = append(recs, written{payload: p})
		}
		refs, pos := mustAppend(t, j, batch...)
		for k, ref := range refs {
			recs[len(recs)-len(refs)+k].ref = ref
		}
		positions, counts = append(positions, pos), append(counts, len(recs))
	}
	mustClose(t, j)
	j = mustOpen(t, fs, smallOptions(fs))
	for _, r := range recs {
		if got, err := j.Read(r.ref); err != nil || !bytes.Equal(got, r.payload) {
			t.Fatalf("%v: %v", r.ref, err)
		}
	}
	for i, pos := range positions {
		var got [][]byte
		next := pos
		err := j.Replay(context.Background(), pos, func(e journal.Entry) error {
			got = append(got, bytes.Clone(e.Payload))
			if !next.Before(e.Next) {
				return fmt.Errorf("position %v follows %v", e.Next, next)
			}
			next = e.Next
			return nil
		})
		if err == nil {
			err = checkPayloads(got, recs[counts[i]:])
		}
		if err != nil {
			t.Fatalf("from %v: %v", pos, err)
		}
	}
	if all, err := j.Verify(context.Background()); err != nil || len(all) > 0 {
		t.Fatalf("verify: %v, %v", all, err)
	}
	if n := len(j.Segments()); n < 3 {
		t.Fatalf("only %d segments", n)
	}
}

// TestReplayStops with the callback's own error, whichever it is.
func TestReplayStops(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	writeSome(t, j, 1, 2, 3)
	for _, stop := range []error{io.EOF, errors.New("enough"), journal.ErrNotFound} {
		calls := 0
		err := j.Replay(context.Background(), journal.Position{}, func(journal.Entry) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Errorf("%d calls, %v, want %v", calls, err, stop)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := j.Replay(ctx, journal.Position{}, func(journal.Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestReopenKeepsTheSegment: restarts in good order use up neither segments nor space.
func TestReopenKeepsTheSegment(t *testing.T) {
	fs := faultfs.New()
	end := journal.Position{}
	for range 5 {
		j := mustOpen(t, fs, smallOptions(fs))
		if end != (journal.Position{}) && j.End() != end {
			t.Fatalf("the end moved from %v to %v", end, j.End())
		}
		if end == (journal.Position{}) {
			mustAppend(t, j, data([]byte("x")))
		}
		mustClose(t, j)
		mustClose(t, j)
		end = mustOpen(t, fs, smallOptions(fs)).End()
	}
	if end.Segment != 1 {
		t.Fatalf("the end is in segment %d", end.Segment)
	}
}

// TestReaderStreams reads several staged chunks as one body, in any piece size.
func TestReaderStreams(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	var refs []journal.Ref
	var body []byte
	for i, n := range []int{9000, 0, 12000, 1, 15000} { // over three segments
		p := filler(1, uint64(i), n)
		ref, err := j.Stage(context.Background(), journal.Record{Type: typeChunk, Payload: [][]byte{p}})
		if err != nil {
			t.Fatal(err)
		}
		refs, body = append(refs, ref), append(body, p...)
	}
	if _, _, err := j.AppendDepending(context.Background(), refs, data([]byte("message"))); err != nil {
		t.Fatal(err)
	}
	r, err := j.Reader(refs...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Size() != int64(len(body)) {
		t.Fatalf("size %d", r.Size())
	}
	if err := iotest.TestReader(struct{ io.Reader }{r}, body); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int{0, 8999, 9000, 20999, 21001, len(body) - 1} {
		p := make([]byte, 5000)
		n, err := r.ReadAt(p, int64(off))
		want := body[off:min(len(body), off+5000)]
		if !bytes.Equal(p[:n], want) || (n < 5000) != errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt %d: %d bytes, %v", off, n, err)
		}
	}
	got, err := replayed(j)
	if err != nil || len(got) != 1 {
		t.Fatalf("staged records in a replay: %d, %v", len(got)-1, err)
	}
}

// TestReadNeverEndsWellOnDamage: a consumer that stops at io.EOF never takes
// a damaged payload for a whole one.
func TestReadNeverEndsWellOnDamage(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 5000)
	mustClose(t, j)
	content, _ := fs.ReadFile(segmentPath(1))
	content[recs[0].ref.Offset+4321] ^= 4
	fs.WriteFile(segmentPath(1), content)
	j = mustOpen(t, fs, smallOptions(fs))
	r, err := j.Reader(recs[0].ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, 600))
	var damage *journal.CorruptError
	if n >= 5000 || !errors.As(err, &damage) || damage.Offset != recs[0].ref.Offset-16 {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// TestReleaseWhileReading: a reader keeps its segment as it is until it closes.
func TestReleaseWhileReading(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	j := mustOpen(t, fs, opts)
	recs := writeSome(t, j, 9000, 9000, 9000, 9000, 9000)
	r, err := j.Reader(recs[0].ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Release(1); err != nil {
		t.Fatal(err)
	}
	if err := j.Release(1); err != nil {
		t.Fatalf("again: %v", err)
	}
	writeSome(t, j, 9000, 9000, 9000, 9000)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, recs[0].payload) {
		t.Fatalf("reading a released segment: %v", err)
	}
	if !j.Segments()[0].Released {
		t.Fatalf("segment 1 went while it was read: %+v", j.Segments()[0])
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if j.Segments()[0].Number == 1 {
		t.Fatal("segment 1 is still listed")
	}
	if _, err := j.Read(recs[0].ref); !errors.Is(err, journal.ErrNotFound) {
		t.Fatalf("reading what was released: %v", err)
	}
	got, err := replayed(mustOpen(t, fs.Crash(faultfs.DropAll, 0), opts))
	if err != nil || len(got) != 7 {
		t.Fatalf("%d records after a crash, %v", len(got), err)
	}
}

// TestStagedRecordsHoldTheirSegment until they are committed or discarded.
func TestStagedRecordsHoldTheirSegment(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	ref, err := j.Stage(context.Background(), data([]byte("chunk")))
	if err != nil {
		t.Fatal(err)
	}
	writeSome(t, j, 15000, 15000)
	if err := j.Release(1); !errors.Is(err, journal.ErrInUse) {
		t.Fatalf("with a staged record: %v", err)
	}
	j.Discard(ref)
	if _, _, err := j.AppendDepending(context.Background(), []journal.Ref{ref}, data(nil)); !errors.Is(err, journal.ErrStaged) {
		t.Fatalf("committing what was discarded: %v", err)
	}
	if err := j.Release(1); err != nil {
		t.Fatal(err)
	}
}

// TestConcurrentUse has writers, readers, a replayer and a releaser at work on
// the real file system at once.
func TestConcurrentUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := journal.Open(dir, journal.Options{SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(40) {
				b := block{ID: w<<32 | i, Sizes: []int{int(i) * 50}}
				if i%5 == 0 {
					b.Chunks = []int{3000, 3000}
				}
				if _, err := b.append(context.Background(), j); err != nil {
					t.Error(err)
					return
				}
				if err := checkChunks(j, b, nil); err != nil && !errors.Is(err, journal.ErrNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_ = j.Replay(context.Background(), journal.Position{}, func(e journal.Entry) error { return nil })
			if segments := j.Segments(); len(segments) > 4 {
				if err := j.Release(segments[0].Number); err != nil && !errors.Is(err, journal.ErrInUse) {
					t.Error(err)
				}
			}
			j.End()
		}
	})
	wg.Wait()
	mustClose(t, j)
	checkModes(t, dir)
	j, err = journal.Open(dir, journal.Options{SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if all, err := j.Verify(context.Background()); err != nil || len(all) > 0 || len(j.Recovery().Damage) > 0 {
		t.Fatalf("after a restart: %v, %v", all, err)
	}
}

// checkModes: nobody else may read mail.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("directory: %v, %v", st.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// TestLargeBodyNeedsLittleMemory streams 50 MB in and out.
func TestLargeBodyNeedsLittleMemory(t *testing.T) {
	j, err := journal.Open(t.TempDir(), journal.Options{NoPrewrite: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	const chunks, size = 200, 256 << 10
	chunk := filler(1, 1, size)
	var refs []journal.Ref
	peak := heap()
	for i := range chunks {
		ref, err := j.Stage(context.Background(), data(chunk))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
		if i%20 == 0 {
			peak = max(peak, heap())
		}
	}
	if _, _, err := j.AppendDepending(context.Background(), refs, data([]byte("message"))); err != nil {
		t.Fatal(err)
	}
	r, err := j.Reader(refs...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if err != nil || n != chunks*size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	peak = max(peak, heap())
	t.Logf("heap at most %d KiB for %d KiB", peak>>10, n>>10)
	if peak > 8<<20 {
		t.Fatalf("heap of %d bytes", peak)
	}
}

// heap returns the bytes in use on the heap, garbage included.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// TestAppendWithdrawn: what one call gave up never becomes the answer of another,
// and what an error says was not written is not there.
func TestAppendWithdrawn(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	var wg sync.WaitGroup
	var written, withdrawn atomic.Int64
	for id := range uint64(16) {
		wg.Go(func() {
			for i := range uint64(100) {
				ctx, cancel := context.WithCancel(context.Background())
				go cancel()
				p := filler(id, i, 40)
				refs, _, err := j.Append(ctx, data(p))
				if err != nil {
					if withdrawn.Add(1); !errors.Is(err, context.Canceled) {
						t.Errorf("append: %v", err)
					}
					continue
				}
				written.Add(1)
				if got, err := j.Read(refs[0]); err != nil || !bytes.Equal(got, p) {
					t.Errorf("record %d of %d: %v, the answer is another's: %v", i, id, err, err == nil)
				}
			}
		})
	}
	wg.Wait()
	got, err := replayed(j)
	if err != nil || int64(len(got)) != written.Load() {
		t.Errorf("%d records of %d, %d withdrawn, %v", len(got), written.Load(), withdrawn.Load(), err)
	}
	mustClose(t, j)
}
