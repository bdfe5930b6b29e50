package local

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

type laneKey struct {
	server              int64
	stream, destination string
}

// lanes counts the unfinished deliveries as they change. It is not safe for
// concurrent use.
type lanes map[laneKey]*lane

type lane struct {
	deliveries, held int
	accepted         leastTime // of all
	due              leastTime // of those not held
}

func laneOf(q *queued) laneKey { return laneKey{q.server, q.stream, q.destination} }

func (ls lanes) add(q *queued) {
	k := laneOf(q)
	l := ls[k]
	if l == nil {
		l = &lane{}
		k.stream, k.destination = intern(k.stream), intern(k.destination)
		ls[k] = l
	}
	l.deliveries++
	l.accepted.add(q.stamp.accepted())
	if q.held {
		l.held++
		return
	}
	l.due.add(q.ticketDue())
}

func (ls lanes) remove(q *queued) {
	k := laneOf(q)
	l := ls[k]
	if l == nil {
		return
	}
	if l.deliveries--; l.deliveries == 0 {
		delete(ls, k)
		return
	}
	l.accepted.remove(q.stamp.accepted())
	if q.held {
		l.held--
		return
	}
	l.due.remove(q.ticketDue())
}

// move counts a delivery that was queued and still is.
func (ls lanes) move(from, to *queued) {
	l := ls[laneOf(from)]
	if l == nil || laneOf(from) != laneOf(to) || from.held != to.held || from.stamp != to.stamp {
		ls.remove(from)
		ls.add(to)
		return
	}
	if was, is := from.ticketDue(), to.ticketDue(); !to.held && !was.Equal(is) {
		l.due.remove(was)
		l.due.add(is)
	}
}

// list returns the lanes sorted by server, stream and destination.
func (ls lanes) list() []store.Lane {
	out := make([]store.Lane, 0, len(ls))
	for k, l := range ls {
		out = append(out, store.Lane{
			Server: k.server, Stream: k.stream, Destination: k.destination,
			Deliveries: l.deliveries, Held: l.held, Oldest: l.accepted.least(), NextDue: l.due.least(),
		})
	}
	slices.SortFunc(out, func(a, b store.Lane) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), strings.Compare(a.Stream, b.Stream), strings.Compare(a.Destination, b.Destination))
	})
	return out
}

// leastTime is a collection of times that knows its least: a heap of what was
// added and one of what was removed, which cancel out at the top. It needs
// eight bytes for a time.
type leastTime struct {
	added, removed times
}

const compactAt = 1024

func (l *leastTime) add(t time.Time) { l.added.push(int64(orderedNanos(t) ^ 1<<63)) }

// remove takes away a time that was added.
func (l *leastTime) remove(t time.Time) {
	l.removed.push(int64(orderedNanos(t) ^ 1<<63))
	for len(l.removed) > 0 && len(l.added) > 0 && l.added[0] == l.removed[0] {
		l.added.pop()
		l.removed.pop()
	}
	if len(l.removed) > compactAt && len(l.removed) > len(l.added)/2 {
		l.compact()
	}
}

// compact takes out what was removed behind a top that stays, such as one old
// message in a busy lane. Sorted slices are heaps.
func (l *leastTime) compact() {
	slices.Sort(l.added)
	slices.Sort(l.removed)
	kept, gone := l.added[:0], l.removed
	for _, t := range l.added {
		if len(gone) > 0 && gone[0] == t {
			gone = gone[1:]
			continue
		}
		kept = append(kept, t)
	}
	l.added, l.removed = slices.Clip(kept), nil
}

// least returns the zero time when there is none.
func (l *leastTime) least() time.Time {
	if len(l.added) == 0 {
		return time.Time{}
	}
	return time.Unix(0, l.added[0]).UTC()
}

// times is a heap, the least at the top. It is not container/heap's, which
// allocates each number.
type times []int64

func (h *times) push(v int64) {
	*h = append(*h, v)
	s := *h
	i := len(s) - 1
	for ; i > 0 && v < s[(i-1)/2]; i = (i - 1) / 2 {
		s[i] = s[(i-1)/2]
	}
	s[i] = v
}

// pop takes the least away.
func (h *times) pop() {
	s := *h
	last := len(s) - 1
	v, i := s[last], 0
	s = s[:last]
	for child := 1; child < last; child = 2*i + 1 {
		if child+1 < last && s[child+1] < s[child] {
			child++
		}
		if v <= s[child] {
			break
		}
		s[i], i = s[child], child
	}
	if last > 0 {
		s[i] = v
	}
	*h = s
}
