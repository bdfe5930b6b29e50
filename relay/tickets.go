package relay

import "github.com/mailchute/mailchute/store"

// ticketKey is a store.DeliveryID in 20 bytes.
type ticketKey struct {
	message store.ID
	part    int32
}

func keyOf(id store.DeliveryID) ticketKey { return ticketKey{id.Message, int32(id.Part)} }

func (k ticketKey) id() store.DeliveryID {
	return store.DeliveryID{Message: k.message, Part: int(k.part)}
}

// ticket is one queued delivery, 48 bytes.
type ticket struct {
	key     ticketKey
	attempt int32
	due     int64 // Unix nanoseconds
	lane    *lane
	pos     int32 // in lane.heap, while not flying
	flying  bool
	fresh   bool // a ticket came while flying
	early   bool // due was moved to before the store's
}

const chunkTickets = 4096

// ticketTable holds all tickets in chunks that never move, so that it grows without copying.
type ticketTable struct {
	chunks [][]ticket
	unused []int32
	index  map[ticketKey]int32
}

func (t *ticketTable) at(slot int32) *ticket { return &t.chunks[slot/chunkTickets][slot%chunkTickets] }

func (t *ticketTable) len() int { return len(t.index) }

func (t *ticketTable) put(key ticketKey, due int64, attempt int32) int32 {
	if len(t.unused) == 0 {
		t.grow()
	}
	slot := t.unused[len(t.unused)-1]
	t.unused = t.unused[:len(t.unused)-1]
	*t.at(slot) = ticket{key: key, due: due, attempt: attempt}
	t.index[key] = slot
	return slot
}

func (t *ticketTable) grow() {
	base := int32(len(t.chunks) * chunkTickets)
	t.chunks = append(t.chunks, make([]ticket, chunkTickets))
	for i := int32(chunkTickets - 1); i >= 0; i-- {
		t.unused = append(t.unused, base+i)
	}
}

func (t *ticketTable) free(slot int32) {
	delete(t.index, t.at(slot).key)
	*t.at(slot) = ticket{}
	t.unused = append(t.unused, slot)
}

// push, pop and fix keep lane.heap ordered by due time. They are written out because container/heap would allocate for
// every ticket.

func (t *ticketTable) push(l *lane, slot int32) {
	l.heap = append(l.heap, slot)
	t.at(slot).pos = int32(len(l.heap) - 1)
	t.up(l, len(l.heap)-1)
}

func (t *ticketTable) pop(l *lane) int32 {
	slot, last := l.heap[0], len(l.heap)-1
	l.heap[0] = l.heap[last]
	t.at(l.heap[0]).pos = 0
	l.heap = l.heap[:last]
	if last == 0 {
		l.heap = nil
		return slot
	}
	t.down(l, 0)
	return slot
}

// remove takes out the one at place i.
func (t *ticketTable) remove(l *lane, i int) {
	last := len(l.heap) - 1
	t.swap(l, i, last)
	if l.heap = l.heap[:last]; i < last {
		t.fix(l, i)
	}
	if last == 0 {
		l.heap = nil
	}
}

func (t *ticketTable) fix(l *lane, i int) {
	t.up(l, i)
	t.down(l, i)
}

func (t *ticketTable) up(l *lane, i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.at(l.heap[parent]).due <= t.at(l.heap[i]).due {
			return
		}
		t.swap(l, i, parent)
		i = parent
	}
}

func (t *ticketTable) down(l *lane, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(l.heap); child++ {
			if t.at(l.heap[child]).due < t.at(l.heap[least]).due {
				least = child
			}
		}
		if least == i {
			return
		}
		t.swap(l, i, least)
		i = least
	}
}

func (t *ticketTable) swap(l *lane, i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	t.at(l.heap[i]).pos, t.at(l.heap[j]).pos = int32(i), int32(j)
}

// recentDone is how many finished deliveries are remembered.
const recentDone = 8192

// recentlyDone remembers deliveries that have just ended for good. The ticket that told of their lease may still be on
// its way, and would otherwise sit in the schedule until the lease's end.
type recentlyDone struct {
	attempts map[ticketKey]int32
	order    []ticketKey
	at       int
}

func (r *recentlyDone) put(key ticketKey, attempt int32) {
	if len(r.order) < recentDone {
		r.order = append(r.order, key)
	} else {
		delete(r.attempts, r.order[r.at])
		r.order[r.at] = key
		r.at = (r.at + 1) % recentDone
	}
	r.attempts[key] = attempt
}
