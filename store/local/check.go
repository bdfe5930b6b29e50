package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// maxProblems bounds a Report.
const maxProblems = 100

// Report is what Check found.
type Report struct {
	Messages      int      `json:"messages"`
	Unfinished    int      `json:"unfinished"`    // deliveries
	Bodies        int      `json:"bodies"`        // read and compared with their hash
	Suppressions  int      `json:"suppressions"`  // addresses on lists
	Notifications int      `json:"notifications"` // events that wait for webhooks
	Problems      []string `json:"problems"`      // for people; at most 100
	More          int      `json:"more"`          // problems beyond those
}

// OK tells whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// CheckOptions say how thorough a Check is.
type CheckOptions struct {
	// Full reads every byte of the journal and every body, not only those of
	// unfinished messages, and makes the view anew in a temporary file to compare. It needs as much
	// free space as the view takes.
	Full bool
}

// Check opens the engine in dir and checks it. A directory that cannot be
// opened because it is damaged is a problem in the report, not an error.
func Check(ctx context.Context, dir string, opts Options, how CheckOptions) (Report, error) {
	s, err := Open(dir, opts)
	if errors.Is(err, store.ErrDamaged) {
		var r Report
		r.problem("%v", err)
		return r, nil
	}
	if err != nil {
		return Report{}, err
	}
	r, err := s.Check(ctx, how)
	return r, errors.Join(err, s.Close())
}

// Check recounts every index against the messages, and compares bodies and
// journal with the view. It may run beside traffic; Prune waits for it. It is the one user of a long read
// transaction, during which the bbolt file cannot reuse pages.
func (s *Store) Check(ctx context.Context, how CheckOptions) (Report, error) {
	if err := s.enter(ctx); err != nil {
		return Report{}, err
	}
	defer s.leave()
	s.pruning.Lock() // held across I/O: what is forgotten while it is read would look lost
	defer s.pruning.Unlock()
	var r Report
	if err := s.check(ctx, how, &r); err != nil {
		if !errors.Is(err, store.ErrDamaged) {
			return r, fmt.Errorf("checking: %w", err)
		}
		r.problem("%v", err)
	}
	return r, nil
}

func (s *Store) check(ctx context.Context, how CheckOptions, r *Report) error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	s.checkCounts(r)
	c := recount{r: r, epoch: s.epoch, full: how.Full, segments: map[uint64]usage{}, lanes: lanes{}}
	if err := s.db.read(func(tx *bbolt.Tx) error { return c.run(ctx, tx) }); err != nil {
		return err
	}
	for _, id := range c.bodies {
		if err := s.checkBody(ctx, id, r); err != nil {
			return err
		}
	}
	for _, seg := range s.jour.Segments() {
		if seg.Quarantined {
			r.problem("journal segment %d is damaged; it is kept and holds back retention", seg.Number)
		}
	}
	r.unreadable(s)
	if !how.Full {
		return nil
	}
	damage, err := s.jour.Verify(ctx)
	for _, d := range damage {
		r.problem("%v", d)
	}
	if err != nil {
		return err
	}
	return s.checkRebuilt(ctx, r)
}

func (r *Report) unreadable(s *Store) {
	if s.unreadable > 0 {
		r.problem("%d journal records cannot be made sense of; the log of the start names them", s.unreadable)
	}
}

// checkCounts compares what is counted in memory with the view, where no
// message is newer than the view.
func (s *Store) checkCounts(r *Report) {
	s.over.mu.Lock()
	defer s.over.mu.Unlock()
	if len(s.over.dirty)+len(s.over.flushing)+len(s.over.writes) > 0 {
		return
	}
	kept, counted := s.over.lanes.list(), lanes{}
	err := s.db.read(func(tx *bbolt.Tx) error { // under the lock: nothing may change between the two counts
		return tx.Bucket(bucketQueue).ForEach(func(k, v []byte) error {
			q, err := parseQueued(k, v)
			if err == nil {
				q.voidLease(s.epoch)
				counted.add(&q)
			}
			return err
		})
	})
	if err != nil {
		r.problem("bucket %s: %v", bucketQueue, err)
		return
	}
	again := counted.list()
	if len(again) != len(kept) {
		r.problem("%d lanes are counted in memory, %d in the queue", len(kept), len(again))
		return
	}
	for i := range kept {
		if kept[i] != again[i] {
			r.problem("lane in memory %+v, in the queue %+v", kept[i], again[i])
		}
	}
}

// recount compares the indexes with the messages in one transaction.
type recount struct {
	r        *Report
	epoch    uint64
	full     bool
	segments map[uint64]usage
	lanes    lanes
	held     int
	bodies   []store.ID // to be read

	message, time, stream, queue, heldBucket *bbolt.Bucket

	bounces          int
	bounce, bounceID *bbolt.Bucket

	blocks  blocks
	blocked int // messages in blocks
}

func (c *recount) run(ctx context.Context, tx *bbolt.Tx) error {
	if _, err := readSnapshot(tx); err != nil {
		c.r.problem("%v", err)
	}
	if err := checkSuppressions(tx, c.r); err != nil {
		return err
	}
	if err := errors.Join(checkHooks(tx, c.r), checkStats(tx, c.r)); err != nil {
		return err
	}
	c.message, c.time, c.stream = tx.Bucket(bucketMessage), tx.Bucket(bucketTime), tx.Bucket(bucketStream)
	c.queue, c.heldBucket, c.blocks = tx.Bucket(bucketQueue), tx.Bucket(bucketHeld), openBlocks(tx)
	c.bounce, c.bounceID = tx.Bucket(bucketBounce), tx.Bucket(bucketBounceID)
	err := c.message.ForEach(func(k, v []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.one(k, v)
		return nil
	})
	if err != nil {
		return err
	}
	c.orphans(bucketTime, c.time, 0, c.r.Messages)
	c.orphans(bucketStream, c.stream, -1, c.r.Messages-c.blocked)
	if err := c.checkBlocks(tx); err != nil {
		return err
	}
	c.orphans(bucketQueue, c.queue, 0, c.r.Unfinished)
	c.orphans(bucketHeld, c.heldBucket, 0, c.held)
	c.bounceOrphans()
	return c.usage(tx)
}

// one checks a message and its index keys.
func (c *recount) one(k, v []byte) {
	st, err := decodeState(v)
	if err != nil || !bytes.Equal(k, st.msg.ID[:]) {
		c.r.problem("message %x: %v", k, errors.Join(err, errors.New("cannot be read")))
		return
	}
	c.r.Messages++
	at, id := st.stamp(), st.msg.ID
	if c.time.Get(at.key()) == nil {
		c.r.problem("message %s is missing in bucket %s", id, bucketTime)
	}
	c.listed(st, at)
	for i := range st.parts {
		c.part(st, at, i)
	}
	c.bouncesOf(st)
	for _, p := range st.places {
		u := c.segments[p.segment]
		c.segments[p.segment] = usage{u.messages + 1, u.bytes + p.bytes}
	}
	if c.full || st.unfinished() {
		c.bodies = append(c.bodies, id)
	}
}

func (c *recount) part(st *state, at stamp, i int) {
	if st.parts[i].Done() {
		return
	}
	c.r.Unfinished++
	q := queuedOf(st, at, i)
	if got := c.queue.Get(partKey(at, i)); !bytes.Equal(got, q.value()) {
		c.r.problem("delivery %d of message %s is not in bucket %s as it should be", i, st.msg.ID, bucketQueue)
	}
	if !q.held {
		return
	}
	c.held++
	if c.heldBucket.Get(partKey(at, i)) == nil {
		c.r.problem("delivery %d of message %s is missing in bucket %s", i, st.msg.ID, bucketHeld)
	}
}

// orphans looks for keys without a message where an index has another number
// of keys than it should. With prefix -1 the stamp is the end of the key.
func (c *recount) orphans(name []byte, b *bbolt.Bucket, prefix, want int) {
	n := b.Stats().KeyN
	if n == want {
		return
	}
	c.r.problem("bucket %s has %d keys, the messages make %d", name, n, want)
	_ = b.ForEach(func(k, _ []byte) error {
		from := prefix
		if from < 0 {
			from = len(k) - stampSize
		}
		st, err := stampAt(k, max(from, 0))
		if err != nil {
			c.r.problem("bucket %s: key %x: %v", name, k, err)
			return nil
		}
		if id := st.id(); c.message.Get(id[:]) == nil {
			c.r.problem("bucket %s names message %s, which is not there", name, id)
		}
		return nil
	})
}

// usage compares what the messages need of each segment with bucket segment.
func (c *recount) usage(tx *bbolt.Tx) error {
	err := tx.Bucket(bucketSegment).ForEach(func(k, v []byte) error {
		n, err := parseNumber(k)
		if err != nil {
			return err
		}
		u, err := parseUsage(v)
		if err == nil && u != c.segments[n] {
			c.r.problem("journal segment %d is needed by %+v, not %+v", n, c.segments[n], u)
		}
		delete(c.segments, n)
		return err
	})
	for n, u := range c.segments {
		c.r.problem("journal segment %d is needed by %+v and not counted", n, u)
	}
	return err
}

// checkBody reads a body to its end. A message that was pruned meanwhile is no problem.
func (s *Store) checkBody(ctx context.Context, id store.ID, r *Report) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	st, err := s.lookup(id)
	if err != nil || st == nil {
		return err
	}
	b, err := s.openBody(st)
	if err == nil {
		var n int64
		n, err = io.Copy(io.Discard, b)
		if err == nil && n != st.msg.Size {
			err = fmt.Errorf("has %d octets, not %d", n, st.msg.Size)
		}
		err = errors.Join(err, b.Close())
	}
	if r.Bodies++; err != nil {
		r.problem("body of message %s: %v", id, err)
	}
	return nil
}

// checkRebuilt makes the view anew in a temporary file and compares. Mail may
// move meanwhile: most of the journal is read before the view is looked at, and
// the rest up to where the view then stands.
func (s *Store) checkRebuilt(ctx context.Context, r *Report) error {
	read := s.jour.End()
	path := filepath.Join(s.root, "check.db")
	if err := createDB(path, s.opts, nil); err != nil {
		return err
	}
	defer os.Remove(path)
	db, err := openDB(path, s.opts)
	if err != nil {
		return err
	}
	shadow, err := fold(ctx, s.opts, db, s.jour, s.epoch, nil, nil)
	if err == nil {
		err = s.whole(ctx, func(tx *bbolt.Tx, to journal.Position) error {
			// What the fold has read of this already is applied twice, to no effect.
			if err := shadow.replayUntil(ctx, read, &to); err != nil {
				return err
			}
			if err := shadow.checkpoint(); err != nil {
				return err
			}
			r.unreadable(shadow)
			return compareViews(tx, db, s.epoch, r)
		})
	}
	return errors.Join(err, db.close())
}

// whole runs fn in a transaction in which the view is exactly what the journal
// makes up to a position.
func (s *Store) whole(ctx context.Context, fn func(*bbolt.Tx, journal.Position) error) error {
	s.checkpointing.Lock() // until the transaction sees what the checkpoint wrote and no more
	release := sync.OnceFunc(s.checkpointing.Unlock)
	defer release()
	b, err := s.over.takeWhole(ctx)
	if err != nil {
		return err
	}
	if err := s.writeBatch(b); err != nil {
		return err
	}
	return s.db.read(func(tx *bbolt.Tx) error {
		release()
		return fn(tx, b.position)
	})
}

// compareViews lists in what the two differ. Leases of earlier processes do
// not count.
func compareViews(have *bbolt.Tx, want *viewDB, epoch uint64, r *Report) error {
	return want.read(func(b *bbolt.Tx) error {
		// Which messages are in a block depends on when it was made: recount has compared them with the messages.
		for _, name := range [][]byte{bucketMessage, bucketTime, bucketQueue, bucketHeld, bucketSegment, bucketBounce, bucketBounceID} {
			compareBuckets(name, have.Bucket(name), b.Bucket(name), epoch, r)
		}
		return nil
	})
}

func compareBuckets(name []byte, a, b *bbolt.Bucket, epoch uint64, r *Report) {
	x, y := a.Cursor(), b.Cursor()
	k, v := x.First()
	l, w := y.First()
	for k != nil || l != nil {
		order := bytes.Compare(k, l)
		switch {
		case l == nil || (k != nil && order < 0):
			r.problem("bucket %s has key %x, which the journal does not make", name, k)
			k, v = x.Next()
		case k == nil || order > 0:
			r.problem("bucket %s lacks key %x, which the journal makes", name, l)
			l, w = y.Next()
		default:
			if !bytes.Equal(v, w) && !bytes.Equal(withoutLeases(name, k, v, epoch), withoutLeases(name, k, w, epoch)) {
				r.problem("bucket %s: key %x differs from what the journal makes", name, k)
			}
			k, v = x.Next()
			l, w = y.Next()
		}
	}
}

// withoutLeases returns a value as it is with the leases of earlier processes void.
func withoutLeases(name, k, v []byte, epoch uint64) []byte {
	switch {
	case bytes.Equal(name, bucketMessage):
		if st, err := decodeState(v); err == nil {
			return encodeState(st.voidLeases(epoch))
		}
	case bytes.Equal(name, bucketQueue):
		if q, err := parseQueued(k, v); err == nil {
			q.voidLease(epoch)
			return q.value()
		}
	}
	return v
}
