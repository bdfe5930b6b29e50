package local

import (
	"fmt"
	"time"
	"unique"

	"github.com/mailchute/mailchute/store"
)

// The value of bucket queue: format version 1, fields. It holds what tickets
// and lanes need, so that neither decodes messages.
const ticketFormat = 1

// queued is an unfinished delivery as bucket queue knows it.
type queued struct {
	stamp       stamp
	part        int
	server      int64
	stream      string
	destination string
	due         time.Time
	lease       time.Time
	epoch       uint64
	attempt     int
	held        bool
}

func queuedOf(s *state, st stamp, part int) queued {
	d := &s.parts[part]
	return queued{
		stamp: st, part: part, server: d.Server, stream: d.Stream, destination: d.Destination,
		due: d.Due, lease: d.Lease, epoch: d.epoch, attempt: d.Attempt, held: !d.Held.IsZero(),
	}
}

func (q *queued) value() []byte { return q.append(make([]byte, 0, 96)) }

func (q *queued) append(b []byte) []byte {
	b = append(b, ticketFormat)
	b = putInt(b, 1, q.server)
	b = putString(b, 2, q.stream)
	b = putString(b, 3, q.destination)
	b = putTime(b, 4, q.due)
	b = putTime(b, 5, q.lease)
	if !q.lease.IsZero() {
		b = putUint(b, 6, q.epoch)
	}
	b = putInt(b, 7, int64(q.attempt))
	return putBool(b, 8, q.held)
}

// parseQueued reads a key and value of bucket queue. Its strings are interned,
// nothing of k and v is kept.
func parseQueued(k, v []byte) (q queued, err error) {
	if q.stamp, q.part, err = parsePartKey(k); err != nil {
		return q, fmt.Errorf("queue: %w: %w", err, store.ErrDamaged)
	}
	if len(v) == 0 || v[0] != ticketFormat {
		return q, fmt.Errorf("queue entry of unknown format: %w", store.ErrDamaged)
	}
	f := fields{rest: string(v[1:])}
	for f.next() {
		switch f.tag {
		case 1:
			q.server = f.signed()
		case 2:
			q.stream = intern(f.text)
		case 3:
			q.destination = intern(f.text)
		case 4:
			q.due = f.time()
		case 5:
			q.lease = f.time()
		case 6:
			q.epoch = f.num
		case 7:
			q.attempt = f.number()
		case 8:
			q.held = f.num != 0
		default:
			f.unknown("queue entry")
		}
	}
	return q, f.err
}

// intern returns the one copy of a string that many tickets and lanes share.
func intern(s string) string { return unique.Make(s).Value() }

// voidLease makes the lease of an earlier process void.
func (q *queued) voidLease(epoch uint64) {
	if q.epoch != epoch {
		q.lease, q.epoch = time.Time{}, 0
	}
}

// ticketDue is when the delivery can be claimed next.
func (q *queued) ticketDue() time.Time {
	if q.lease.After(q.due) {
		return q.lease
	}
	return q.due
}

func (q *queued) ticket() store.Ticket {
	return store.Ticket{
		ID:     store.DeliveryID{Message: q.stamp.id(), Part: q.part},
		Server: q.server, Stream: q.stream, Destination: q.destination,
		Due: q.ticketDue(), Attempt: q.attempt,
	}
}
