package local

import (
	"bytes"
	"context"
	"sync"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// overlay holds the messages that are newer than the view, and the counts that
// change with them. Its lock is never held across I/O.
type overlay struct {
	maxCount int
	maxBytes int64
	end      func() journal.Position
	kick     chan struct{} // wakes the checkpoint loop

	mu       sync.Mutex
	dirty    map[store.ID]entry // changed since the last checkpoint began
	flushing map[store.ID]entry // in the checkpoint under way
	bytes    int64              // of both
	lanes    lanes
	segments map[uint64]usage
	touched  map[uint64]bool // segments whose usage changed since the last checkpoint began
	tally    tally           // counted since the last checkpoint began
	written  tally           // by the checkpoint under way, or the last one
	batch    uint64          // number of that checkpoint
	watchers map[*watcher]struct{}
	writes   []*writing
	idle     freeList[writing]
	gate     chan struct{} // not nil: no write may begin until it is closed
	drained  chan struct{} // with gate: closed when no write is under way
	room     chan struct{} // closed when a checkpoint ended
	highest  store.ID      // of all messages that came by here
	inView   store.ID      // the view has no message of a higher ID, not even in the checkpoint under way
	stuck    error         // why the last checkpoint could not be written
}

// entry is a message in the overlay.
type entry struct {
	state *state
	gone  bool   // forgotten; state is the last one, for its keys
	fresh bool   // the view has nothing of it
	drop  *state // an earlier message of the same ID whose keys the view still has
	news  int    // newest events of state that the view lacks; see hooks.derive
	size  int64
}

// usage is what messages need of a journal segment.
type usage struct {
	messages, bytes int64
}

// writing is a write between the moment before its append and its application. No
// checkpoint may claim a position behind where its record can lie.
type writing struct {
	from journal.Position
	at   int // its place in overlay.writes

	recs    []journal.Record // what commit needs, until the write ends
	updates []update
	deps    []journal.Ref // staged pieces of a body that its record will need
}

func newOverlay(opts Options, end func() journal.Position) *overlay {
	return &overlay{
		maxCount: opts.MaxOverlay, maxBytes: opts.MaxOverlayBytes, end: end,
		kick:  make(chan struct{}, 1),
		dirty: map[store.ID]entry{}, lanes: lanes{}, segments: map[uint64]usage{}, touched: map[uint64]bool{},
		tally: tally{}, watchers: map[*watcher]struct{}{}, room: make(chan struct{}),
	}
}

// begin waits for room and announces a write of records that depend on deps. The
// caller ends it with finish or apply, and does not touch it after that.
func (o *overlay) begin(ctx context.Context, deps ...journal.Ref) (*writing, error) {
	for {
		o.mu.Lock()
		if gate := o.gate; gate != nil {
			o.mu.Unlock()
			select {
			case <-gate:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if len(o.dirty)+len(o.flushing) < o.maxCount && o.bytes < o.maxBytes {
			w := o.idle.get()
			w.from, w.at, w.deps = o.end(), len(o.writes), deps
			o.writes = append(o.writes, w)
			o.mu.Unlock()
			return w, nil
		}
		room, stuck := o.room, o.stuck
		o.mu.Unlock()
		if stuck != nil {
			return nil, stuck
		}
		o.wake()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (o *overlay) wake() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// finish ends a write without effect.
func (o *overlay) finish(w *writing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended(w)
}

// ended forgets a write. The caller holds mu.
func (o *overlay) ended(w *writing) {
	last := len(o.writes) - 1
	o.writes[w.at], o.writes[last].at = o.writes[last], w.at
	o.writes[last] = nil
	o.writes = o.writes[:last]
	clear(w.recs)
	clear(w.updates)
	w.recs, w.updates, w.deps = w.recs[:0], w.updates[:0], nil
	o.idle.put(w)
	if o.gate != nil && len(o.writes) == 0 {
		close(o.drained)
	}
}

// update is a message before and after a record.
type update struct {
	id   store.ID
	old  *state // nil: not known
	next *state // nil: forgotten
	// silent is set where the counters have it: in a rebuild that keeps them.
	silent bool
}

// news is how many events the record added.
func (u update) news() int {
	switch {
	case u.next == nil:
		return 0
	case u.old == nil:
		return u.next.logged
	}
	return u.next.logged - u.old.logged
}

// apply makes the updates of a write visible, all at once, and ends it.
func (o *overlay) apply(w *writing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range w.updates {
		o.put(w.updates[i])
	}
	o.ended(w)
	if len(o.dirty) > o.maxCount/4 || o.bytes > o.maxBytes/4 {
		o.wake()
	}
}

// put replaces a message. The caller holds mu. What is in neither map now is in
// the view if it is known at all, whatever it was when the write began.
func (o *overlay) put(u update) {
	before := o.dirty[u.id]
	e := entry{state: u.next, fresh: u.old == nil, gone: u.next == nil, news: before.news + u.news()}
	if before.state != nil {
		e.fresh, e.drop = before.fresh, before.drop
		if before.gone && !before.fresh {
			e.fresh, e.drop = true, before.state
		}
	} else if f, ok := o.flushing[u.id]; ok {
		e.fresh = f.fresh
	}
	if e.gone {
		e.state = u.old
		if e.drop != nil {
			e.state, e.drop, e.fresh, e.news = e.drop, nil, false, 0
		}
	}
	if bytes.Compare(u.id[:], o.highest[:]) > 0 {
		o.highest = u.id
	}
	e.size = sizeOf(e)
	o.bytes += e.size - before.size
	o.dirty[u.id] = e
	o.count(u)
	if u.next != nil && !u.silent {
		old := u.old
		if before.state != nil && !before.gone {
			old = before.state // newer than u.old where one write has two records of a message
		}
		o.tally.count(old, u.next)
	}
	o.announce(u)
}

// sizeOf estimates an entry's memory.
func sizeOf(e entry) int64 {
	s := e.state
	n := 512 + len(s.msg.From) + len(s.msg.Header.Subject) + 64*len(s.body) + 160*len(s.events)
	for k, v := range s.msg.Metadata {
		n += len(k) + len(v) + 64
	}
	for i := range s.parts {
		n += 256 + 192*len(s.parts[i].Recipients)
	}
	return int64(n)
}

// count keeps lanes and segment usage. The caller holds mu.
func (o *overlay) count(u update) {
	var was, is []place
	parts := 0
	if u.old != nil {
		was, parts = u.old.places, len(u.old.parts)
	}
	if u.next != nil {
		is, parts = u.next.places, max(parts, len(u.next.parts))
	}
	for i := range parts {
		o.countPart(u, i)
	}
	for i, p := range was {
		if i < len(is) && is[i].segment == p.segment {
			o.use(p.segment, 0, is[i].bytes-p.bytes)
			continue
		}
		o.use(p.segment, -1, -p.bytes)
	}
	for i, p := range is {
		if i >= len(was) || was[i].segment != p.segment {
			o.use(p.segment, 1, p.bytes)
		}
	}
}

func (o *overlay) countPart(u update, part int) {
	was, before := queuedIn(u.old, part)
	is, after := queuedIn(u.next, part)
	switch {
	case before && after:
		o.lanes.move(&was, &is)
	case before:
		o.lanes.remove(&was)
	case after:
		o.lanes.add(&is)
	}
}

// queuedIn returns a delivery that a message has and that is unfinished.
func queuedIn(s *state, part int) (q queued, ok bool) {
	if s == nil || part >= len(s.parts) || s.parts[part].Done() {
		return q, false
	}
	return queuedOf(s, s.stamp(), part), true
}

func (o *overlay) use(segment uint64, messages, bytes int64) {
	if messages == 0 && bytes == 0 {
		return
	}
	n := o.segments[segment]
	n.messages += messages
	n.bytes += bytes
	o.segments[segment] = n
	o.touched[segment] = true
}

// eachQueued calls fn for every unfinished delivery.
func eachQueued(s *state, fn func(*queued)) {
	st := s.stamp()
	for i := range s.parts {
		if !s.parts[i].Done() {
			q := queuedOf(s, st, i)
			fn(&q)
		}
	}
}

// get returns a message that is newer than the view.
func (o *overlay) get(id store.ID) (entry, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e, ok := o.dirty[id]; ok {
		return e, true
	}
	e, ok := o.flushing[id]
	return e, ok
}

// beyondView reports whether an ID that get does not know cannot be in the view
// either. New IDs begin with the time, so this spares nearly every new message
// a look into the view.
func (o *overlay) beyondView(id store.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Compare(id[:], o.inView[:]) > 0
}

// all returns every message that is newer than the view.
func (o *overlay) all() map[store.ID]entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.allLocked()
}

func (o *overlay) allLocked() map[store.ID]entry {
	m := make(map[store.ID]entry, len(o.dirty)+len(o.flushing))
	for id, e := range o.flushing {
		m[id] = e
	}
	for id, e := range o.dirty {
		m[id] = e
	}
	return m
}

// some returns the messages newer than the view that pick selects, and those of the
// checkpoint under way that are out of date.
func (o *overlay) some(pick func(*state) bool) (newest, older []entry) {
	o.mu.Lock()
	flushing := o.flushing // nobody changes it any more
	dirty := make([]entry, 0, len(o.dirty))
	superseded := map[store.ID]bool{}
	for id, e := range o.dirty {
		dirty = append(dirty, e)
		if _, ok := flushing[id]; ok {
			superseded[id] = true
		}
	}
	o.mu.Unlock()
	for _, e := range dirty {
		if pick(e.state) {
			newest = append(newest, e)
		}
	}
	for id, e := range flushing {
		switch {
		case !pick(e.state):
		case superseded[id]:
			older = append(older, e)
		default:
			newest = append(newest, e)
		}
	}
	return newest, older
}
