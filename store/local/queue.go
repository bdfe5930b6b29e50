package local

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Claim implements store.Queue. An attempt number that is not the stored one
// gives store.ErrStale whatever else is wrong with the delivery.
func (s *Store) Claim(ctx context.Context, id store.DeliveryID, attempt int, now, lease time.Time) (store.Claimed, error) {
	if err := s.enter(ctx); err != nil {
		return store.Claimed{}, err
	}
	defer s.leave()
	s.keys.acquire(id.Message)
	defer s.keys.give(id.Message)
	c, err := s.claim(ctx, id, attempt, now, lease)
	if err != nil {
		return store.Claimed{}, fmt.Errorf("claiming delivery %d of message %s: %w", id.Part, id.Message, err)
	}
	return c, nil
}

func (s *Store) claim(ctx context.Context, id store.DeliveryID, attempt int, now, lease time.Time) (store.Claimed, error) {
	old, err := s.findPart(id)
	if err != nil {
		return store.Claimed{}, err
	}
	if err := claimable(&old.parts[id.Part].Delivery, attempt, now); err != nil {
		return store.Claimed{}, err
	}
	if !lease.After(now) {
		return store.Claimed{}, fmt.Errorf("lease ends before it begins: %w", store.ErrInvalid)
	}
	c := claimed{id.Part, attempt + 1, lease, s.epoch}
	rec := journal.Record{Type: typeClaim, Payload: [][]byte{encodeClaim(id.Message, c)}}
	if err := s.commit(ctx, nil, intent{id.Message, rec, old}); err != nil {
		return store.Claimed{}, err
	}
	failpoint.Hit(failpoint.StoreClaimed)
	d := leased{Delivery: old.delivery(id.Part)}
	d.abandon()
	out := store.Claimed{Message: old.message(), Delivery: d.Delivery}
	for i := range id.Part {
		out.First += len(old.parts[i].Recipients)
	}
	out.Delivery.Attempt, out.Delivery.Lease = c.attempt, lease.Round(0).UTC()
	return out, nil
}

// claimable decides whether a delivery can be claimed.
func claimable(d *store.Delivery, attempt int, now time.Time) error {
	switch {
	case d.Attempt != attempt:
		return fmt.Errorf("attempt %d, not %d: %w", d.Attempt, attempt, store.ErrStale)
	case d.Done():
		return fmt.Errorf("finished: %w", store.ErrNotDue)
	case !d.Held.IsZero():
		return fmt.Errorf("held: %w", store.ErrNotDue)
	case d.Lease.After(now):
		return fmt.Errorf("leased: %w", store.ErrNotDue)
	case d.Due.After(now):
		return store.ErrNotDue
	}
	return nil
}

// findPart returns a message that has the delivery.
func (s *Store) findPart(id store.DeliveryID) (*state, error) {
	st, err := s.lookup(id.Message)
	if err == nil && (st == nil || id.Part < 0 || id.Part >= len(st.parts)) {
		err = store.ErrNotFound
	}
	return st, err
}

// Ending implements store.Queue.
func (s *Store) Ending(ctx context.Context, id store.DeliveryID, attempt int, route string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.keys.acquire(id.Message)
	defer s.keys.give(id.Message)
	if err := s.ending(ctx, id, attempt, route); err != nil {
		return fmt.Errorf("recording the end of the content of delivery %d of message %s: %w", id.Part, id.Message, err)
	}
	return nil
}

func (s *Store) ending(ctx context.Context, id store.DeliveryID, attempt int, route string) error {
	if route == "" {
		return fmt.Errorf("no route: %w", store.ErrInvalid)
	}
	old, err := s.findPart(id)
	if err != nil {
		return err
	}
	if d := &old.parts[id.Part]; d.Attempt != attempt || d.Lease.IsZero() {
		return fmt.Errorf("attempt %d, not %d, or it has no lease: %w", d.Attempt, attempt, store.ErrStale)
	}
	rec := journal.Record{Type: typeEnding, Payload: [][]byte{encodeEnding(id.Message, ending{id.Part, attempt, route})}}
	return s.commit(ctx, nil, intent{id.Message, rec, old})
}

// Resolve implements store.Queue. A delivery without a lease, because it was
// resolved already or its lease was of an earlier process, gives
// store.ErrStale like one that was claimed again.
func (s *Store) Resolve(ctx context.Context, r store.Resolution) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	id := r.Delivery.ID
	if len(r.Notices) == 0 {
		s.keys.acquire(id.Message)
		defer s.keys.give(id.Message)
	} else {
		defer s.keys.lock(concerned(&r)...)()
	}
	if err := s.resolve(ctx, r); err != nil {
		return fmt.Errorf("resolving delivery %d of message %s: %w", id.Part, id.Message, err)
	}
	return nil
}

// concerned returns the messages that a result is written to.
func concerned(r *store.Resolution) []store.ID {
	ids := []store.ID{r.Delivery.ID.Message}
	for i := range r.Notices {
		ids = append(ids, r.Notices[i].Message.ID)
	}
	return ids
}

func (s *Store) resolve(ctx context.Context, r store.Resolution) error {
	old, err := s.findPart(r.Delivery.ID)
	if err != nil {
		return err
	}
	d, err := successor(&old.parts[r.Delivery.ID.Part].Delivery, r.Delivery)
	if err != nil {
		return err
	}
	if !r.Held.IsZero() && !d.Done() {
		d.Held, d.HeldUncertain = cmp.Or(d.Held, r.Held), d.Uncertain
	}
	rec := journal.Record{Type: typeResolve, Payload: [][]byte{encodeResolved(&d, 0, old.parts[r.Delivery.ID.Part].moved, r.Events)}}
	err = s.commitWith(ctx, intent{r.Delivery.ID.Message, rec, old}, r.Notices)
	failpoint.Hit(failpoint.StoreResolved)
	return err
}

// commitWith commits a record about a message together with messages of our
// own that follow from it.
func (s *Store) commitWith(ctx context.Context, first intent, notices []store.Submission) error {
	intents := []intent{first}
	seen := map[store.ID]bool{first.id: true}
	for _, n := range notices {
		if seen[n.Message.ID] {
			return fmt.Errorf("notice %s: %w", n.Message.ID, store.ErrExists)
		}
		seen[n.Message.ID] = true
		in, err := s.notice(n)
		if err != nil {
			return fmt.Errorf("notice %s: %w", n.Message.ID, err)
		}
		intents = append(intents, in)
	}
	return s.commit(ctx, nil, intents...)
}

// successor checks the fence and returns the delivery to be stored.
func successor(stored *store.Delivery, next store.Delivery) (store.Delivery, error) {
	if next.Attempt != stored.Attempt {
		return next, fmt.Errorf("attempt %d, not %d: %w", stored.Attempt, next.Attempt, store.ErrStale)
	}
	if stored.Lease.IsZero() {
		return next, fmt.Errorf("attempt %d has no lease: %w", stored.Attempt, store.ErrStale)
	}
	if len(next.Recipients) == 0 {
		return next, fmt.Errorf("no recipients: %w", store.ErrInvalid)
	}
	if len(next.Recipients) == len(stored.Recipients) { // what came back meanwhile is not overwritten
		next.Recipients = slices.Clone(next.Recipients)
		for i, r := range stored.Recipients {
			if r.State.Final() {
				next.Recipients[i] = r
			}
		}
	}
	next.Held, next.HeldUncertain, next.Lease, next.Ending = stored.Held, false, time.Time{}, ""
	if next.Done() {
		next.Held = time.Time{}
	}
	return next, nil
}

func (s *Store) notice(n store.Submission) (intent, error) {
	m := n.Message
	m.Size, m.BodyHash = int64(len(n.Body)), sha256.Sum256(n.Body)
	return s.acceptance(m, n.Deliveries, nil, n.Body)
}
