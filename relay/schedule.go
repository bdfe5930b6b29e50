package relay

import (
	"container/heap"
	"math"
	"time"

	"github.com/mailchute/mailchute/store"
)

// schedule decides which delivery starts next. It is plain data without a lock, a clock or a goroutine: the dispatcher
// owns it.
//
// A lane is one stream's queue to one destination, ordered by due time. A lane is in exactly one place:
//
//	waiting   its earliest delivery is due later: in the schedule's heap of lanes
//	ready     something is due: in its stream's ring
//	blocked   something is due and the site is at its limit: in the site's list
//	paused    something is due and the operator has paused the destination: in the schedule's list
//	empty     nothing queued: forgotten when nothing flies either
//
// Streams with ready lanes take turns (turns.go), and the lanes of a stream take turns in its ring. Every step is O(log n) at worst, whatever the number of lanes.
type schedule struct {
	limits     Limits
	longest    time.Duration // that a delivery can have to wait by any decision; 0: not bounded
	snapshot   *store.Snapshot
	tickets    ticketTable
	streams    map[store.StreamKey]*streamQueue
	servers    map[int64]*serverQueue
	turns      [2]ring[*turn] // by class
	ahead      int            // transactional starts since the last of broadcast, while that waited
	parked     []*streamQueue // may have none of the free places
	bulk       int            // flying of class broadcast
	meters     map[string]*meter
	remembered map[string]siteKept // sites of the process before that nothing was sent to yet
	day        today
	shutUntil  shutStreams
	sites      map[string]*site
	pauses     map[string]store.Pause // by destination
	held       []*lane                // at lanePaused
	known      knownSites
	idle       ring[*site]  // remembered, and not used when they were put here
	resting    restingOrder // with lanes that wait for the end of their rest
	waiting    laneHeap
	flying     int
	recent     recentlyDone
	news       []routeNews // for the log, which its owner writes
}

// streamQueue is the share of one stream.
type streamQueue struct {
	key     store.StreamKey
	weight  int
	paused  bool
	ways    []way
	order   []*way // reused by preferred
	shut    bool   // none of its routes takes anything now
	until   int64  // while shut: when one does, 0 where only the operator can change that
	lanes   map[string]*lane
	ready   ring[*lane]
	deficit int
	flying  int
	tickets int
	server  *serverQueue
	class   class
	inTurn  bool // in server.turns
	parked  bool // in schedule.parked
}

type lanePlace uint8

const (
	laneEmpty lanePlace = iota
	laneWaiting
	laneReady
	laneBlocked
	lanePaused // by the operator, in schedule.held
)

// lane holds the indexes of its tickets as a heap by due time.
type lane struct {
	stream      *streamQueue
	destination string
	place       lanePlace
	index       int // in schedule.waiting while laneWaiting
	heap        []int32
	tickets     int   // in heap and flying; the lane is forgotten at 0
	site        *site // while laneBlocked
	notBefore   int64 // none of its routes takes anything earlier
}

// start is one delivery that may begin now.
type start struct {
	slot    int32
	id      store.DeliveryID
	attempt int
	stream  *streamQueue
	bulk    int    // 1 where it counts as broadcast
	leg     leg    // by which it goes
	early   bool   // it may not be due yet by the store's clock, which was ahead
	memo    string // why the site is dead: the delivery is put off without asking; "" where it is not
}

func newSchedule(limits Limits, snap *store.Snapshot) *schedule {
	s := &schedule{limits: limits, streams: map[store.StreamKey]*streamQueue{}, servers: map[int64]*serverQueue{}, sites: map[string]*site{},
		meters: map[string]*meter{}, day: today{zone: time.UTC}}
	s.tickets.index = map[ticketKey]int32{}
	s.recent.attempts = map[ticketKey]int32{}
	s.directory(snap)
	return s
}

// directory takes over the pauses, weights and routes of a snapshot.
func (s *schedule) directory(snap *store.Snapshot) {
	s.snapshot = snap
	for _, v := range s.servers {
		v.configure(snap)
	}
	for _, q := range s.streams {
		before := q.ways
		s.configure(q, snap)
		if !sameWays(q.ways, before) {
			s.unblock(q)
		}
		s.activate(q)
	}
	s.resume(snap)
	s.openAll()
}

// unblock lets lanes go on that wait for a site which is not theirs any more, full as it may be: an operator changes the
// route because the old one hangs.
func (s *schedule) unblock(q *streamQueue) {
	for _, l := range q.lanes {
		if l.place == laneBlocked {
			s.wakeBlocked(l.site)
		}
	}
}

func (s *schedule) configure(q *streamQueue, snap *store.Snapshot) {
	stream, ok := snap.Streams[q.key]
	q.weight = stream.Weight
	if q.weight <= 0 {
		q.weight = 10
	}
	q.paused = ok && stream.Paused
	if !q.inTurn {
		q.class = classOfStream(stream.Kind)
	}
	ways := s.waysOf(snap, q.key)
	if sameWays(ways, q.ways) {
		for i := range ways {
			ways[i].credit = q.ways[i].credit
		}
	}
	q.ways = ways
}

func (s *schedule) stream(key store.StreamKey) *streamQueue {
	q := s.streams[key]
	if q == nil {
		q = &streamQueue{key: key, lanes: map[string]*lane{}, server: s.server(key.Server)}
		q.server.streams++
		s.configure(q, s.snapshot)
		s.streams[key] = q
	}
	return q
}

// add takes a ticket in. A newer one for the same delivery replaces the older; one that an attempt under way or a
// finished attempt has overtaken is dropped.
func (s *schedule) add(t store.Ticket, now int64) {
	key := keyOf(t.ID)
	if done, ok := s.recent.attempts[key]; ok && int(done) >= t.Attempt {
		return
	}
	due, early := s.nearer(unixNano(t.Due), now)
	slot, known := s.tickets.index[key]
	if !known {
		slot = s.tickets.put(key, due, int32(t.Attempt))
		s.tickets.at(slot).early = early
		s.insert(slot, s.laneFor(t), now)
		return
	}
	e := s.tickets.at(slot)
	if int(e.attempt) > t.Attempt {
		return
	}
	e.attempt, e.due, e.early = int32(t.Attempt), due, early
	s.move(slot, t, now)
	if e.flying {
		e.fresh = true
		return
	}
	l := e.lane
	s.tickets.fix(l, int(e.pos))
	s.place(l, now)
}

// move takes a delivery to another lane when it was rerouted. The lane that it leaves may stay where it is without a
// delivery, until somebody looks at it.
func (s *schedule) move(slot int32, t store.Ticket, now int64) {
	e := s.tickets.at(slot)
	old := e.lane
	if old.stream.key == (store.StreamKey{Server: t.Server, Stream: t.Stream}) && old.destination == t.Destination {
		return
	}
	s.unwait(old)
	if !e.flying {
		s.tickets.remove(old, int(e.pos))
	}
	old.tickets--
	old.stream.tickets--
	s.place(old, now)
	e.lane = s.laneFor(t)
	e.lane.tickets++
	e.lane.stream.tickets++
	if !e.flying {
		s.tickets.push(e.lane, slot)
	}
	s.dropStream(old.stream)
}

func (s *schedule) laneFor(t store.Ticket) *lane {
	q := s.stream(store.StreamKey{Server: t.Server, Stream: t.Stream})
	l := q.lanes[t.Destination]
	if l == nil {
		l = &lane{stream: q, destination: t.Destination}
		q.lanes[t.Destination] = l
	}
	return l
}

func (s *schedule) insert(slot int32, l *lane, now int64) {
	s.tickets.at(slot).lane = l
	l.tickets++
	l.stream.tickets++
	s.tickets.push(l, slot)
	s.place(l, now)
}

func (s *schedule) head(l *lane) int64 { return s.tickets.at(l.heap[0]).due }

// ripe is when a lane is to be looked at.
func (s *schedule) ripe(l *lane) int64 { return max(s.head(l), l.notBefore) }

// place puts a lane where its head belongs. Ready and blocked lanes stay: next looks at the due time again.
func (s *schedule) place(l *lane, now int64) {
	switch {
	case l.place == laneReady || l.place == laneBlocked || l.place == lanePaused:
		return
	case len(l.heap) == 0:
		s.unwait(l)
		if l.tickets == 0 {
			delete(l.stream.lanes, l.destination)
		}
	case s.ripe(l) <= now:
		s.unwait(l)
		l.place = laneReady
		l.stream.ready.push(l)
		s.activate(l.stream)
	case l.place == laneWaiting:
		heap.Fix(laneOrder{s}, l.index)
	default:
		l.place = laneWaiting
		heap.Push(laneOrder{s}, l)
	}
}

func (s *schedule) unwait(l *lane) {
	if l.place == laneWaiting {
		heap.Remove(laneOrder{s}, l.index)
		l.place = laneEmpty
	}
}

// block lets a lane wait for its site.
func (s *schedule) block(l *lane, at *site, now int64) {
	l.place, l.site = laneBlocked, at
	at.blocked.push(l)
	if at.rest > now && !at.resting {
		at.resting = true
		heap.Push(&s.resting, at)
	}
}

// wake moves the lanes whose time has come to their streams, and returns when the next one's comes.
func (s *schedule) wake(now int64) (next int64, any bool) {
	for len(s.resting) > 0 && s.resting[0].rest <= now {
		at := heap.Pop(&s.resting).(*site)
		at.resting = false
		s.wakeBlocked(at)
		s.dropSite(at)
	}
	if any = len(s.resting) > 0; any {
		next = s.resting[0].rest
	}
	if opens := s.openStreams(now); opens != 0 && (!any || opens < next) {
		next, any = opens, true
	}
	for len(s.waiting) > 0 {
		l := s.waiting[0]
		if due := s.ripe(l); due > now {
			if !any || due < next {
				next = due
			}
			return next, true
		}
		s.place(l, now)
	}
	return next, any
}

// take starts the first due delivery of the lane at the front of a stream's ring, or moves that lane to where it belongs.
func (s *schedule) take(q *streamQueue, now int64) (start, bool) {
	l := q.ready.pop()
	l.place = laneEmpty
	if len(l.heap) == 0 || s.ripe(l) > now {
		s.place(l, now)
		return start{}, false
	}
	c := s.choose(l, now)
	if c.way == nil {
		s.postpone(l, c, now)
		return start{}, false
	}
	l.notBefore = 0
	slot := s.tickets.pop(l)
	e := s.tickets.at(slot)
	e.flying, e.fresh = true, false
	q.flying++
	s.bulk += q.bulk()
	c.site.flying++
	s.flying++
	st := start{slot: slot, id: e.key.id(), attempt: int(e.attempt), stream: q, bulk: q.bulk(), early: e.early, memo: c.memo, leg: s.depart(q, c, now)}
	s.place(l, now)
	return st, true
}

// depart counts the first recipient of an attempt where it goes.
func (s *schedule) depart(q *streamQueue, c choice, now int64) leg {
	g := leg{route: c.way.route, meter: c.way.meter, site: c.site, domain: c.domain, began: now}
	g.meter.flying++
	if c.memo != "" {
		return g // nobody is asked
	}
	if q.chosen(c.way); g.meter.until != 0 {
		g.meter.probing = true
	}
	g.charged = g.meter.charge(g.route, 1)
	return g
}

// postpone puts a lane where it waits for what it needs.
func (s *schedule) postpone(l *lane, c choice, now int64) {
	switch {
	case c.block != nil:
		s.block(l, c.block, now)
	case c.shut:
		l.place = laneReady
		l.stream.ready.push(l)
		s.shutStream(l.stream, c.until)
	case c.until != 0:
		l.notBefore = c.until
		s.place(l, now)
	default:
		l.place = lanePaused
		s.held = append(s.held, l)
	}
}

// done ends a flight. A delivery that is not final and has had no newer ticket is forgotten too: its ticket is on the way.
func (s *schedule) done(st start, o outcome, now int64) {
	e := s.tickets.at(st.slot)
	l := e.lane
	st.stream.flying--
	s.bulk -= st.bulk
	legs := o.legs
	if len(legs) == 0 {
		st.leg.contact = o.contact
		legs = []leg{st.leg}
	}
	for _, g := range legs {
		s.land(g, now)
	}
	s.flying--
	e.flying = false
	switch {
	case o.final:
		s.recent.put(e.key, int32(o.attempt))
		s.forget(st.slot)
	case o.again != 0 && !e.fresh:
		e.due = o.again
		s.tickets.push(l, st.slot)
	case e.fresh:
		s.tickets.push(l, st.slot)
	default:
		s.forget(st.slot)
	}
	s.place(l, now)
	for _, g := range legs {
		s.release(g.site)
	}
	s.unpark()
	s.activate(st.stream)
	s.dropStream(st.stream)
}

func (s *schedule) forget(slot int32) {
	l := s.tickets.at(slot).lane
	l.tickets--
	l.stream.tickets--
	s.tickets.free(slot)
}

// dropStream forgets a stream that has nothing. One whose routes have weights is kept: it knows whose turn it is.
func (s *schedule) dropStream(q *streamQueue) {
	if q.tickets == 0 && !q.shares() && q.flying == 0 && !q.inTurn && !q.parked && s.streams[q.key] == q {
		delete(s.streams, q.key)
		if q.server.streams--; q.server.streams == 0 {
			delete(s.servers, q.server.id)
		}
	}
}

// unixNano is time.Time.UnixNano for times outside its range, too.
func unixNano(t time.Time) int64 {
	switch {
	case t.Year() < 1970:
		return 0
	case t.Year() > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}
