package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// recover loads what the engine keeps in memory and applies the part of the
// journal that the view lacks. Damage in that part is logged, kept by the
// journal for Check, and passed over: the mail behind it must not wait for it.
func (s *Store) recover(ctx context.Context) error {
	if err := s.db.read(s.load); err != nil {
		return fmt.Errorf("loading the view: %w", err)
	}
	if err := s.replay(ctx, s.position); err != nil {
		return fmt.Errorf("replaying the journal: %w", err)
	}
	s.unmap()
	return nil
}

// load reads position, segment usage, lanes and the highest ID.
func (s *Store) load(tx *bbolt.Tx) (err error) {
	if s.over.batch, err = batchOf(tx); err != nil {
		return err
	}
	last, _ := tx.Bucket(bucketMessage).Cursor().Last()
	copy(s.over.inView[:], last)
	if v := tx.Bucket(bucketMeta).Get(keyPosition); v != nil {
		if s.position, err = parsePosition(v); err != nil {
			return err
		}
	}
	err = tx.Bucket(bucketSegment).ForEach(func(k, v []byte) error {
		n, err := parseNumber(k)
		if err != nil {
			return err
		}
		s.over.segments[n], err = parseUsage(v)
		return err
	})
	if err != nil {
		return err
	}
	return tx.Bucket(bucketQueue).ForEach(func(k, v []byte) error {
		q, err := parseQueued(k, v)
		if err != nil {
			return err
		}
		q.voidLease(s.epoch)
		s.over.lanes.add(&q)
		return nil
	})
}

// errReplayed ends a replay at its bound.
var errReplayed = errors.New("replayed to the bound")

// replay applies every record from a position on. The overlay's bound holds.
func (s *Store) replay(ctx context.Context, from journal.Position) error {
	return s.replayUntil(ctx, from, nil)
}

// replayUntil is replay up to a position, nil for the end.
func (s *Store) replayUntil(ctx context.Context, from journal.Position, to *journal.Position) error {
	err := s.jour.Salvage(ctx, from, func(e journal.Entry) error {
		if to != nil && to.Before(e.Next) {
			return errReplayed
		}
		l, err := decodeRecordAt(e.Type, e.Payload, e.Ref)
		if err != nil {
			s.log.Error("a journal record cannot be read", "error", err)
			s.unreadable++
			return nil
		}
		if err := s.reapply(&l); err != nil {
			return err
		}
		return s.makeRoom(e)
	}, func(d *journal.CorruptError) error {
		s.log.Error("the journal is damaged", "segment", d.Segment, "offset", d.Offset, "reason", d.Reason)
		return nil
	})
	if errors.Is(err, errReplayed) {
		return nil
	}
	if errors.Is(err, journal.ErrPosition) {
		return fmt.Errorf("the view is newer than the journal, which has lost its end; mailchute check --rebuild makes the view fit it: %w: %w", err, store.ErrDamaged)
	}
	return err
}

func (s *Store) reapply(l *located) error {
	old, err := s.lookup(l.id)
	if err != nil {
		return err
	}
	next, changed := l.apply(old)
	if !changed {
		return nil
	}
	silent := s.silent != nil && s.silent(l)
	if next != nil {
		next = next.voidLeases(s.epoch)
		if silent || s.hooks.settled(l.position()) { // one transaction of the old view has counted and queued
			next = next.silent(old)
		}
	}
	s.over.mu.Lock()
	defer s.over.mu.Unlock()
	s.over.put(update{id: l.id, old: old, next: next, silent: silent})
	return nil
}

// makeRoom writes a checkpoint as of the record before e.Next when the overlay
// is full.
func (s *Store) makeRoom(e journal.Entry) error {
	if !e.Last || (len(s.over.dirty) < s.opts.MaxOverlay && s.over.bytes < s.opts.MaxOverlayBytes) {
		return nil
	}
	end := s.over.end
	s.over.end = func() journal.Position { return e.Next }
	defer func() { s.over.end = end }()
	return s.checkpoint()
}

// lookup returns a message as the newest write left it, with the leases of
// earlier processes void, or nil where it is not known.
func (s *Store) lookup(id store.ID) (*state, error) {
	if e, ok := s.over.get(id); ok {
		if e.gone {
			return nil, nil
		}
		return e.state, nil
	}
	if s.over.beyondView(id) {
		return nil, nil
	}
	var st *state
	err := s.db.read(func(tx *bbolt.Tx) (err error) { st, err = stateIn(tx, id); return err })
	if err != nil || st == nil {
		return nil, err
	}
	return st.voidLeases(s.epoch), nil
}

// stateIn returns a message of the view, nil where there is none.
func stateIn(tx *bbolt.Tx, id store.ID) (*state, error) {
	return stateOf(tx.Bucket(bucketMessage), id, decodeState)
}

// stateOf is stateIn for a caller with many messages.
func stateOf(message *bbolt.Bucket, id store.ID, decode func([]byte) (*state, error)) (*state, error) {
	v := message.Get(id[:])
	if v == nil {
		return nil, nil
	}
	st, err := decode(v)
	if err == nil && st.msg.ID != id {
		err = fmt.Errorf("record of %s: %w", st.msg.ID, store.ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return st, nil
}

// find is lookup for a message that must be there.
func (s *Store) find(id store.ID) (*state, error) {
	st, err := s.lookup(id)
	if err == nil && st == nil {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return st, nil
}

// headOf returns the part of a record that decodeRecordAt needs.
func headOf(rec journal.Record) []byte {
	head := rec.Payload[0]
	return head[:recordHead+int(binary.BigEndian.Uint32(head[recordHead-4:]))]
}
