package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// intent is a record to be appended and the message that it is about as it was
// when the record was decided on.
type intent struct {
	id  store.ID
	rec journal.Record
	old *state // nil: not known
}

// commit appends records as one atomic group, applies them, and returns when
// they are durable. The caller holds the key locks of all their messages. The
// memory of the records is no longer the caller's.
func (s *Store) commit(ctx context.Context, deps []journal.Ref, intents ...intent) error {
	defer func() {
		for i := range intents {
			recycleRecord(headOf(intents[i].rec))
		}
	}()
	if err := s.db.healthy(); err != nil {
		return err
	}
	w, err := s.over.begin(ctx, deps...)
	if err != nil {
		return err
	}
	for i := range intents {
		w.recs = append(w.recs, intents[i].rec)
	}
	// What begins now is not given up halfway: ctx has done its part.
	refs, _, err := s.jour.AppendDepending(context.Background(), deps, w.recs...)
	if err != nil {
		s.over.finish(w)
		return journalError(err)
	}
	failpoint.Hit(failpoint.StoreAhead)
	if w.updates, err = applied(w.updates, intents, refs); err != nil { // durable, and nobody can read it: a fault of the program
		s.over.finish(w)
		return s.db.poison(err)
	}
	s.over.apply(w)
	return nil
}

// applied appends the next states, made from the records as they were written, so that
// what is in memory is what a replay would make.
func applied(updates []update, intents []intent, refs []journal.Ref) ([]update, error) {
	for i, in := range intents {
		l, err := decodeRecordAt(in.rec.Type, headOf(in.rec), refs[i])
		if err != nil {
			return updates, err
		}
		old := in.old
		if i > 0 && intents[i-1].id == in.id {
			old = updates[i-1].next
		}
		next, _ := l.apply(old)
		updates = append(updates, update{id: in.id, old: in.old, next: next})
	}
	return updates, nil
}

// journalError maps the journal's errors to the vocabulary. Those that it has
// no word for are temporary.
func journalError(err error) error {
	switch {
	case errors.Is(err, journal.ErrNoSpace):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case errors.Is(err, journal.ErrClosed):
		return fmt.Errorf("%w: %w", store.ErrClosed, err)
	case errors.Is(err, journal.ErrTooLarge):
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	return err
}
