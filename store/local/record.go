package local

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Types of journal records. Each is about one message. What a record does is
// in it as outcome, not as request: replaying needs no clock, and repeating it
// changes nothing but the events.
const (
	typeAccept  byte = 1  // a message, its deliveries, its body or where that was staged
	typeClaim   byte = 2  // a lease and its attempt number
	typeResolve byte = 3  // a delivery as it is from now on, and events
	typeAmend   byte = 4  // what an operator did to some deliveries
	typeForget  byte = 5  // the message is gone
	typeCopy    byte = 6  // the whole state with the body, so that older segments can go
	typeEnding  byte = 12 // an attempt is about to end its content
	typeBody    byte = 7  // a piece of a body; staged, of no meaning by itself
)

// The payload of every record but typeBody: format version 1, ID of the
// message 16, length of the fields 4, fields, and with types accept and copy
// the body, unless that was staged.
const (
	recordFormat = 1
	recordHead   = 1 + 16 + 4
)

// change is a decoded record.
type change interface {
	// apply makes the next state of the message; nil when it is forgotten. old
	// is nil when the message is not known. It changes nothing of old.
	apply(old *state) *state
}

// located is a change with the message that it is about and where in the
// journal its record lies.
type located struct {
	id     store.ID
	ref    journal.Ref
	change change
}

func (l *located) position() journal.Position {
	return journal.Position{Segment: l.ref.Segment, Offset: l.ref.Offset}
}

// apply makes the next state. Records that the state has already, and records
// of messages that are not known because a later copy or forgetting made
// them unneeded, change nothing.
func (l *located) apply(old *state) (next *state, changed bool) {
	if old != nil && !old.at.Before(l.position()) {
		return old, false
	}
	next = l.change.apply(old)
	if next == nil {
		return nil, old != nil
	}
	if _, moved := l.change.(copied); !moved {
		next.occupy(l.ref.Segment, l.ref.Length)
	}
	next.at = l.position()
	return next, true
}

// recordRoom is more than most records need.
const recordRoom = 1024

// recordBuffers are those of records that were written.
var recordBuffers = sync.Pool{New: func() any { return new([recordRoom]byte) }}

// beginRecord writes the head of a payload; endRecord fills in its length. The
// commit of the record takes the memory back.
func beginRecord(id store.ID) []byte {
	b := append(recordBuffers.Get().(*[recordRoom]byte)[:0], recordFormat)
	b = append(b, id[:]...)
	return append(b, 0, 0, 0, 0)
}

func recycleRecord(b []byte) {
	if cap(b) == recordRoom {
		recordBuffers.Put((*[recordRoom]byte)(b[:recordRoom]))
	}
}

func endRecord(b []byte) []byte {
	binary.BigEndian.PutUint32(b[recordHead-4:], uint32(len(b)-recordHead))
	return b
}

// decodeRecord reads a record. It keeps nothing of payload. For types accept
// and copy payload may end before the body that ref covers.
func decodeRecordAt(kind byte, payload []byte, ref journal.Ref) (l located, err error) {
	if len(payload) < recordHead || payload[0] != recordFormat {
		return l, fmt.Errorf("journal record at %d:%d has an unknown format: %w", ref.Segment, ref.Offset, store.ErrDamaged)
	}
	copy(l.id[:], payload[1:])
	l.ref = ref
	n := int64(binary.BigEndian.Uint32(payload[recordHead-4:]))
	if n > int64(len(payload)-recordHead) {
		return l, fmt.Errorf("journal record at %d:%d is too short: %w", ref.Segment, ref.Offset, store.ErrDamaged)
	}
	f := fields{rest: string(payload[recordHead : recordHead+n])}
	inline := extent{ref: ref, skip: recordHead + n, length: ref.Length - recordHead - n}
	l.change = readChange(kind, &f, inline)
	if f.err != nil {
		return l, fmt.Errorf("journal record at %d:%d: %w", ref.Segment, ref.Offset, f.err)
	}
	return l, nil
}

func readChange(kind byte, f *fields, inline extent) change {
	switch kind {
	case typeAccept:
		return readAccepted(f, inline)
	case typeClaim:
		return readClaim(f)
	case typeResolve:
		return readResolved(f)
	case typeEnding:
		return readEnding(f)
	case typeAmend:
		return readAmended(f)
	case typeForget:
		for f.next() {
			f.unknown("forget record")
		}
		return forgotten{}
	case typeCopy:
		return readCopied(f, inline)
	}
	f.fail("record type %d is unknown", kind)
	return nil
}

// accepted is a message as it came in.
type accepted struct {
	state *state
}

func encodeAccepted(s *state) []byte {
	b := beginRecord(s.msg.ID)
	return endRecord(putState(b, s))
}

func readAccepted(f *fields, inline extent) change {
	s := readState(f)
	if len(s.body) == 0 {
		s.body = []extent{inline}
	}
	if s.msg.ID.IsZero() {
		f.fail("an accept record without a message")
	}
	return accepted{s}
}

func (a accepted) apply(old *state) *state {
	if old != nil {
		return old.with() // the ID was known: a repetition
	}
	next := a.state // the record's own: it was decoded to be applied once
	for _, e := range next.body {
		if e.skip == 0 { // staged: a record of its own
			next.occupy(e.ref.Segment, e.ref.Length)
		}
	}
	return next
}

// copied is a whole state, made to free the segments where its records lay.
type copied struct {
	state *state
}

func readCopied(f *fields, inline extent) change {
	s := readState(f)
	if len(s.body) == 0 {
		s.body = []extent{inline}
	}
	if s.msg.ID.IsZero() {
		f.fail("a copy record without a message")
	}
	s.places = nil
	s.occupy(inline.ref.Segment, inline.ref.Length)
	for _, e := range s.body {
		if e.skip == 0 {
			s.occupy(e.ref.Segment, e.ref.Length)
		}
	}
	return copied{s}
}

// apply adds no events: those in the copy were told of by the records that it
// replaces.
func (c copied) apply(old *state) *state {
	next := c.state.with()
	if next.logged = 0; old != nil {
		next.logged = old.logged
	}
	return next
}

// claimed is a lease taken.
type claimed struct {
	part, attempt int
	lease         time.Time
	epoch         uint64
}

func encodeClaim(id store.ID, c claimed) []byte {
	b := putInt(beginRecord(id), 1, int64(c.part))
	b = putInt(b, 2, int64(c.attempt))
	b = putTime(b, 3, c.lease)
	return endRecord(putUint(b, 4, c.epoch))
}

func readClaim(f *fields) change {
	var c claimed
	for f.next() {
		switch f.tag {
		case 1:
			c.part = f.number()
		case 2:
			c.attempt = f.number()
		case 3:
			c.lease = f.time()
		case 4:
			c.epoch = f.num
		default:
			f.unknown("claim record")
		}
	}
	return c
}

func (c claimed) apply(old *state) *state {
	if old == nil {
		return nil
	}
	next := old.with()
	if c.part >= 0 && c.part < len(next.parts) {
		d := &next.parts[c.part]
		d.abandon()
		d.Attempt, d.Lease, d.epoch, d.Ending = c.attempt, c.lease, c.epoch, ""
	}
	return next
}

// resolved is the end of an attempt.
type resolved struct {
	delivery leased
	events   []store.Event
}

// encodeResolved takes the epoch of the delivery's lease, if it has one, and the
// stream that it was moved to.
func encodeResolved(d *store.Delivery, epoch uint64, moved string, events []store.Event) []byte {
	b, at := open(beginRecord(d.ID.Message), 1)
	b = shut(putDelivery(b, d, epoch, moved), at)
	for i := range events {
		b, at = open(b, 2)
		b = shut(putEvent(b, &events[i]), at)
	}
	return endRecord(b)
}

func readResolved(f *fields) change {
	r := &resolved{}
	for f.next() {
		switch f.tag {
		case 1:
			inner(f, &r.delivery, readDelivery)
		case 2:
			r.events = element(f, r.events, readEvent)
		default:
			f.unknown("resolve record")
		}
	}
	return r
}

func (r *resolved) apply(old *state) *state {
	if old == nil {
		return nil
	}
	next := old.with()
	if p := r.delivery.ID.Part; p >= 0 && p < len(next.parts) {
		next.parts[p] = r.delivery
		next.adopt()
	}
	next.log(r.events...)
	return next
}

// forgotten is the end of retention.
type forgotten struct{}

func encodeForgotten(id store.ID) []byte { return endRecord(beginRecord(id)) }

func (forgotten) apply(*state) *state { return nil }
