package local

import (
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

// amended is what an operator did. The parts are chosen before it is written,
// because the choice depends on leases and so on the process.
type amended struct {
	amendment store.Amendment
	by        string
	at        time.Time
	parts     []int
}

func encodeAmended(id store.ID, a amended) []byte {
	b := putString(beginRecord(id), 1, a.amendment)
	b = putString(b, 2, a.by)
	b = putTime(b, 3, a.at)
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
			a.amendment = store.Amendment(f.text)
		case 2:
			a.by = f.text
		case 3:
			a.at = f.time()
		case 4:
			a.parts = append(a.parts, f.number()-1)
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
	e := store.Event{At: a.at, Part: d.ID.Part, Attempt: d.Attempt, Detail: "by " + a.by}
	switch a.amendment {
	case store.Hold:
		d.Held, e.Kind = a.at, store.EventHeld
	case store.Release:
		d.Held, e.Kind = time.Time{}, store.EventReleased
	case store.Retry:
		d.Due, d.DueWhy, e.Kind = a.at, "asked for by "+a.by, store.EventRetried
	case store.Cancel:
		e.Kind = store.EventCancelled
		a.cancel(d)
	}
	return e
}

func (a amended) cancel(d *leased) {
	d.Recipients = slices.Clone(d.Recipients)
	for i := range d.Recipients {
		if r := &d.Recipients[i]; !r.State.Final() {
			r.State = store.Cancelled
			r.Last = store.Reply{Text: "cancelled by " + a.by, At: a.at}
		}
	}
	d.Held, d.Lease, d.epoch = time.Time{}, time.Time{}, 0
}

// choose returns the parts of a message that an amendment changes. It fails
// with store.ErrNotDue when one of them is under way and must not be.
func choose(s *state, a store.Amendment, now time.Time) (parts []int, err error) {
	for i := range s.parts {
		d := &s.parts[i]
		if d.Done() {
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
			if !held {
				continue
			}
		case store.Retry:
			if underWay { // its result will set the due time
				continue
			}
		case store.Cancel:
			if underWay {
				return nil, store.ErrNotDue
			}
		}
		parts = append(parts, i)
	}
	return parts, nil
}
