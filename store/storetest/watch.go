package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
)

var watchTests = []test{
	{"TicketsOfWhatIsThere", watchPresent},
	{"TicketsOfWhatHappens", watchLive},
	{"SlowWatcherBlocksNobody", watchSlow},
	{"EndsWithItsContext", watchContext},
	{"EndsWithTheEngine", watchClose},
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// observer collects the newest ticket of each delivery.
type observer struct {
	e      *env
	cancel context.CancelFunc
	done   chan error

	mu      sync.Mutex
	newest  map[store.DeliveryID]store.Ticket
	changed chan struct{}
}

// watch starts a watcher that the test's end stops.
func (e *env) watch() *observer {
	ctx, cancel := context.WithCancel(e.ctx())
	o := &observer{e: e, cancel: cancel, done: make(chan error, 1), newest: map[store.DeliveryID]store.Ticket{}, changed: make(chan struct{})}
	s := e.Store
	go func() { o.done <- s.Watch(ctx, o.see) }()
	e.Cleanup(cancel)
	return o
}

func (o *observer) see(tickets []store.Ticket) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range tickets {
		o.newest[t.ID] = t
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// wait waits until the newest ticket of a delivery is as it should be.
func (o *observer) wait(what string, id store.DeliveryID, ok func(store.Ticket) bool) store.Ticket {
	o.e.Helper()
	deadline := time.After(patience)
	for {
		o.mu.Lock()
		t, seen := o.newest[id]
		changed := o.changed
		o.mu.Unlock()
		if seen && ok(t) {
			return t
		}
		select {
		case <-changed:
		case <-deadline:
			o.e.Fatalf("%s: no such ticket; the newest is %+v", what, t)
		}
	}
}

func dueAt(t time.Time) func(store.Ticket) bool {
	return func(k store.Ticket) bool { return k.Due.Equal(t) }
}

// stop ends a watcher and returns what Watch did.
func (o *observer) stop() error {
	o.e.Helper()
	o.cancel()
	select {
	case err := <-o.done:
		return err
	case <-time.After(patience):
		o.e.Fatal("Watch does not return")
		return nil
	}
}

func watchPresent(e *env) {
	queued := e.accept(start, "one.example", "two.example")
	held := e.accept(start, "one.example")
	finished := e.accept(start, "one.example")
	claimed := e.accept(start, "one.example")
	_, err := e.Amend(e.ctx(), store.Hold, "me", start, held.ID)
	e.must(err)
	e.finish(part(finished, 0), 0, start)
	lease := e.claim(part(claimed, 0), 0, start).Delivery.Lease
	check := func(when string, attemptDue time.Time) {
		o := e.watch()
		o.wait(when, part(queued, 0), dueAt(start))
		got := o.wait(when, part(queued, 1), dueAt(start))
		want := store.Ticket{ID: part(queued, 1), Server: 7, Stream: "outbound", Destination: "two.example", Due: start}
		e.wantSame("ticket "+when, want, got)
		if got := o.wait(when, part(claimed, 0), dueAt(attemptDue)); got.Attempt != 1 {
			e.Errorf("attempt %s = %d, want 1", when, got.Attempt)
		}
		if err := o.stop(); !errors.Is(err, context.Canceled) {
			e.Errorf("Watch = %v, want %v", err, context.Canceled)
		}
		for _, m := range []store.Message{held, finished} {
			if t, ok := o.newest[part(m, 0)]; ok {
				e.Errorf("%s: ticket %+v of a delivery that nobody can claim", when, t)
			}
		}
	}
	check("at once", lease)
	e.reopen()
	check("after reopening by the only process", start)
}

func watchLive(e *env) {
	o := e.watch()
	m := e.accept(start, "one.example")
	id := part(m, 0)
	o.wait("accepted", id, dueAt(start))
	c := e.claim(id, 0, start)
	o.wait("claimed", id, func(t store.Ticket) bool { return t.Attempt == 1 && t.Due.Equal(c.Delivery.Lease) })
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, start, at(time.Hour))))
	o.wait("deferred", id, dueAt(at(time.Hour)))
	amend := func(a store.Amendment, now time.Time) {
		n, err := e.Amend(e.ctx(), a, "me", now, m.ID)
		if err != nil || n != 1 {
			e.Fatalf("%s = %d, %v", a, n, err)
		}
	}
	amend(store.Retry, at(time.Minute))
	o.wait("retried", id, dueAt(at(time.Minute)))
	amend(store.Hold, at(time.Minute))
	o.mu.Lock()
	delete(o.newest, id)
	o.mu.Unlock()
	amend(store.Release, at(2*time.Minute))
	o.wait("released", id, dueAt(at(time.Minute)))
	n, _ := mail(start, "sender.example")
	c = e.claim(id, 1, at(2*time.Minute))
	res := sent(c.Delivery, at(2*time.Minute))
	res.Notices = []store.Submission{notice(m, n.ID, at(2*time.Minute))}
	e.must(e.Resolve(e.ctx(), res))
	o.wait("notice", store.DeliveryID{Message: n.ID}, dueAt(at(2*time.Minute)))
}

// watchSlow has one watcher whose function does not return until the test is over.
func watchSlow(e *env) {
	release := make(chan struct{})
	var once sync.Once
	entered := make(chan struct{})
	done := make(chan error, 1)
	first := e.accept(start, "one.example")
	ctx, cancel := context.WithCancel(e.ctx())
	defer cancel()
	s := e.Store
	go func() {
		done <- s.Watch(ctx, func([]store.Ticket) {
			once.Do(func() { close(entered) })
			<-release
		})
	}()
	<-entered
	fast := e.watch()
	for range 100 {
		m := e.accept(start, "one.example")
		fast.wait("beside a slow watcher", part(m, 0), dueAt(start))
	}
	e.finish(part(first, 0), 0, start)
	close(release)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		e.Errorf("Watch = %v", err)
	}
}

func watchContext(e *env) {
	o := e.watch()
	m := e.accept(start, "one.example")
	o.wait("accepted", part(m, 0), dueAt(start))
	if err := o.stop(); !errors.Is(err, context.Canceled) {
		e.Errorf("Watch = %v, want %v", err, context.Canceled)
	}
}

func watchClose(e *env) {
	o := e.watch()
	m := e.accept(start, "one.example")
	o.wait("accepted", part(m, 0), dueAt(start))
	e.must(e.Close())
	select {
	case err := <-o.done:
		e.wantErr("Watch", err, store.ErrClosed)
	case <-time.After(patience):
		e.Fatal("Watch does not return when the engine closes")
	}
}
