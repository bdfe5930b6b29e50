package journal

import (
	"context"
	"fmt"
	"sync"
)

// request is one Append or Stage on its way through the committer.
type request struct {
	recs   []Record
	deps   []Ref
	staged bool
	need   int64 // bytes of its frames

	// Set by the committer before it sends to done, after which it does not touch the request.
	refs []Ref
	pos  Position
	err  error
	done chan struct{} // has room for one
}

// newRequest and free share memory. A journal has its own, since a channel must not leave the bubble of a test that it was
// made in.
func (q *queue) newRequest() *request {
	if r, ok := q.spent.Get().(*request); ok {
		return r
	}
	return &request{done: make(chan struct{}, 1)}
}

// free takes a request that submit has returned from: nobody else has it then.
func (q *queue) free(r *request) {
	*r = request{done: r.done}
	q.spent.Put(r)
}

// queue holds the requests that the committer has not taken up.
type queue struct {
	wake chan struct{} // one token: there may be something to take

	spent sync.Pool // of *request

	mu      sync.Mutex
	pending []*request
	closed  bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// put adds a request, unless the queue was closed.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.pending = append(q.pending, r)
	q.signal()
	return nil
}

// withdraw removes a request and reports whether the committer had not taken it.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, p := range q.pending {
		if p == r {
			q.pending = append(q.pending[:i], q.pending[i+1:]...)
			return true
		}
	}
	return false
}

// take waits for requests and removes as many as max bytes allow, at least
// one. It returns none when the queue is closed and empty.
func (q *queue) take(max int64) []*request {
	for {
		q.mu.Lock()
		batch := q.cut(max)
		left, closed := len(q.pending) > 0, q.closed
		q.mu.Unlock()
		if left {
			q.signal()
		}
		if len(batch) > 0 || closed {
			return batch
		}
		<-q.wake
	}
}

// cut removes the first requests of together at most max bytes. The caller holds mu.
func (q *queue) cut(max int64) []*request {
	var n int
	var size int64
	for n < len(q.pending) && (n == 0 || size+q.pending[n].need <= max) {
		size += q.pending[n].need
		n++
	}
	batch := append([]*request(nil), q.pending[:n]...)
	rest := copy(q.pending, q.pending[n:])
	clear(q.pending[rest:])
	q.pending = q.pending[:rest]
	return batch
}

// close refuses further requests and reports whether it was open.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := !q.closed
	q.closed = true
	q.signal()
	return was
}

// Append writes recs next to each other, all or none, and returns when they
// are durable. The refs are in the order of recs; the position is just after the last of them, and replaying
// from it yields what was appended later. When ctx ends before the
// records were taken up, its error is returned and nothing is written; after
// that Append waits for the outcome, so that a nil or non-nil error always tells the truth.
func (j *Journal) Append(ctx context.Context, recs ...Record) ([]Ref, Position, error) {
	return j.AppendDepending(ctx, nil, recs...)
}

// AppendDepending is Append for records that refer to staged ones: deps are refs that [Journal.Stage]
// returned. They become durable with recs, and count as staged no longer. When one of
// them is lost, nothing is written and the error is [ErrStaged]; the others stay staged.
func (j *Journal) AppendDepending(ctx context.Context, deps []Ref, recs ...Record) ([]Ref, Position, error) {
	r := j.queue.newRequest()
	defer j.queue.free(r)
	r.recs, r.deps = recs, deps
	if err := j.submit(ctx, r); err != nil {
		return nil, Position{}, err
	}
	return r.refs, r.pos, nil
}

// Stage writes a record that is not durable, and that no replay shows, until an
// AppendDepending names it. It may be read at once. Its segment cannot be released until it is committed or
// discarded. The payload may be reused when Stage returns.
func (j *Journal) Stage(ctx context.Context, rec Record) (Ref, error) {
	r := j.queue.newRequest()
	defer j.queue.free(r)
	r.recs, r.staged = []Record{rec}, true
	if err := j.submit(ctx, r); err != nil {
		return Ref{}, err
	}
	return r.refs[0], nil
}

// submit checks a request, queues it and waits for its outcome.
func (j *Journal) submit(ctx context.Context, r *request) error {
	if err := j.check(r); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := j.queue.put(r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if j.queue.withdraw(r) {
		return ctx.Err()
	}
	<-r.done // taken up: only the committer knows the outcome
	return r.err
}

// check computes what the request needs and refuses what can never be written.
func (j *Journal) check(r *request) error {
	if len(r.recs) == 0 {
		return fmt.Errorf("%w: no record", ErrInvalid)
	}
	for _, rec := range r.recs {
		if rec.Type == 0 || rec.Type > MaxType {
			return fmt.Errorf("%w: type %d", ErrInvalid, rec.Type)
		}
		n := rec.size()
		if n > maxPayload {
			return fmt.Errorf("%w: %d bytes", ErrTooLarge, n)
		}
		r.need += frameHeaderSize + n
	}
	if room := j.opts.SegmentSize - firstFrame - closingRoom; r.need > room {
		return fmt.Errorf("%w: %d bytes, room for %d", ErrTooLarge, r.need, room)
	}
	return nil
}
