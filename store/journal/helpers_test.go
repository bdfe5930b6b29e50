package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

const (
	testDir     = "/journal"
	typeData    = 1
	typeMessage = 2
	typeChunk   = 3
)

// smallOptions make segments so small that a short test rotates.
func smallOptions(fs journal.FS) journal.Options {
	return journal.Options{SegmentSize: 32 << 10, Spares: 1, FS: fs}
}

func mustOpen(t testing.TB, fs journal.FS, opts journal.Options) *journal.Journal {
	t.Helper()
	opts.FS = fs
	j, err := journal.Open(testDir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func mustAppend(t testing.TB, j *journal.Journal, recs ...journal.Record) ([]journal.Ref, journal.Position) {
	t.Helper()
	refs, pos, err := j.Append(context.Background(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	return refs, pos
}

func mustClose(t testing.TB, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func data(p []byte) journal.Record {
	return journal.Record{Type: typeData, Payload: [][]byte{p}}
}

// filler returns n bytes that only id and i could have made.
func filler(id, i uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(id, i))
	for k := 0; k+8 <= n; k += 8 {
		binary.BigEndian.PutUint64(b[k:], rng.Uint64())
	}
	return b
}

// block is one Append of a workload: so many records, and a body staged in so many chunks.
type block struct {
	ID     uint64
	Sizes  []int         // of the data records
	Chunks []int         // of the staged chunks
	Refs   []journal.Ref // of the chunks
}

// append writes the block: chunks, then a message record that names them, then data records.
func (b *block) append(ctx context.Context, j *journal.Journal) (journal.Position, error) {
	for i, n := range b.Chunks {
		ref, err := j.Stage(ctx, journal.Record{Type: typeChunk, Payload: [][]byte{filler(b.ID, uint64(1000+i), n)}})
		if err != nil {
			j.Discard(b.Refs...)
			return journal.Position{}, err
		}
		b.Refs = append(b.Refs, ref)
	}
	head, err := json.Marshal(b)
	if err != nil {
		return journal.Position{}, err
	}
	recs := []journal.Record{{Type: typeMessage, Payload: [][]byte{head[:1], head[1:]}}}
	for i, n := range b.Sizes {
		recs = append(recs, data(filler(b.ID, uint64(i), n)))
	}
	_, pos, err := j.AppendDepending(ctx, b.Refs, recs...)
	if err != nil {
		j.Discard(b.Refs...)
	}
	return pos, err
}

// readBlocks replays a journal and checks that every block in it is whole.
func readBlocks(j *journal.Journal, from journal.Position, freed map[uint64]bool) ([]block, error) {
	var blocks []block
	var cur *block
	var seen int
	err := j.Replay(context.Background(), from, func(e journal.Entry) error {
		if cur == nil {
			cur, seen = &block{}, 0
			if e.Type != typeMessage {
				return fmt.Errorf("at %v: a block begins with a record of type %d", e.Ref, e.Type)
			}
			if err := json.Unmarshal(e.Payload, cur); err != nil {
				return err
			}
		} else {
			if seen >= len(cur.Sizes) || !bytes.Equal(e.Payload, filler(cur.ID, uint64(seen), cur.Sizes[seen])) {
				return fmt.Errorf("at %v: record %d of block %d is not what was written", e.Ref, seen, cur.ID)
			}
			seen++
		}
		if e.Last != (seen == len(cur.Sizes)) {
			return fmt.Errorf("at %v: block %d ends after %d records", e.Ref, cur.ID, seen)
		}
		if e.Last {
			blocks = append(blocks, *cur)
			cur = nil
		}
		return nil
	})
	if err == nil && cur != nil {
		err = fmt.Errorf("block %d is not whole", cur.ID)
	}
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if err := checkChunks(j, b, freed); err != nil {
			return nil, fmt.Errorf("block %d: %w", b.ID, err)
		}
	}
	return blocks, nil
}

// checkChunks reads the staged chunks of a block, except those in segments that were released.
func checkChunks(j *journal.Journal, b block, freed map[uint64]bool) error {
	for i, ref := range b.Refs {
		got, err := j.Read(ref)
		if errors.Is(err, journal.ErrNotFound) && freed[ref.Segment] {
			continue
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(got, filler(b.ID, uint64(1000+i), b.Chunks[i])) {
			return fmt.Errorf("chunk %d has other bytes", i)
		}
	}
	return nil
}

// outcome is what a workload was told.
type outcome struct {
	acked  []uint64                    // blocks that must be there
	failed map[uint64]bool             // blocks that must not be there
	where  map[uint64]journal.Position // of acknowledged blocks
	freed  map[uint64]bool             // segments released, with what was in them
}

func newOutcome() *outcome {
	return &outcome{failed: map[uint64]bool{}, where: map[uint64]journal.Position{}, freed: map[uint64]bool{}}
}

// verify checks a journal against what was told. Blocks whose fate was never
// told, because the power went, may be there or not.
func (o *outcome) verify(j *journal.Journal) error {
	if d := j.Recovery().Damage; len(d) > 0 {
		return fmt.Errorf("a crash was taken for damage: %w", d[0])
	}
	blocks, err := readBlocks(j, journal.Position{}, o.freed)
	if err != nil {
		return err
	}
	at := map[uint64]int{}
	for i, b := range blocks {
		if _, twice := at[b.ID]; twice {
			return fmt.Errorf("block %d is there twice", b.ID)
		}
		if o.failed[b.ID] {
			return fmt.Errorf("block %d is there although its Append failed", b.ID)
		}
		at[b.ID] = i
	}
	last := -1
	for _, id := range o.acked {
		i, ok := at[id]
		if !ok {
			if o.freed[o.where[id].Segment] {
				continue
			}
			return fmt.Errorf("block %d was acknowledged at %v and is gone; the journal ends at %v, cut at %v (%s)", id, o.where[id], j.End(), j.Recovery().CutAt, j.Recovery().CutReason)
		}
		if i < last {
			return fmt.Errorf("block %d is out of order", id)
		}
		last = i
	}
	return nil
}

// waitFor polls until ok or a deadline.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

var _ journal.FS = (*faultfs.FS)(nil)
