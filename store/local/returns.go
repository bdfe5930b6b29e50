package local

import (
	"context"
	"fmt"
	"slices"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Return implements store.Returns. In the journal it is a resolve record: a
// delivery as it is from now on, with events. Its lease stays.
func (s *Store) Return(ctx context.Context, r store.Return) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	ids := []store.ID{r.Message}
	for i := range r.Submissions {
		ids = append(ids, r.Submissions[i].Message.ID)
	}
	unlock := s.keys.lock(ids...)
	defer unlock()
	if err := s.takeBack(ctx, r); err != nil {
		return fmt.Errorf("recording what came back for recipient %d of message %s: %w", r.Number, r.Message, err)
	}
	return nil
}

func (s *Store) takeBack(ctx context.Context, r store.Return) error {
	old, err := s.find(r.Message)
	if err != nil {
		return err
	}
	part, index, ok := old.numbered(r.Number)
	if !ok {
		return store.ErrNotFound
	}
	d := old.parts[part]
	d.Recipients = slices.Clone(d.Recipients)
	rcpt := &d.Recipients[index]
	switch {
	case r.State != r.Was && (!r.Was.Final() || !r.State.Final()), r.Was == "":
		return fmt.Errorf("from state %q to %q: %w", r.Was, r.State, store.ErrInvalid)
	case rcpt.State != r.Was:
		return fmt.Errorf("recipient is %s: %w", rcpt.State, store.ErrStale)
	case r.State != r.Was:
		rcpt.State, rcpt.Last = r.State, r.Reply
	}
	events := slices.Clone(r.Events)
	for i := range events {
		events[i].Part = part
		if events[i].Recipient == "" {
			events[i].Recipient = rcpt.Address
		}
	}
	rec := journal.Record{Type: typeResolve, Payload: [][]byte{encodeResolved(&d.Delivery, d.epoch, d.moved, events)}}
	return s.commitWith(ctx, intent{r.Message, rec, old}, r.Submissions)
}

// numbered finds a recipient by its number in the whole message.
func (s *state) numbered(n int) (part, index int, ok bool) {
	for i := range s.parts {
		if k := len(s.parts[i].Recipients); n >= k {
			n -= k
			continue
		}
		return i, n, n >= 0
	}
	return 0, 0, false
}
