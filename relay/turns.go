package relay

import "github.com/mailchute/mailchute/store"

// Who starts next. Three things are decided one after the other:
//
//  1. Transactional mail goes ahead of broadcast mail, but of every ten starts one is left to broadcast if it has
//     something, so that it never starves.
//  2. Within a class the servers take turns, and within a server its streams, by deficit round robin with their weights.
//     A delivery costs 1 whatever its size: what is scarce are places, and a place is held by waiting, not by octets.
//  3. Within a stream its destinations take turns.
//
// An order of starts is not enough: an attempt at a slow destination keeps its place for minutes, and cannot be taken
// back. So a tenth of all places is kept for streams that have little under way, and broadcast mail gets no more than two
// thirds. A stream has little under way while it has less than a quarter of the free places, so that even many of them
// leave something to the next.

// class is the urgency of a stream's mail.
type class uint8

const (
	transactional class = iota
	broadcast
)

func classOfStream(kind store.StreamKind) class {
	if kind == store.Broadcast {
		return broadcast
	}
	return transactional
}

// transactionalAhead is how many transactional deliveries may start for one of broadcast that waits.
const transactionalAhead = 9

// serverQueue is the share of one server.
type serverQueue struct {
	id      int64
	weight  int
	streams int // of schedule.streams
	turns   [2]turn
}

// turn is what one server has of one class.
type turn struct {
	server  *serverQueue
	class   class
	deficit int
	streams ring[*streamQueue]
	inTurn  bool // in schedule.turns
}

func (s *schedule) server(id int64) *serverQueue {
	v := s.servers[id]
	if v == nil {
		v = &serverQueue{id: id}
		for c := range v.turns {
			v.turns[c].server, v.turns[c].class = v, class(c)
		}
		v.configure(s.snapshot)
		s.servers[id] = v
	}
	return v
}

func (v *serverQueue) configure(snap *store.Snapshot) {
	v.weight = snap.Servers[v.id].Weight
	if v.weight <= 0 {
		v.weight = 10
	}
}

func (q *streamQueue) bulk() int {
	if q.class == broadcast {
		return 1
	}
	return 0
}

// activate gives a stream that can send its place in the turns.
func (s *schedule) activate(q *streamQueue) {
	if q.inTurn || q.parked || q.paused || q.shut || q.ready.len() == 0 || q.flying >= s.limits.PerStream {
		return
	}
	q.inTurn = true
	t := &q.server.turns[q.class]
	t.streams.push(q)
	if !t.inTurn {
		t.inTurn = true
		s.turns[t.class].push(t)
	}
}

// next takes the delivery that may start now, if any, and counts it as flying.
func (s *schedule) next(now int64) (start, bool) {
	for s.flying < s.limits.Total {
		t := s.turn()
		if t == nil {
			break
		}
		q := t.streams.front()
		if q.paused || q.shut || q.flying >= s.limits.PerStream || q.ready.len() == 0 {
			s.leave(t)
			continue
		}
		if !s.mayStart(q) {
			s.park(t)
			continue
		}
		if q.deficit < 1 {
			q.deficit += q.weight
		}
		if st, ok := s.take(q, now); ok {
			s.charge(t, q)
			return st, true
		}
	}
	return start{}, false
}

// turn is whose turn it is, nil where nobody has anything.
func (s *schedule) turn() *turn {
	urgent, bulk := &s.turns[transactional], &s.turns[broadcast]
	switch {
	case urgent.len() > 0 && (bulk.len() == 0 || s.ahead < transactionalAhead):
		return urgent.front()
	case bulk.len() > 0:
		return bulk.front()
	}
	return nil
}

// charge lets a stream and its server pay for a start, and passes the turn on when they have spent what they had.
func (s *schedule) charge(t *turn, q *streamQueue) {
	switch {
	case t.class == broadcast:
		s.ahead = 0
	case s.turns[broadcast].len() > 0:
		s.ahead++
	}
	if q.deficit--; q.deficit < 1 {
		t.streams.rotate()
	}
	if t.deficit < 1 {
		t.deficit += t.server.weight
	}
	if t.deficit--; t.deficit < 1 {
		s.turns[t.class].rotate()
	}
}

// leave takes a stream that cannot send out of its turn; what it saved up is lost, as deficit round robin demands.
func (s *schedule) leave(t *turn) {
	q := s.popFront(t)
	q.deficit = 0
	if t.streams.len() == 0 {
		t.deficit = 0
	}
	s.dropStream(q)
}

// popFront takes the front stream of t out, and t where that was its last. t is at the front of its ring: only there are
// streams looked at.
func (s *schedule) popFront(t *turn) *streamQueue {
	q := t.streams.pop()
	q.inTurn = false
	if t.streams.len() == 0 {
		s.turns[t.class].pop()
		t.inTurn = false
	}
	return q
}

// mayStart tells whether a stream may have one of the free places. There is one.
func (s *schedule) mayStart(q *streamQueue) bool {
	total := s.limits.Total
	free, kept := total-s.flying, total/10
	if q.class == broadcast {
		return 4*q.flying < free-kept || free > kept && s.bulk < total-total/3
	}
	return 4*q.flying < free || free > kept
}

// park puts a stream aside until a place becomes free. Those parked come back in the order in which they went, and with
// what they saved up, so that the turns go on as if they had never left.
func (s *schedule) park(t *turn) {
	q := s.popFront(t)
	q.parked = true
	s.parked = append(s.parked, q)
}

// unpark lets all go on after an attempt has ended. It is the one step that takes as long as there are streams with mail
// that is due.
func (s *schedule) unpark() {
	for _, q := range s.parked {
		q.parked = false
		s.activate(q)
	}
	clear(s.parked)
	s.parked = s.parked[:0]
}
