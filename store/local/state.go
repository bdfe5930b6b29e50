package local

import (
	"maps"
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// maxEvents is how many events of a message are kept; the oldest go first.
const maxEvents = 1000

// state is what the journal's records about one message add up to. It is
// immutable once it is in the overlay: records make copies.
type state struct {
	msg    *store.Message // shared by all states of the message, which never change it
	parts  []leased
	events []store.Event
	body   []extent
	places []place
	// at is where the newest record that is in this state begins. A replay skips records
	// that are not behind it.
	at journal.Position
	// logged counts the events added since the state was decoded. It is not stored.
	logged int
	// tallied counts them too, whether or not they are to cause anything.
	tallied int
}

// extent is a piece of a body: the last length bytes of a journal record,
// after skip others. Only a body of one piece has others.
type extent struct {
	ref    journal.Ref
	skip   int64
	length int64
}

// place says how many bytes of a journal segment a message needs.
type place struct {
	segment uint64
	bytes   int64
}

func (s *state) stamp() stamp { return stampOf(s.msg.Accepted, s.msg.ID) }

// unfinished tells whether a delivery is still queued.
func (s *state) unfinished() bool {
	return s.anyPart(func(d *leased) bool { return !d.Done() })
}

// with returns a copy whose parts and places can be changed.
func (s *state) with() *state {
	n := *s
	n.parts = slices.Clone(s.parts)
	n.places = slices.Clone(s.places)
	return &n
}

// log adds events behind those that are there.
func (s *state) log(events ...store.Event) {
	s.logged += len(events)
	s.tallied += len(events)
	all := slices.Concat(s.events, events)
	s.events = all[max(0, len(all)-maxEvents):]
}

// occupy adds to what the message needs of a segment.
func (s *state) occupy(segment uint64, bytes int64) {
	for i := range s.places {
		if s.places[i].segment == segment {
			s.places[i].bytes += bytes
			return
		}
	}
	s.places = append(s.places, place{segment, bytes})
}

// voidLeases makes the leases of earlier processes void. It returns s itself
// where there are none.
func (s *state) voidLeases(epoch uint64) *state {
	if !s.anyPart(func(d *leased) bool { return d.orphaned(epoch) }) {
		return s
	}
	n := s.with()
	for i := range n.parts {
		if n.parts[i].orphaned(epoch) {
			n.parts[i].Lease, n.parts[i].epoch = time.Time{}, 0
			n.parts[i].abandon()
		}
	}
	return n
}

// orphaned tells whether nobody will record the result of the newest attempt, and
// the delivery does not say so yet. A replay voids the lease at the claim, before
// it comes to the record of the ending: that is one without a lease.
func (d *leased) orphaned(epoch uint64) bool {
	if d.Lease.IsZero() {
		return d.Ending != "" && !d.Uncertain
	}
	return d.epoch != epoch
}

// abandon is called when nobody will record the result of the newest attempt.
func (d *leased) abandon() {
	if d.Ending == "" {
		return
	}
	d.Uncertain = true
	if d.Route == "" {
		d.Route = d.Ending
	}
}

// record makes the copy that callers get.
func (s *state) record() store.Record {
	r := store.Record{Message: s.message(), Events: slices.Clone(s.events)}
	for i := range s.parts {
		r.Deliveries = append(r.Deliveries, s.delivery(i))
	}
	return r
}

func (s *state) message() store.Message {
	m := *s.msg
	m.Metadata = maps.Clone(m.Metadata)
	m.Header.To, m.Header.Cc = slices.Clone(m.Header.To), slices.Clone(m.Header.Cc)
	m.Header.Names, m.Header.Attachments = slices.Clone(m.Header.Names), slices.Clone(m.Header.Attachments)
	if m.TrackOpens != nil {
		v := *m.TrackOpens
		m.TrackOpens = &v
	}
	return m
}

func (s *state) delivery(part int) store.Delivery {
	d := s.parts[part].Delivery
	d.Recipients = slices.Clone(d.Recipients)
	d.Conversation.Lines = slices.Clone(d.Conversation.Lines)
	return d
}

// adopt fills in what the encoding of a delivery leaves out.
func (s *state) adopt() {
	for i := range s.parts {
		s.parts[i].ID = store.DeliveryID{Message: s.msg.ID, Part: i}
		s.parts[i].Server, s.parts[i].Stream = s.msg.Server, s.msg.Stream
		if moved := s.parts[i].moved; moved != "" {
			s.parts[i].Stream = moved
		}
	}
}
