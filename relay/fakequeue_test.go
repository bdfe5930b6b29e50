package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// fakeQueue keeps the contract of store.Queue in memory.
type fakeQueue struct {
	mu         sync.Mutex // guards what follows
	messages   map[store.ID]store.Message
	bodies     map[store.ID][]byte
	damaged    map[store.ID]bool
	deliveries map[store.DeliveryID]store.Delivery
	events     map[store.ID][]store.Event
	pending    []store.Ticket
	changed    chan struct{}
	claims     int
	endings    int
	endingErr  error
	resolveErr []error // given in this order, before any success
	claimErr   []error
	watchErr   error
	holds      []store.ID
}

func newQueue() *fakeQueue {
	return &fakeQueue{
		messages: map[store.ID]store.Message{}, bodies: map[store.ID][]byte{}, damaged: map[store.ID]bool{},
		deliveries: map[store.DeliveryID]store.Delivery{}, events: map[store.ID][]store.Event{}, changed: make(chan struct{}),
	}
}

// signal wakes who waits. q.mu is held.
func (q *fakeQueue) signal() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// announce issues a ticket. q.mu is held.
func (q *fakeQueue) announce(d store.Delivery) {
	due := d.Due
	if d.Lease.After(due) {
		due = d.Lease
	}
	if !d.Done() && d.Held.IsZero() {
		q.pending = append(q.pending, store.Ticket{ID: d.ID, Server: d.Server, Stream: d.Stream, Destination: d.Destination, Due: due, Attempt: d.Attempt})
	}
	q.signal()
}

func (q *fakeQueue) put(m store.Message, body string, ds ...store.Delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages[m.ID], q.bodies[m.ID] = m, []byte(body)
	for _, d := range ds {
		q.deliveries[d.ID] = d
		q.announce(d)
	}
}

// submit queues one message for one recipient each and returns its ID.
func (q *fakeQueue) submit(stream string, now time.Time, recipients ...string) store.ID {
	id := store.NewID()
	m := store.Message{ID: id, Server: 1, Stream: stream, Accepted: now, From: "sender@sender.test", Size: int64(len(body))}
	d := store.Delivery{ID: store.DeliveryID{Message: id}, Server: 1, Stream: stream, Destination: domainOf(recipients[0]), Due: now, Expires: now.Add(5 * 24 * time.Hour)}
	for _, r := range recipients {
		d.Recipients = append(d.Recipients, store.Recipient{Address: r, State: store.Queued})
	}
	q.put(m, body, d)
	return id
}

func domainOf(address string) string {
	for i := len(address) - 1; i >= 0; i-- {
		if address[i] == '@' {
			return address[i+1:]
		}
	}
	return address
}

func (q *fakeQueue) Watch(ctx context.Context, fn func([]store.Ticket)) error {
	q.mu.Lock()
	q.pending = nil
	for _, d := range q.deliveries {
		q.announce(d)
	}
	q.mu.Unlock()
	for {
		q.mu.Lock()
		batch, changed, err := q.pending, q.changed, q.watchErr
		q.pending = nil
		q.mu.Unlock()
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			fn(batch)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *fakeQueue) Claim(ctx context.Context, id store.DeliveryID, attempt int, now, lease time.Time) (store.Claimed, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return store.Claimed{}, err
	}
	if len(q.claimErr) > 0 {
		err := q.claimErr[0]
		q.claimErr = q.claimErr[1:]
		return store.Claimed{}, err
	}
	d, ok := q.deliveries[id]
	switch {
	case !ok:
		return store.Claimed{}, store.ErrNotFound
	case d.Attempt != attempt:
		return store.Claimed{}, store.ErrStale
	case d.Done() || !d.Held.IsZero() || d.Lease.After(now) || d.Due.After(now):
		return store.Claimed{}, store.ErrNotDue
	}
	q.claims++
	claimed := d
	claimed.Attempt, claimed.Lease, claimed.Uncertain = attempt+1, lease, d.Uncertain || d.Ending != ""
	d = claimed
	d.Ending = ""
	q.deliveries[id] = d
	q.announce(d)
	return store.Claimed{Message: q.messages[id.Message], Delivery: claimed}, nil
}

func (q *fakeQueue) Ending(_ context.Context, id store.DeliveryID, attempt int, route string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, ok := q.deliveries[id]
	if !ok || d.Attempt != attempt || d.Lease.IsZero() {
		return store.ErrStale
	}
	if q.endingErr != nil {
		return q.endingErr
	}
	d.Ending = route
	q.deliveries[id] = d
	q.endings++
	return nil
}

func (q *fakeQueue) Resolve(_ context.Context, r store.Resolution) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.resolveErr) > 0 {
		err := q.resolveErr[0]
		q.resolveErr = q.resolveErr[1:]
		return err
	}
	old, ok := q.deliveries[r.Delivery.ID]
	if !ok || old.Attempt != r.Delivery.Attempt || old.Lease.IsZero() {
		return store.ErrStale
	}
	d := r.Delivery
	d.Lease, d.Held, d.Ending = time.Time{}, old.Held, ""
	if d.HeldUncertain = false; !r.Held.IsZero() && !d.Done() {
		d.Held, d.HeldUncertain = r.Held, d.Uncertain
	}
	q.deliveries[d.ID] = d
	q.events[d.ID.Message] = append(q.events[d.ID.Message], r.Events...)
	for _, n := range r.Notices {
		q.messages[n.Message.ID], q.bodies[n.Message.ID] = n.Message, n.Body
		for _, nd := range n.Deliveries {
			q.deliveries[nd.ID] = nd
			q.announce(nd)
		}
	}
	q.announce(d)
	return nil
}

func (q *fakeQueue) Body(_ context.Context, id store.ID) (io.ReadCloser, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.damaged[id] {
		return io.NopCloser(io.MultiReader(bytes.NewReader(q.bodies[id]), failing{})), nil
	}
	return io.NopCloser(bytes.NewReader(q.bodies[id])), nil
}

// failing is where the end of a damaged body should be.
type failing struct{}

func (failing) Read([]byte) (int, error) {
	return 0, fmt.Errorf("checksum of body: %w", store.ErrDamaged)
}

// Amend holds messages; it is relay.Holder.
func (q *fakeQueue) Amend(_ context.Context, a store.Amendment, by string, now time.Time, ids ...store.ID) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a != store.Hold && a != store.Retry {
		return 0, errors.New("only hold and retry are known here")
	}
	for id, d := range q.deliveries {
		if id.Message != ids[0] {
			continue
		}
		if a == store.Retry {
			d.Due, d.DueWhy = now, "asked for by "+by
			q.deliveries[id] = d
			q.announce(d)
			continue
		}
		d.Held = now
		q.deliveries[id] = d
	}
	if a == store.Hold {
		q.holds = append(q.holds, ids...)
	}
	q.signal()
	return 1, nil
}

func (q *fakeQueue) delivery(id store.ID) store.Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deliveries[store.DeliveryID{Message: id}]
}

func (q *fakeQueue) timeline(id store.ID) []store.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]store.Event(nil), q.events[id]...)
}

// notices returns the notices about a message with their bodies.
func (q *fakeQueue) notices(about store.ID) (out []store.Submission) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if m.About == about {
			out = append(out, store.Submission{Message: m, Body: q.bodies[m.ID], Deliveries: []store.Delivery{q.deliveries[store.DeliveryID{Message: m.ID}]}})
		}
	}
	return out
}

// unfinished counts deliveries with a queued recipient.
func (q *fakeQueue) unfinished() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, d := range q.deliveries {
		if !d.Done() {
			n++
		}
	}
	return n
}

// until waits for a state of the queue.
func (q *fakeQueue) until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		q.mu.Lock()
		changed := q.changed
		q.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// fakeDirectory is a store.Directory in memory.
type fakeDirectory struct {
	mu      sync.Mutex
	snap    *store.Snapshot
	changed chan struct{}
}

// newDirectory has server 1 with the given outbound streams.
func newDirectory(t testing.TB, streams ...store.Stream) *fakeDirectory {
	t.Helper()
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}}}
	for _, s := range streams {
		s.Server = 1
		if s.Kind == "" {
			s.Kind = store.Transactional
		}
		if s.Mode == "" {
			s.Mode = store.ModeLive
		}
		changes = append(changes, store.Change{Stream: &s})
	}
	snap, err := (&store.Snapshot{}).With(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeDirectory{snap: snap, changed: make(chan struct{})}
}

func (d *fakeDirectory) Snapshot() *store.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snap
}

func (d *fakeDirectory) Change(_ context.Context, rev uint64, changes ...store.Change) (*store.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rev != d.snap.Revision {
		return nil, store.ErrStale
	}
	next, err := d.snap.With(changes...)
	if err != nil {
		return nil, err
	}
	d.snap = next
	close(d.changed)
	d.changed = make(chan struct{})
	return next, nil
}

func (d *fakeDirectory) Changed(rev uint64) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.snap.Revision > rev {
		done := make(chan struct{})
		close(done)
		return done
	}
	return d.changed
}

// alter changes one stream.
func (d *fakeDirectory) alter(t testing.TB, stream string, change func(*store.Stream)) {
	t.Helper()
	_, err := store.Update(context.Background(), d, func(s *store.Snapshot) ([]store.Change, error) {
		v := s.Streams[store.StreamKey{Server: 1, Stream: stream}]
		change(&v)
		return []store.Change{{Stream: &v}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// remove deletes one stream.
func (d *fakeDirectory) remove(t testing.TB, stream string) {
	t.Helper()
	v := store.Stream{Server: 1, ID: stream}
	if _, err := d.Change(context.Background(), d.Snapshot().Revision, store.Change{Delete: true, Stream: &v}); err != nil {
		t.Fatal(err)
	}
}

// fakeTransport gives every job to a function.
type fakeTransport struct {
	send func(ctx context.Context, j relay.Job) []relay.Result
}

func (f *fakeTransport) Send(ctx context.Context, j relay.Job) []relay.Result { return f.send(ctx, j) }
func (f *fakeTransport) Close() error                                         { return nil }

// all gives every recipient the same result.
func all(j relay.Job, r relay.Result) []relay.Result {
	out := make([]relay.Result, len(j.Recipients))
	for i := range out {
		out[i] = r
	}
	return out
}

func delivered() relay.Result {
	return relay.Result{Reply: store.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "taken", Command: "dot", Host: "mx"}}
}

func refused(code int, phase string) relay.Result {
	return relay.Result{Reply: store.Reply{Code: code, Text: "no", Command: phase, Host: "mx"}}
}

// start runs a dispatcher until the test ends or stop is called, and fails the test if Run does.
func start(t testing.TB, q *fakeQueue, d store.Directory, o relay.Options) (disp *relay.Dispatcher, stop func()) {
	t.Helper()
	disp, err := relay.New(q, d, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- disp.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return disp, stop
}

// messagesDone tells whether the one delivery of a message has ended.
func (q *fakeQueue) messagesDone(id store.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deliveries[store.DeliveryID{Message: id}].Done()
}
