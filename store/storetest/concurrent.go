package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailchute/mailchute/store"
)

var concurrentTests = []test{
	{"OneClaimWins", concurrentClaim},
	{"CrossingAmendmentsDoNotLock", concurrentAmend},
	{"WholeLifeFromManySides", concurrentLife},
	{"CloseDuringCalls", concurrentClose},
}

func concurrentClaim(e *env) {
	for range 10 {
		m := e.accept(start, "one.example")
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := e.Claim(e.ctx(), part(m, 0), 0, start, at(time.Minute))
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrStale) && !errors.Is(err, store.ErrNotDue):
					e.Errorf("Claim = %v", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || e.record(m.ID).Deliveries[0].Attempt != 1 {
			e.Errorf("%d claims won, attempt %d, want one of each", won.Load(), e.record(m.ID).Deliveries[0].Attempt)
		}
	}
}

func concurrentAmend(e *env) {
	a, b, c := e.accept(start, "one.example"), e.accept(start, "one.example"), e.accept(start, "one.example")
	orders := [][]store.ID{{a.ID, b.ID, c.ID}, {c.ID, b.ID, a.ID}, {b.ID, a.ID, c.ID}}
	var wg sync.WaitGroup
	for _, ids := range orders {
		wg.Go(func() {
			for range 20 {
				for _, op := range []store.Amendment{store.Hold, store.Release} {
					if _, err := e.Amend(e.ctx(), op, "ada", start, ids...); err != nil {
						e.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, m := range []store.Message{a, b, c} {
		if r := e.record(m.ID); !r.Deliveries[0].Held.IsZero() || len(r.Events)%2 != 1 {
			e.Errorf("held %s with %d events: an amendment was not whole", r.Deliveries[0].Held, len(r.Events))
		}
	}
}

// concurrentLife has writers, a dispatcher fed by Watch, readers and retention
// at once, and ends when everything accepted is sent.
func concurrentLife(e *env) {
	const writers, each = 4, 25
	ctx, cancel := context.WithCancel(e.ctx())
	defer cancel()
	work := make(chan store.Ticket, writers*each*8)
	var others sync.WaitGroup
	others.Go(func() {
		_ = e.Watch(ctx, func(ts []store.Ticket) {
			for _, t := range ts {
				work <- t
			}
		})
	})
	others.Go(func() { e.readAround(ctx) })
	done := make(chan struct{}, writers*each)
	for range 3 {
		others.Go(func() {
			for {
				select {
				case t := <-work:
					if e.deliver(ctx, t) {
						done <- struct{}{}
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				e.accept(start, "one.example")
			}
		})
	}
	wg.Wait()
	for range writers * each {
		select {
		case <-done:
		case <-time.After(patience):
			e.Fatal("deliveries are missing")
		}
	}
	cancel()
	others.Wait()
	e.wantLanes("when all is sent")
}

// deliver claims and resolves, and tells whether it was this call that did.
func (e *env) deliver(ctx context.Context, t store.Ticket) bool {
	c, err := e.Claim(ctx, t.ID, t.Attempt, at(time.Second), at(time.Hour))
	if err != nil {
		return false
	}
	if err := e.Resolve(ctx, sent(c.Delivery, at(time.Second))); err != nil {
		e.Errorf("Resolve = %v", err)
		return false
	}
	return true
}

// readAround reads and prunes until ctx ends.
func (e *env) readAround(ctx context.Context) {
	for ctx.Err() == nil {
		records, _, err := e.List(ctx, store.Filter{Queued: true}, "", 20)
		if err != nil && ctx.Err() == nil {
			e.Errorf("List = %v", err)
		}
		for _, r := range records {
			if r.Deliveries[0].Done() {
				e.Errorf("a finished message among the queued: %+v", r)
			}
		}
		if _, err := e.Lanes(ctx); err != nil && ctx.Err() == nil {
			e.Errorf("Lanes = %v", err)
		}
		if _, err := e.Prune(ctx, at(time.Hour)); err != nil && ctx.Err() == nil {
			e.Errorf("Prune = %v", err)
		}
	}
}

func concurrentClose(e *env) {
	var wg sync.WaitGroup
	accepted := make(chan store.ID, 10_000)
	for range 4 {
		wg.Go(func() {
			for {
				m, ds := mail(start, "one.example")
				d, err := e.Begin(e.ctx())
				if err == nil {
					_, err = d.Write(bodyOf(m.ID))
				}
				if err == nil {
					err = d.Commit(e.ctx(), m, ds)
				}
				if err != nil {
					if !errors.Is(err, store.ErrClosed) {
						e.Errorf("accepting during Close = %v", err)
					}
					return
				}
				accepted <- m.ID
			}
		})
	}
	for range 20 {
		<-accepted
	}
	e.must(e.Close())
	wg.Wait()
	close(accepted)
	e.Store = e.open(e.TB, e.dir)
	for id := range accepted {
		e.wantBody(id, bodyOf(id))
	}
}
