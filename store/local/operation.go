package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Amend implements store.Operation. Retry leaves deliveries alone that are
// under way, because their result sets the due time.
func (s *Store) Amend(ctx context.Context, a store.Amendment, by string, now time.Time, ids ...store.ID) (int, error) {
	return s.alter(ctx, store.Alteration{Amendment: a, By: by, At: now}, ids, nil)
}

// Alter implements store.Operation.
func (s *Store) Alter(ctx context.Context, a store.Alteration, ids ...store.DeliveryID) (int, error) {
	wanted := map[store.DeliveryID]bool{}
	var messages []store.ID
	for _, id := range ids {
		wanted[id] = true
		messages = append(messages, id.Message)
	}
	return s.alter(ctx, a, messages, func(id store.DeliveryID) bool { return wanted[id] })
}

// alter changes those of the messages' deliveries that are wanted; nil wants all.
func (s *Store) alter(ctx context.Context, a store.Alteration, ids []store.ID, wanted func(store.DeliveryID) bool) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	if !slices.Contains([]store.Amendment{store.Hold, store.Release, store.Retry, store.Cancel, store.Reroute}, a.Amendment) {
		return 0, fmt.Errorf("amendment %q: %w", a.Amendment, store.ErrInvalid)
	}
	unlock := s.keys.lock(ids...)
	defer unlock()
	n, err := s.amend(ctx, amended{Alteration: a}, ids, wanted)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", a.Amendment, err)
	}
	return n, nil
}

func (s *Store) amend(ctx context.Context, a amended, ids []store.ID, wanted func(store.DeliveryID) bool) (n int, err error) {
	var intents []intent
	seen := map[store.ID]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		old, err := s.find(id)
		if err != nil {
			return 0, err
		}
		if err := s.reachable(a.Alteration, old); err != nil {
			return 0, fmt.Errorf("message %s: %w", id, err)
		}
		a.parts, err = choose(old, a.Amendment, a.At, func(part int) bool {
			return wanted == nil || wanted(store.DeliveryID{Message: id, Part: part})
		})
		if err != nil {
			return 0, fmt.Errorf("message %s: %w", id, err)
		}
		if len(a.parts) == 0 {
			continue
		}
		n += len(a.parts)
		intents = append(intents, intent{id, journal.Record{Type: typeAmend, Payload: [][]byte{encodeAmended(id, a)}}, old})
	}
	if len(intents) == 0 {
		return 0, nil
	}
	return n, s.commit(ctx, nil, intents...)
}

// reachable refuses to reroute a message to a stream that its server does not have.
func (s *Store) reachable(a store.Alteration, old *state) error {
	if a.Amendment != store.Reroute || a.Stream == "" {
		return nil
	}
	stream, ok := s.Snapshot().Streams[store.StreamKey{Server: old.msg.Server, Stream: a.Stream}]
	if !ok || !stream.Outbound() {
		return fmt.Errorf("outbound stream %q of server %d: %w", a.Stream, old.msg.Server, store.ErrNotFound)
	}
	return nil
}

// pruneAtOnce is how many messages are forgotten with one append.
const pruneAtOnce = 256

// Prune implements store.Operation. Each message is forgotten whole or not at
// all; when Prune fails, the number says how many are gone. It then releases the journal
// segments that nothing needs any more.
func (s *Store) Prune(ctx context.Context, before time.Time) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	s.pruning.Lock() // held across I/O: two would do the same work twice
	defer s.pruning.Unlock()
	n, err := s.prune(ctx, before)
	if err == nil {
		err = s.reclaim(ctx)
	}
	if err != nil {
		return n, fmt.Errorf("pruning: %w", err)
	}
	return n, nil
}

func (s *Store) prune(ctx context.Context, before time.Time) (n int, err error) {
	if err := s.checkpoint(); err != nil { // so that the view alone has all candidates
		return 0, err
	}
	end := stampOf(before, store.ID{})
	var after []byte
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		var ids []store.ID
		err := s.db.read(func(tx *bbolt.Tx) (err error) {
			ids, after, done, err = finishedAfter(tx, after, end)
			return err
		})
		if err != nil {
			return n, err
		}
		forgotten, err := s.forget(ctx, ids)
		if n += forgotten; err != nil {
			return n, err
		}
	}
	return n, nil
}

// finishedAfter reads a page of bucket time and returns the messages that have
// no delivery in bucket queue.
func finishedAfter(tx *bbolt.Tx, after []byte, end stamp) (ids []store.ID, last []byte, done bool, err error) {
	c, queue := tx.Bucket(bucketTime).Cursor(), tx.Bucket(bucketQueue).Cursor()
	k, _ := c.Seek(after)
	if after != nil && bytes.Equal(k, after) {
		k, _ = c.Next()
	}
	for seen := 0; k != nil && bytes.Compare(k, end[:]) < 0; k, _ = c.Next() {
		st, err := stampAt(k, 0)
		if err != nil {
			return nil, nil, false, fmt.Errorf("bucket %s: %w: %w", bucketTime, err, store.ErrDamaged)
		}
		if q, _ := queue.Seek(k); !bytes.HasPrefix(q, k) {
			ids = append(ids, st.id())
		}
		if seen++; len(ids) == pruneAtOnce || seen == 16*pruneAtOnce {
			return ids, bytes.Clone(k), false, nil
		}
	}
	return ids, nil, true, nil
}

// forget removes those of the messages that are finished.
func (s *Store) forget(ctx context.Context, ids []store.ID) (int, error) {
	unlock := s.keys.lock(ids...)
	defer unlock()
	var intents []intent
	for _, id := range ids {
		old, err := s.lookup(id)
		if err != nil {
			return 0, err
		}
		if old != nil && !old.unfinished() {
			intents = append(intents, intent{id, journal.Record{Type: typeForget, Payload: [][]byte{encodeForgotten(id)}}, old})
		}
	}
	if len(intents) == 0 {
		return 0, nil
	}
	if err := s.commit(ctx, nil, intents...); err != nil {
		return 0, err
	}
	failpoint.Hit(failpoint.RetentionForgotten)
	return len(intents), nil
}

// errEnough ends a walk through the journal early.
var errEnough = errors.New("enough")

// reclaim releases segments, always the oldest, so that the journal never
// lacks a record between two that it has: the forgetting of a message stays as
// long as its acceptance. Where little of the oldest is needed, that is copied
// to the journal's end first.
func (s *Store) reclaim(ctx context.Context) error {
	for {
		if err := s.checkpoint(); err != nil {
			return err
		}
		segments := slices.DeleteFunc(s.jour.Segments(), func(i journal.SegmentInfo) bool { return i.Released })
		n, ok := s.oldest(segments)
		if !ok {
			return nil
		}
		if s.over.needed(n) == 0 {
			failpoint.Hit(failpoint.RetentionReleasing)
			if err := s.release(segments[0]); err != nil {
				return err
			}
			continue
		}
		if !s.sparse(segments) {
			return nil
		}
		if err := s.evacuate(ctx, n); err != nil {
			return fmt.Errorf("copying what journal segment %d still holds: %w", n, err)
		}
		if s.over.needed(n) > 0 {
			s.log.Warn("messages that cannot be read hold back retention; check --full names them, queue delete gives them up", "segment", n)
			return nil // what is left is damaged or counted wrongly: for Check
		}
	}
}

// oldest returns the segment that could go next.
func (s *Store) oldest(segments []journal.SegmentInfo) (uint64, bool) {
	if len(segments) < 2 {
		return 0, false
	}
	first := segments[0]
	s.checkpointing.Lock()
	behind := first.Number < s.position.Segment
	s.checkpointing.Unlock()
	return first.Number, behind && first.Staged == 0 && !s.over.awaited(first.Number)
}

// release gives up a segment that nothing needs. One with damage is kept for the
// operator under another name: what could not be read of it may be missed.
func (s *Store) release(seg journal.SegmentInfo) error {
	if !seg.Quarantined {
		return s.jour.Release(seg.Number)
	}
	if err := s.jour.SetAside(seg.Number); err != nil {
		return err
	}
	s.log.Warn("a damaged journal segment was set aside: nothing that could be read of it is needed any more", "segment", seg.Number)
	return nil
}

// awaited tells whether a write under way will need a segment: what is staged there
// counts as committed before the message that has it is applied. So it is asked behind
// what the journal says of the segment, and before needed.
func (o *overlay) awaited(segment uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.writes, func(w *writing) bool {
		return slices.ContainsFunc(w.deps, func(r journal.Ref) bool { return r.Segment == segment })
	})
}

// needed returns how many messages need a segment.
func (o *overlay) needed(segment uint64) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.segments[segment].messages
}

// sparse tells whether copying the first segment is worth it: less than a
// quarter of it is needed, or less than half of all.
func (s *Store) sparse(segments []journal.SegmentInfo) bool {
	s.over.mu.Lock()
	defer s.over.mu.Unlock()
	var live, used int64
	for i, seg := range segments {
		l, u := s.over.segments[seg.Number].bytes, seg.Last.Offset-seg.First.Offset
		if i == 0 && l < u/4 {
			return true
		}
		live, used = live+l, used+u
	}
	return live < used/2
}

// evacuate copies every message that needs segment n. The record that accepted a
// staged body may lie in a later segment, so the walk goes on until nothing
// needs n.
func (s *Store) evacuate(ctx context.Context, n uint64) error {
	err := s.jour.Salvage(ctx, journal.Position{Segment: n}, func(e journal.Entry) error {
		if s.over.needed(n) == 0 {
			return errEnough
		}
		l, err := decodeRecordAt(e.Type, e.Payload, e.Ref)
		if err != nil {
			return nil // Check tells of it
		}
		return s.move(ctx, l.id, n)
	}, func(*journal.CorruptError) error { return nil })
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// move copies a message to the end of the journal if it needs segment n.
func (s *Store) move(ctx context.Context, id store.ID, n uint64) error {
	s.keys.acquire(id)
	defer s.keys.give(id)
	st, err := s.lookup(id)
	if err != nil || st == nil {
		return err
	}
	if !slices.ContainsFunc(st.places, func(p place) bool { return p.segment == n }) {
		return nil
	}
	staged, inline, err := s.copyBody(ctx, st)
	if err != nil {
		s.jour.Discard(stagedRefs(staged)...)
		if errors.Is(damaged(err), store.ErrDamaged) {
			s.log.Error("a body is damaged", "message", id, "error", err)
			return nil
		}
		return err
	}
	next := st.with()
	next.body, next.places = staged, nil
	rec := journal.Record{Type: typeCopy, Payload: [][]byte{endRecord(putState(beginRecord(id), next)), inline}}
	if err := s.commit(ctx, stagedRefs(staged), intent{id, rec, st}); err != nil {
		s.jour.Discard(stagedRefs(staged)...)
		return err
	}
	failpoint.Hit(failpoint.RetentionMoved)
	return nil
}

// copyBody reads a body that fits into a draft's buffer, and stages a larger one.
func (s *Store) copyBody(ctx context.Context, st *state) (staged []extent, inline []byte, err error) {
	for _, e := range st.body {
		r, err := s.jour.Reader(e.ref)
		if err != nil {
			return staged, nil, err
		}
		piece := make([]byte, e.ref.Length)
		_, err = io.ReadFull(r, piece)
		if err = errors.Join(err, r.Close()); err != nil {
			return staged, nil, err
		}
		if len(st.body) == 1 && e.length <= chunkSize {
			return nil, piece[e.skip:], nil
		}
		ref, err := s.jour.Stage(ctx, journal.Record{Type: typeBody, Payload: [][]byte{piece[e.skip:]}})
		if err != nil {
			return staged, nil, journalError(err)
		}
		staged = append(staged, extent{ref: ref, length: ref.Length})
	}
	return staged, nil, nil
}
