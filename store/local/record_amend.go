package local

import (
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// amended is what an operator did. The parts are chosen before it is written,
// because the choice depends on leases and so on the process.
type amended struct {
	store.Alteration
	parts []int
}

func encodeAmended(id store.ID, a amended) []byte {
	b := putString(beginRecord(id), 1, a.Amendment)
	b = putString(b, 2, a.By)
	b = putTime(b, 3, a.At)
	b = putString(b, 35, a.Stream)
	b = putString(b, 36, a.Route)
	b = putString(b, 37, a.Recipient)
	for _, p := range a.parts {
		b = putInt(b, 4, int64(p)+1)
	}
	return endRecord(b)
}

func readAmended(f *fields) change {
	var a amended
	for f.next() {
		switch f.tag {
		case 1:
			a.Amendment = store.Amendment(f.text)
		case 2:
			a.By = f.text
		case 3:
			a.At = f.time()
		case 4:
			a.parts = append(a.parts, f.number()-1)
		case 35:
			a.Stream = f.text
		case 36:
			a.Route = f.text
		case 37:
			a.Recipient = f.text
		default:
			f.unknown("amend record")
		}
	}
	return a
}

func (a amended) apply(old *state) *state {
	if old == nil {
		return nil
	}
	next := old.with()
	for _, p := range a.parts {
		if p >= 0 && p < len(next.parts) {
			next.log(a.amend(&next.parts[p]))
		}
	}
	return next
}

// amend changes one delivery and returns the event about it.
func (a amended) amend(d *leased) store.Event {
	e := store.Event{At: a.At, Part: d.ID.Part, Attempt: d.Attempt, Detail: "by " + a.By}
	switch a.Amendment {
	case store.Hold:
		d.Held, e.Kind = a.At, store.EventHeld
	case store.Release:
		e.Kind, e.Detail = store.EventReleased, e.Detail+a.release(d)
	case store.Retry:
		d.Due, d.DueWhy, e.Kind = a.At, "asked for by "+a.By, store.EventRetried
	case store.Cancel:
		e.Kind, e.Recipient = store.EventCancelled, a.Recipient
		a.cancel(d)
	case store.Reroute:
		e.Kind, e.Detail = store.EventRerouted, a.reroute(d)+" "+e.Detail
		d.Due, d.DueWhy, d.Route = a.At, "rerouted by "+a.By, a.Route
	}
	return e
}

// release lets a delivery go, and says so where that decides what was uncertain.
func (a amended) release(d *leased) (said string) {
	if d.Uncertain && (d.HeldUncertain || d.Held.IsZero()) {
		d.Uncertain, d.Ending, said = false, "", ", although it may have arrived"
	}
	d.Held, d.HeldUncertain = time.Time{}, false
	if end := a.At.Add(store.ReleasedFor); !d.Expires.IsZero() && d.Expires.Before(end) {
		d.Expires = end
	}
	return said
}

// reroute moves a delivery and says so.
func (a amended) reroute(d *leased) string {
	said := "any route"
	if a.Route != "" {
		said = "route " + a.Route
	}
	if a.Stream == "" || a.Stream == d.Stream {
		return "to " + said
	}
	said = "from stream " + d.Stream + " to stream " + a.Stream + ", " + said
	d.Stream, d.moved = a.Stream, a.Stream
	return said
}

func (a amended) cancel(d *leased) {
	d.Recipients = slices.Clone(d.Recipients)
	for i := range d.Recipients {
		if r := &d.Recipients[i]; !r.State.Final() && (a.Recipient == "" || strings.EqualFold(a.Recipient, r.Address)) {
			r.State = store.Cancelled
			r.Last = store.Reply{Text: "cancelled by " + a.By, At: a.At}
		}
	}
	if d.Done() {
		d.Held, d.HeldUncertain, d.Lease, d.Ending, d.epoch = time.Time{}, false, time.Time{}, "", 0
	}
}

// choose returns the parts of a message that an amendment changes. It fails
// with store.ErrNotDue when one of them is under way and must not be.
func choose(s *state, a store.Amendment, now time.Time, wanted func(part int) bool) (parts []int, err error) {
	for i := range s.parts {
		d := &s.parts[i]
		if d.Done() || wanted != nil && !wanted(i) {
			continue
		}
		underWay := d.Lease.After(now)
		held := !d.Held.IsZero()
		switch a {
		case store.Hold:
			if held {
				continue
			}
		case store.Release:
			if !held && (!d.Uncertain || underWay) { // its result would bring the mark back
				continue
			}
		case store.Retry:
			if underWay { // its result will set the due time
				continue
			}
		case store.Cancel, store.Reroute:
			if a == store.Reroute && d.Uncertain {
				continue
			}
			if underWay {
				return nil, store.ErrNotDue
			}
		}
		parts = append(parts, i)
	}
	return parts, nil
}
