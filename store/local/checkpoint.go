package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// appendFill is the share of a page that is filled where keys only ever grow.
const appendFill = 0.9

// batch is what one checkpoint writes: the net state of every message that
// changed, and the journal position that the view then stands for.
type batch struct {
	entries  map[store.ID]entry
	segments map[uint64]usage
	position journal.Position
	number   uint64
	tally    tally
	// block is how many messages a search block has.
	block int
	// fresh are the messages of each stream that came into its list.
	fresh map[store.StreamKey][]*state
}

// mappedFor is how long pages of the view stay mapped in after they were read,
// so that the process's resident size does not grow with all that it stores.
const mappedFor = 30 * time.Second

// checkpointLoop keeps the view close behind the journal.
func (s *Store) checkpointLoop() {
	if err := s.growAll(); err != nil {
		s.log.Error("looking for messages without a search index", "error", err)
	}
	tick := time.NewTicker(s.opts.CheckpointEvery)
	defer tick.Stop()
	mapped := time.NewTicker(mappedFor)
	defer mapped.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-mapped.C:
			s.unmap()
			continue
		case <-tick.C:
		case <-s.over.kick:
		}
		err := s.checkpoint()
		if err == nil {
			if err := s.seal(); err != nil {
				s.log.Error("bringing the search index up to date", "error", err)
			}
		} else {
			s.log.Error("bringing the view up to date", "error", err)
			select { // what failed for want of space is tried at the next tick
			case <-s.stop:
				return
			case <-tick.C:
			}
		}
	}
}

// unmap gives back what was mapped in of the view.
func (s *Store) unmap() {
	err := s.db.read(func(tx *bbolt.Tx) error {
		releaseMapped(tx)
		return nil
	})
	if err != nil {
		s.log.Debug("giving back pages of the view", "error", err)
	}
}

// checkpoint brings the view up to date with one synced transaction.
func (s *Store) checkpoint() error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	return s.writeBatch(s.over.take())
}

// writeBatch writes what take returned. The caller holds checkpointing.
func (s *Store) writeBatch(b batch) error {
	if len(b.entries) == 0 && b.position == s.position {
		s.over.settle(b, nil)
		return nil
	}
	b.block = s.opts.blockSize
	var touched map[int64]struct{}
	err := s.db.write(func(tx *bbolt.Tx) (err error) {
		if err = b.write(tx); err == nil && s.hooks != nil {
			touched, err = s.hooks.derive(tx, b.entries)
		}
		return err
	})
	failpoint.Hit(failpoint.ViewCommitted)
	s.over.settle(b, err)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s.position = b.position
	s.grew(b.fresh)
	if s.hooks != nil {
		s.hooks.announce(touched)
	}
	return nil
}

// take begins a checkpoint.
func (o *overlay) take() batch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.takeLocked()
}

// takeLocked is take for a caller that holds mu.
func (o *overlay) takeLocked() batch {
	b := batch{entries: o.dirty, segments: make(map[uint64]usage, len(o.touched)), position: o.end()}
	o.batch++
	b.number, b.tally = o.batch, o.tally
	o.written, o.tally = o.tally, tally{}
	for _, w := range o.writes {
		if w.from.Before(b.position) {
			b.position = w.from
		}
	}
	for n := range o.touched {
		b.segments[n] = o.segments[n]
	}
	if bytes.Compare(o.highest[:], o.inView[:]) > 0 {
		o.inView = o.highest
	}
	o.flushing, o.dirty, o.touched = o.dirty, make(map[store.ID]entry, len(o.dirty)), map[uint64]bool{}
	return b
}

// takeWhole begins a checkpoint after which the view is exactly what the journal
// makes up to the position of the batch. New writes wait until those under way
// have ended, which takes as long as one sync of the journal. One caller at a time.
func (o *overlay) takeWhole(ctx context.Context) (batch, error) {
	drained, gate := make(chan struct{}), make(chan struct{})
	o.mu.Lock()
	o.gate, o.drained = gate, drained
	if len(o.writes) == 0 {
		close(drained)
	}
	o.mu.Unlock()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = ctx.Err()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gate, o.drained = nil, nil
	close(gate)
	if err != nil {
		return batch{}, err
	}
	return o.takeLocked(), nil
}

// settle ends a checkpoint. When it failed, its messages are dirty again.
func (o *overlay) settle(b batch, failed error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stuck = failed
	for id, e := range b.entries {
		newer, changed := o.dirty[id]
		switch {
		case failed == nil && changed:
			o.dirty[id] = newer.above(e.after())
		case failed != nil && !changed:
			o.dirty[id] = e
			continue
		case failed != nil:
			newer.news += e.news
			o.dirty[id] = newer.above(e.before())
		}
		o.bytes -= e.size
	}
	if failed != nil {
		for n := range b.segments {
			o.touched[n] = true
		}
		o.tally.merge(b.tally)
		o.written = nil
	}
	for n, u := range b.segments {
		if failed == nil && u == (usage{}) && o.segments[n] == u {
			delete(o.segments, n)
		}
	}
	o.flushing = nil
	close(o.room)
	o.room = make(chan struct{})
}

// before returns the message whose keys the view had when e was not written yet, nil
// where it had none; after returns that of a view that e was written to.
func (e entry) before() *state {
	if e.fresh {
		return e.drop
	}
	return e.state
}

func (e entry) after() *state {
	if e.gone {
		return nil
	}
	return e.state
}

// above returns e as it is to be written to a view that has the keys of the message
// in, nil for none. That can be another one of the same ID.
func (e entry) above(in *state) entry {
	e.fresh, e.drop = in == nil, nil
	switch {
	case in == nil || in.stamp() == e.state.stamp():
	case e.gone:
		e.state, e.news = in, 0
	default:
		e.fresh, e.drop = true, in
	}
	return e
}

// write is the transaction.
func (b *batch) write(tx *bbolt.Tx) error {
	w := openBuckets(tx)
	b.fresh = map[store.StreamKey][]*state{}
	ids := slices.SortedFunc(maps.Keys(b.entries), func(x, y store.ID) int { return bytes.Compare(x[:], y[:]) })
	for _, id := range ids {
		e := b.entries[id]
		if err := w.entry(e); err != nil {
			return fmt.Errorf("message %s: %w", id, err)
		}
		if e.fresh && !e.gone {
			stream := store.StreamKey{Server: e.state.msg.Server, Stream: e.state.msg.Stream}
			b.fresh[stream] = append(b.fresh[stream], e.state)
		}
	}
	if err := errors.Join(w.blocks.flush(), w.list(b.fresh, b.block)); err != nil {
		return fmt.Errorf("lists and search blocks: %w", err)
	}
	for n, u := range b.segments {
		if err := putUsage(tx.Bucket(bucketSegment), n, u); err != nil {
			return err
		}
	}
	failpoint.Hit(failpoint.ViewFilled)
	if err := b.tally.write(tx.Bucket(bucketStats)); err != nil {
		return fmt.Errorf("statistics: %w", err)
	}
	meta := tx.Bucket(bucketMeta)
	return errors.Join(meta.Put(keyBatch, numberKey(b.number)), meta.Put(keyPosition, positionValue(b.position)))
}

// buckets are those of the view in one write transaction.
type buckets struct {
	message, time, stream, queue, held, bounce, bounceID *bbolt.Bucket

	blocks blocks
	slab   slab
	key    []byte // of the call under way: bbolt copies keys
}

// slab hands out the memory of values, which bbolt keeps until the transaction ends.
type slab []byte

const (
	slabSize = 64 << 10
	slabRoom = 2 << 10 // more than most values have
)

// next returns a slab with room, and its length.
func (s slab) next() (slab, int) {
	if cap(s)-len(s) < slabRoom {
		s = make(slab, 0, slabSize)
	}
	return s, len(s)
}

func openBuckets(tx *bbolt.Tx) buckets {
	w := buckets{
		message: tx.Bucket(bucketMessage), time: tx.Bucket(bucketTime), stream: tx.Bucket(bucketStream),
		queue: tx.Bucket(bucketQueue), held: tx.Bucket(bucketHeld), bounce: tx.Bucket(bucketBounce), bounceID: tx.Bucket(bucketBounceID), blocks: openBlocks(tx),
	}
	w.message.FillPercent, w.time.FillPercent, w.queue.FillPercent = appendFill, appendFill, appendFill
	return w
}

// entry writes one message and its index keys, but for the list of its stream.
func (w *buckets) entry(e entry) error {
	if e.drop != nil {
		if err := w.remove(e.drop); err != nil {
			return err
		}
	}
	switch {
	case e.gone && e.fresh:
		return nil
	case e.gone:
		return w.remove(e.state)
	}
	s, st := e.state, e.state.stamp()
	b, at := w.slab.next()
	w.slab = appendState(b, s)
	err := errors.Join(w.putBounces(s, e.fresh), w.message.Put(s.msg.ID[:], w.slab[at:]))
	if e.fresh {
		w.key = append(w.key[:0], st[:]...)
		err = errors.Join(err, w.time.Put(w.key, nil))
	} else {
		w.progress(s, st)
	}
	for i := range s.parts {
		err = errors.Join(err, w.part(s, st, i, e.fresh))
	}
	return err
}

// progress tells the block of a message, if it has one, whether it is finished.
func (w *buckets) progress(s *state, st stamp) {
	key := streamKey(s.msg.Server, s.msg.Stream, st)
	if w.stream.Get(key) == nil {
		w.blocks.setQueued(key[:len(key)-stampSize], st, s.unfinished())
	}
}

// part writes the queue and held keys of one delivery.
func (w *buckets) part(s *state, st stamp, i int, fresh bool) error {
	w.key = appendPartKey(w.key[:0], st, i)
	if s.parts[i].Done() {
		if fresh {
			return nil
		}
		return errors.Join(w.queue.Delete(w.key), w.held.Delete(w.key))
	}
	q := queuedOf(s, st, i)
	b, at := w.slab.next()
	w.slab = q.append(b)
	err := w.queue.Put(w.key, w.slab[at:])
	switch {
	case q.held:
		return errors.Join(err, w.held.Put(w.key, nil))
	case fresh:
		return err
	}
	return errors.Join(err, w.held.Delete(w.key))
}

func (w *buckets) remove(s *state) error {
	st := s.stamp()
	err := errors.Join(w.dropBounces(s), w.message.Delete(s.msg.ID[:]), w.time.Delete(st.key()), w.unlist(s, st))
	for i := range s.parts {
		key := partKey(st, i)
		err = errors.Join(err, w.queue.Delete(key), w.held.Delete(key))
	}
	return err
}

// unlist takes a message out of its stream's list, or of its block.
func (w *buckets) unlist(s *state, st stamp) error {
	key := streamKey(s.msg.Server, s.msg.Stream, st)
	if w.stream.Get(key) != nil {
		return w.stream.Delete(key)
	}
	w.blocks.remove(key[:len(key)-stampSize], st)
	return nil
}

func putUsage(b *bbolt.Bucket, segment uint64, u usage) error {
	if u.messages == 0 {
		return b.Delete(numberKey(segment))
	}
	return b.Put(numberKey(segment), append(numberKey(uint64(u.messages)), numberKey(uint64(u.bytes))...))
}

func parseUsage(v []byte) (u usage, err error) {
	if len(v) != 16 {
		return u, fmt.Errorf("segment usage of %d bytes: %w", len(v), store.ErrDamaged)
	}
	return usage{int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:]))}, nil
}
