package local

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// candidates walks the messages of some streams that a query may select,
// newest first, in one transaction: those in blocks, which the query selects
// for certain, and those that have no block yet, which are for the caller to
// compare. It is a heap of one source for each block and each stream's rest.
type candidates struct {
	sources []*source
	query   query
	upper   stamp // exclusive
	floor   stamp
	without []stamp // not from blocks; ascending
}

// source is a block, or the rest of a stream.
type source struct {
	next stamp // the newest that is left; of a block not yet read: its newest

	rest   *bbolt.Cursor
	prefix []byte

	block block
	live  []byte
	read  bool
	set   bitset
	at    int // number of next
}

// newCandidates begins at the messages before upper.
func newCandidates(tx *bbolt.Tx, f *store.Filter, upper, floor stamp, without []stamp) (*candidates, error) {
	c := &candidates{query: queryOf(f), upper: upper, floor: floor, without: without}
	prefixes, err := streamsOf(tx, f)
	if err != nil {
		return nil, err
	}
	for _, prefix := range prefixes {
		rest := &source{rest: tx.Bucket(bucketStream).Cursor(), prefix: prefix}
		if ok, err := c.rewind(rest); err != nil {
			return nil, err
		} else if ok {
			c.sources = append(c.sources, rest)
		}
		if err := c.addBlocks(tx, prefix); err != nil {
			return nil, err
		}
	}
	heap.Init(c)
	return c, nil
}

// streamsOf returns the streams that a filter leaves, with mail in the view.
func streamsOf(tx *bbolt.Tx, f *store.Filter) ([][]byte, error) {
	if f.Server != 0 && f.Stream != "" {
		return [][]byte{streamPrefix(f.Server, f.Stream)}, nil
	}
	var from []byte
	if f.Server != 0 {
		from = binary.BigEndian.AppendUint64(nil, uint64(f.Server))
	}
	seen := map[string]bool{}
	for _, name := range [][]byte{bucketStream, bucketBlock} {
		err := eachPrefix(tx.Bucket(name), from, func(prefix []byte) {
			if f.Stream == "" || string(prefix[8:len(prefix)-1]) == f.Stream {
				seen[string(prefix)] = true
			}
		})
		if err != nil {
			return nil, fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	var out [][]byte
	for prefix := range seen {
		out = append(out, []byte(prefix))
	}
	return out, nil
}

func (c *candidates) addBlocks(tx *bbolt.Tx, prefix []byte) error {
	live, walk := tx.Bucket(bucketLive), tx.Bucket(bucketBlock).Cursor()
	for k, v := walk.Seek(blockKey(prefix, c.floor)); bytes.HasPrefix(k, prefix) && k != nil; k, v = walk.Next() {
		b, err := parseBlock(v)
		if err != nil {
			return fmt.Errorf("bucket %s: key %x: %w", bucketBlock, k, err)
		}
		if oldest := b.stamp(0); bytes.Compare(oldest[:], c.upper[:]) < 0 {
			c.sources = append(c.sources, &source{next: b.stamp(b.n - 1), block: b, live: live.Get(k)})
		}
	}
	return nil
}

// rewind moves the rest of a stream to its newest message before upper.
func (c *candidates) rewind(s *source) (bool, error) {
	k, _ := s.rest.Seek(blockKey(s.prefix, c.upper))
	if k == nil {
		k, _ = s.rest.Last()
	} else {
		k, _ = s.rest.Prev()
	}
	return c.settle(s, k)
}

// settle takes a key as the next of a stream's rest. It is false at the end.
func (c *candidates) settle(s *source, k []byte) (bool, error) {
	if k == nil || !bytes.HasPrefix(k, s.prefix) {
		return false, nil
	}
	st, err := stampAt(k, len(s.prefix))
	if err != nil {
		return false, fmt.Errorf("bucket %s: %w: %w", bucketStream, err, store.ErrDamaged)
	}
	s.next = st
	return bytes.Compare(st[:], c.floor[:]) >= 0, nil
}

// top returns the newest candidate and whether the query selects it for
// certain. It is false when there is none.
func (c *candidates) top() (st stamp, certain, ok bool, err error) {
	for len(c.sources) > 0 {
		s := c.sources[0]
		if s.rest != nil {
			return s.next, false, true, nil
		}
		if s.read {
			return s.next, true, true, nil
		}
		if err := c.readBlock(s); err != nil {
			return st, false, false, err
		}
		if s.at = s.set.highest(); s.at < 0 {
			heap.Pop(c)
			continue
		}
		s.next = s.block.stamp(s.at)
		heap.Fix(c, 0)
	}
	return st, false, false, nil
}

// readBlock finds out which messages of a block the query selects.
func (c *candidates) readBlock(s *source) error {
	l, err := parseLive(s.live, s.block.n)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucketLive, err)
	}
	from, _ := s.block.search(c.floor)
	to, _ := s.block.search(c.upper)
	s.read, s.set = true, span(from, to)
	s.set.intersect(&l.there)
	if c.query.queued {
		s.set.intersect(&l.queued)
	}
	if c.query.done {
		s.set.subtract(&l.queued)
	}
	c.leaveOut(s)
	if !s.set.empty() {
		s.block.narrow(&s.set, &c.query)
	}
	return nil
}

// leaveOut takes those out of a block that the caller knows something newer of.
func (c *candidates) leaveOut(s *source) {
	oldest := s.block.stamp(0)
	i, _ := slices.BinarySearchFunc(c.without, oldest, compareStamps)
	for _, st := range c.without[i:] {
		if compareStamps(st, s.block.stamp(s.block.n-1)) > 0 {
			return
		}
		if n, ok := s.block.search(st); ok {
			s.set.remove(n)
		}
	}
}

func compareStamps(a, b stamp) int {
	x, y := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])
	if x == y {
		return bytes.Compare(a[8:], b[8:])
	}
	return cmp.Compare(x, y)
}

// pop goes behind the newest candidate.
func (c *candidates) pop() error {
	s := c.sources[0]
	if s.rest != nil {
		k, _ := s.rest.Prev()
		ok, err := c.settle(s, k)
		if err != nil {
			return err
		}
		c.replace(ok)
		return nil
	}
	s.set.remove(s.at)
	if s.at = s.set.highest(); s.at >= 0 {
		s.next = s.block.stamp(s.at)
	}
	c.replace(s.at >= 0)
	return nil
}

func (c *candidates) replace(more bool) {
	if more {
		heap.Fix(c, 0)
		return
	}
	heap.Pop(c)
}

// drain counts what is left of the block that has the newest candidate, and goes
// behind all of it.
func (c *candidates) drain() int {
	n := c.sources[0].set.count()
	heap.Pop(c)
	return n
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (c *candidates) Len() int { return len(c.sources) }
func (c *candidates) Less(i, j int) bool {
	return compareStamps(c.sources[i].next, c.sources[j].next) > 0
}
func (c *candidates) Swap(i, j int) { c.sources[i], c.sources[j] = c.sources[j], c.sources[i] }
func (c *candidates) Push(v any)    { c.sources = append(c.sources, v.(*source)) }
func (c *candidates) Pop() any {
	last := len(c.sources) - 1
	v := c.sources[last]
	c.sources = c.sources[:last]
	return v
}

// found is a message that a search selects. The state of one in the view is read
// where it is in the window.
type found struct {
	stamp stamp
	state *state
}

// searching is one Search.
type searching struct {
	s      *Store
	filter store.Filter
	match  store.Filter // filter without the stream, which is that of acceptance here, wherever mail waits
	upper  stamp
	floor  stamp
	want   int // the window's end

	message *bbolt.Bucket

	without []stamp // what the overlay knows better; ascending
	overlay []found // matching, newest first
	view    []found // the first of the matching, newest first
	total   int
}

func newSearching(s *Store, f store.Filter, want int) *searching {
	q := &searching{s: s, filter: f, match: f, want: want}
	q.match.Stream = ""
	q.upper, q.floor = timeBounds(&f)
	return q
}

// Search implements store.History. What has come in since the last block of a
// stream is compared message by message, a few milliseconds for as many as there can be. It
// reads in one transaction, which ends with ctx at the latest.
func (s *Store) Search(ctx context.Context, f store.Filter, offset, limit int) ([]store.Record, int, error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	if offset < 0 || limit < 0 || limit > listMost {
		return nil, 0, fmt.Errorf("searching messages from %d to %d: %w", offset, offset+limit, store.ErrInvalid)
	}
	q := newSearching(s, f, offset+limit)
	q.compareNewer()
	var records []store.Record
	err := s.db.read(func(tx *bbolt.Tx) (err error) {
		if err = q.run(ctx, tx); err == nil {
			records, err = q.page(tx, offset)
		}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("searching messages: %w", err)
	}
	return records, q.total, nil
}

// timeBounds returns the stamps that all messages of a filter lie between.
func timeBounds(f *store.Filter) (upper, floor stamp) {
	for i := range upper {
		upper[i] = 0xff
	}
	if !f.Until.IsZero() {
		upper = stampOf(f.Until, store.ID{})
	}
	if !f.Since.IsZero() {
		floor = stampOf(f.Since, store.ID{})
	}
	return upper, floor
}

// compareNewer selects from the overlay. It is read before the view: what
// leaves it meanwhile is in the view then.
func (q *searching) compareNewer() {
	newest, older := q.s.over.some(func(s *state) bool {
		return (q.filter.Server == 0 || q.filter.Server == s.msg.Server) && (q.filter.Stream == "" || q.filter.Stream == s.msg.Stream)
	})
	all := make([]found, 0, len(newest))
	for _, e := range newest {
		f := found{stamp: e.state.stamp()}
		if !e.gone && compareStamps(f.stamp, q.upper) < 0 && compareStamps(f.stamp, q.floor) >= 0 && matches(&q.match, e.state) {
			f.state = e.state
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int { return compareStamps(b.stamp, a.stamp) })
	q.leaveOut(all, slices.Concat(newest, older))
	q.overlay = slices.DeleteFunc(all, func(f found) bool { return f.state == nil })
	q.total = len(q.overlay)
}

// leaveOut has messages passed over where the view has them, also if it lacks them
// now: they may be in a block by the second look. all are the newest of entries.
func (q *searching) leaveOut(all []found, entries []entry) {
	q.without = make([]stamp, 0, len(entries))
	for _, f := range slices.Backward(all) {
		q.without = append(q.without, f.stamp)
	}
	for i, e := range entries {
		if i >= len(all) {
			q.without = append(q.without, e.state.stamp())
		}
		if e.drop != nil {
			q.without = append(q.without, e.drop.stamp())
		}
	}
	slices.SortFunc(q.without, compareStamps) // mostly in order already
}

// run counts what the view has, and keeps the first of it.
func (q *searching) run(ctx context.Context, tx *bbolt.Tx) error {
	c, err := newCandidates(tx, &q.filter, q.upper, q.floor, q.without)
	if err != nil {
		return err
	}
	q.message = tx.Bucket(bucketMessage)
	verify := unindexed(&q.filter)
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		st, certain, ok, err := c.top()
		if err != nil || !ok {
			return err
		}
		if certain && !verify && len(q.view) >= q.want {
			q.total += c.drain()
			continue
		}
		if err := q.take(st, certain && !verify); err != nil {
			return err
		}
		if err := c.pop(); err != nil {
			return err
		}
	}
}

// take adds a candidate if it matches.
func (q *searching) take(st stamp, certain bool) error {
	if !certain {
		if _, newer := slices.BinarySearchFunc(q.without, st, compareStamps); newer {
			return nil
		}
		decode := decodeLight
		if unindexed(&q.filter) {
			decode = decodeState
		}
		one, err := stateOf(q.message, st.id(), decode)
		if err != nil || one == nil || !matches(&q.match, one) {
			return err
		}
	}
	q.total++
	if len(q.view) < q.want {
		q.view = append(q.view, found{stamp: st})
	}
	return nil
}

// page merges what the overlay and the view have, and reads the records.
func (q *searching) page(tx *bbolt.Tx, offset int) ([]store.Record, error) {
	all := slices.Concat(q.overlay, q.view)
	slices.SortStableFunc(all, func(a, b found) int { return compareStamps(b.stamp, a.stamp) })
	all = all[min(offset, len(all)):min(q.want, len(all))]
	records := make([]store.Record, 0, len(all))
	for _, f := range all {
		if f.state == nil {
			st, err := stateIn(tx, f.stamp.id())
			if err == nil && st == nil {
				err = fmt.Errorf("message %s is in a block only: %w", f.stamp.id(), store.ErrDamaged)
			}
			if err != nil {
				return nil, err
			}
			if f.state = st.voidLeases(q.s.epoch); !matches(&q.match, f.state) {
				q.total-- // two values with one term
				continue
			}
		}
		records = append(records, f.state.record())
	}
	return records, nil
}
