package local

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// ticketsAtOnce is the most tickets that one call of a watcher's function gets.
const ticketsAtOnce = 1024

// watcher buffers the newest ticket of each delivery until its function takes
// it: unbounded, but never more than one for a delivery.
type watcher struct {
	wake chan struct{}
	// tickets is guarded by overlay.mu.
	tickets map[store.DeliveryID]store.Ticket
}

// announce tells watchers what became of a message's deliveries. The caller
// holds mu.
func (o *overlay) announce(u update) {
	if len(o.watchers) == 0 {
		return
	}
	if u.next == nil {
		eachQueued(u.old, func(q *queued) { o.retract(store.DeliveryID{Message: u.id, Part: q.part}) })
		return
	}
	st := u.next.stamp()
	for i := range u.next.parts {
		now := &u.next.parts[i]
		if u.old != nil && i < len(u.old.parts) && sameTicket(&u.old.parts[i], now) {
			continue
		}
		if now.Done() || !now.Held.IsZero() {
			o.retract(now.ID)
			continue
		}
		q := queuedOf(u.next, st, i)
		t := q.ticket()
		t.Stream, t.Destination = intern(t.Stream), intern(t.Destination)
		for w := range o.watchers {
			w.tickets[t.ID] = t
			w.signal()
		}
	}
}

// sameTicket tells whether a change is of no interest to watchers.
func sameTicket(a, b *leased) bool {
	return a.Attempt == b.Attempt && a.Due.Equal(b.Due) && a.Lease.Equal(b.Lease) && a.Held.Equal(b.Held) &&
		a.Destination == b.Destination && a.Done() == b.Done()
}

func (o *overlay) retract(id store.DeliveryID) {
	for w := range o.watchers {
		delete(w.tickets, id)
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Watch implements store.Queue. The tickets of the deliveries present come
// first; none of them is delivered after a newer ticket of the same delivery.
func (s *Store) Watch(ctx context.Context, fn func([]store.Ticket)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	w := &watcher{wake: make(chan struct{}, 1), tickets: map[store.DeliveryID]store.Ticket{}}
	present := s.over.watch(w)
	defer s.over.unwatch(w)
	if err := s.scanQueue(ctx, present, fn); err != nil {
		return fmt.Errorf("reading the queue: %w", err)
	}
	for {
		s.over.drain(w, fn, s.stopped(ctx))
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return store.ErrClosed
		}
	}
}

// stopped returns a function that tells whether a watch has to end.
func (s *Store) stopped(ctx context.Context) func() bool {
	return func() bool {
		select {
		case <-ctx.Done():
			return true
		case <-s.closing:
			return true
		default:
			return false
		}
	}
}

// watch registers w and returns the messages that are newer than the view at
// that moment.
func (o *overlay) watch(w *watcher) map[store.ID]entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchers[w] = struct{}{}
	return o.allLocked()
}

func (o *overlay) unwatch(w *watcher) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.watchers, w)
}

// drain hands the buffered tickets to fn.
func (o *overlay) drain(w *watcher, fn func([]store.Ticket), stopped func() bool) {
	o.mu.Lock()
	tickets := w.tickets
	w.tickets = map[store.DeliveryID]store.Ticket{}
	o.mu.Unlock()
	batch := make([]store.Ticket, 0, min(len(tickets), ticketsAtOnce))
	for _, t := range tickets {
		if batch = append(batch, t); len(batch) == ticketsAtOnce {
			if stopped() {
				return
			}
			fn(batch)
			batch = make([]store.Ticket, 0, ticketsAtOnce)
		}
	}
	if len(batch) > 0 && !stopped() {
		fn(batch)
	}
}

// scanQueue hands the tickets of the view and of present to fn.
func (s *Store) scanQueue(ctx context.Context, present map[store.ID]entry, fn func([]store.Ticket)) error {
	stopped := s.stopped(ctx)
	var batch []store.Ticket
	for id, e := range present {
		if e.gone {
			continue
		}
		eachQueued(e.state, func(q *queued) {
			if !q.held {
				t := q.ticket()
				t.ID.Message, t.Stream, t.Destination = id, intern(t.Stream), intern(t.Destination)
				batch = append(batch, t)
			}
		})
		if len(batch) >= ticketsAtOnce && !stopped() {
			fn(batch)
			batch = nil
		}
	}
	if len(batch) > 0 && !stopped() {
		fn(batch)
	}
	var after []byte
	for done := false; !done && !stopped(); {
		batch = make([]store.Ticket, 0, ticketsAtOnce)
		err := s.db.read(func(tx *bbolt.Tx) (err error) {
			batch, after, done, err = s.ticketsAfter(tx, after, batch, present)
			return err
		})
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			fn(batch)
		}
	}
	return nil
}

// ticketsAfter reads one page of bucket queue, beginning after a key.
func (s *Store) ticketsAfter(tx *bbolt.Tx, after []byte, batch []store.Ticket, present map[store.ID]entry) (_ []store.Ticket, last []byte, done bool, err error) {
	c := tx.Bucket(bucketQueue).Cursor()
	k, v := c.Seek(after)
	if after != nil && bytes.Equal(k, after) {
		k, v = c.Next()
	}
	for ; k != nil; k, v = c.Next() {
		q, err := parseQueued(k, v)
		if err != nil {
			return nil, nil, false, err
		}
		if _, newer := present[q.stamp.id()]; !q.held && !newer {
			q.voidLease(s.epoch)
			batch = append(batch, q.ticket())
		}
		if len(batch) == ticketsAtOnce {
			return batch, bytes.Clone(k), false, nil
		}
	}
	return batch, nil, true, nil
}
