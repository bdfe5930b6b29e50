package journal_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/mailchute/mailchute/store/journal"
)

// BenchmarkAppend measures durable 4 KiB appends by 1, 10 and 100 callers on
// segments that grow and on pre-written ones. The claim: overwriting written
// blocks makes fdatasync cheaper, so pre-written segments win where one caller waits for each sync.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []string{"grown", "prewritten", "recycled"} {
		for _, writers := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%s/writers=%d", mode, writers), func(b *testing.B) { benchAppend(b, mode, writers) })
		}
	}
}

// benchAppend runs the callers. Segments hold 16 MiB, so that the first one,
// which is never pre-written, is left behind before the clock starts.
func benchAppend(b *testing.B, mode string, writers int) {
	const size = 16 << 20
	opts := journal.Options{SegmentSize: size, NoPrewrite: mode == "grown", Spares: 12}
	if mode == "recycled" {
		opts.Spares = 4
	}
	j, err := journal.Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	leaveFirstSegment(b, j, opts, mode == "recycled")
	payload := filler(1, 1, 4096)
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	b.SetBytes(4096)
	b.ResetTimer()
	done := make(chan error, writers)
	for range writers {
		go func() { done <- drain(j, payload, left, mode == "recycled") }()
	}
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// leaveFirstSegment fills the segments that are not of the kind to be
// measured, and waits for the spares.
func leaveFirstSegment(b *testing.B, j *journal.Journal, opts journal.Options, recycle bool) {
	b.Helper()
	fill := func() { // more than the sixteenth of a segment after which spares are made, for groups this small
		for range 20 {
			mustAppend(b, j, data(make([]byte, 64<<10)))
		}
	}
	until := uint64(1)
	if recycle {
		until = 3 * uint64(opts.Spares)
	}
	waitSpares := func() {
		if !opts.NoPrewrite {
			waitFor(b, "spares", func() bool { return j.SpareCount() == opts.Spares })
		}
	}
	fill()
	waitSpares()
	for at := j.End().Segment; at <= until; at = j.End().Segment {
		fill()
		if recycle && at > 2 {
			if err := j.Release(at - 2); err != nil {
				b.Fatal(err)
			}
		}
	}
	fill() // in the new segment
	waitSpares()
}

// drain appends until nothing is left; it releases old segments when asked to.
func drain(j *journal.Journal, payload []byte, left chan struct{}, release bool) error {
	for range left {
		refs, _, err := j.Append(context.Background(), data(payload))
		if err != nil {
			return err
		}
		if release && refs[0].Segment > 3 {
			if err := j.Release(refs[0].Segment - 2); err != nil {
				return err
			}
		}
	}
	return nil
}

// BenchmarkStage50MB measures a 50 MB body staged in chunks of 256 KiB and
// committed. The claim: B/op stays far below the body's size.
func BenchmarkStage50MB(b *testing.B) {
	j, err := journal.Open(b.TempDir(), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	chunk := filler(1, 1, 256<<10)
	b.SetBytes(200 * 256 << 10)
	b.ReportAllocs()
	for b.Loop() {
		var refs []journal.Ref
		for range 200 {
			ref, err := j.Stage(context.Background(), data(chunk))
			if err != nil {
				b.Fatal(err)
			}
			refs = append(refs, ref)
		}
		if _, _, err := j.AppendDepending(context.Background(), refs, data([]byte("message"))); err != nil {
			b.Fatal(err)
		}
		for _, s := range j.Segments() {
			if !s.Active && s.Staged == 0 {
				if err := j.Release(s.Number); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
