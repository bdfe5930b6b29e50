package relay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// SiteStatus is what is known of one site: the place where one or several destinations are delivered to.
type SiteStatus struct {
	Key string `json:"key"`
	LimitStatus
	// Most is what the limit can rise to.
	Most int `json:"most"`
	// Until is when the next attempt may begin, zero where nothing stands against one; Why is the reply or the cause.
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why,omitempty"`
	// Dead is set for a site that gives no answer: until then its mail is put off without asking.
	Dead bool `json:"dead,omitempty"`
	// Changes are the newest changes of the limit, oldest first.
	Changes []SiteChange `json:"changes,omitempty"`
}

// reason is why mail that is due waits for the site.
func (s SiteStatus) reason() Reason {
	name := strings.TrimPrefix(s.Key, receiverMark)
	if !s.Until.IsZero() {
		return Reason{What: fmt.Sprintf("site %s is left alone after: %s", name, s.Why), Until: s.Until}
	}
	r := Reason{What: fmt.Sprintf("site %s has %d of %d attempts under way", name, s.InFlight, s.Limit)}
	if n := len(s.Changes); n > 0 {
		r.Since = s.Changes[n-1].At
		r.What += fmt.Sprintf("; the limit became %d after: %s; it rises with every answer, up to %d", s.Changes[n-1].To, s.Changes[n-1].Why, s.Most)
	}
	return r
}

// Sites returns what a running Dispatcher knows of the places that mail is delivered to, sorted by name.
func (d *Dispatcher) Sites() (out []SiteStatus) {
	now := unixNano(d.opts.Now())
	d.ask(func(s *schedule) {
		for _, at := range s.sites {
			if at.key != "" {
				out = append(out, at.status(now))
			}
		}
		for _, k := range s.remembered {
			out = append(out, k.status())
		}
	})
	slices.SortFunc(out, func(a, b SiteStatus) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// SitesOf returns the keys of the sites that a stream's deliveries to a destination go to, in the order of its routes.
func (d *Dispatcher) SitesOf(key store.StreamKey, destination string) (keys []string) {
	d.ask(func(s *schedule) {
		for _, w := range s.waysOf(s.snapshot, key) {
			at, _ := s.site(w.rule, destination)
			keys = append(keys, strings.TrimPrefix(at.key, receiverMark))
			s.dropSite(at)
		}
	})
	return keys
}

// Revive lets every site be asked again at once, whatever it answered last: a person has said that it is worth trying.
// What was learned of limits stays.
func (d *Dispatcher) Revive() {
	d.ask((*schedule).revive)
}

func (s *schedule) revive() {
	for _, at := range s.sites {
		at.rest, at.dead, at.failures = 0, 0, 0
	}
	for _, m := range s.meters {
		m.failures, m.until, m.rest, m.probing = 0, 0, 0, false
	}
	s.openAll()
}

// siteStatus looks at the site of a lane: the one that it waits for, else that of the route whose turn it is.
func (s *schedule) siteStatus(l *lane, now int64) SiteStatus {
	if l.place == laneBlocked {
		return l.site.status(now)
	}
	at, _ := s.site(l.stream.preferred()[0].rule, l.destination)
	defer s.dropSite(at)
	return at.status(now)
}

func (at *site) status(now int64) SiteStatus {
	out := SiteStatus{Key: at.key, LimitStatus: LimitStatus{at.flying, at.window}, Most: at.limit, Changes: slices.Clone(at.changes)}
	if until := max(at.rest, at.dead); until > now {
		out.Until, out.Why, out.Dead = time.Unix(0, until).UTC(), at.memo, at.dead > now
	}
	return out
}

// status leaves out Blocked, which takes a walk over the lanes.
func (q *streamQueue) status() StreamStatus {
	return StreamStatus{
		Key: q.key, Tickets: q.tickets, InFlight: q.flying, Lanes: len(q.lanes),
		Ready: q.ready.len(), Paused: q.paused, Weight: q.weight,
	}
}

// status copies what a person may ask of the schedule. It walks all lanes, so it is for commands, not for loops.
func (s *schedule) status() Status {
	out := Status{Running: true, Tickets: s.tickets.len(), InFlight: s.flying}
	for _, at := range s.sites {
		if !at.idle() {
			out.Sites++
		}
	}
	for _, q := range s.streams {
		if q.tickets == 0 && q.flying == 0 {
			continue
		}
		st := q.status()
		for _, l := range q.lanes {
			if l.place == laneBlocked {
				st.Blocked++
			}
		}
		out.Streams = append(out.Streams, st)
	}
	slices.SortFunc(out.Streams, func(a, b StreamStatus) int {
		return cmp.Or(cmp.Compare(a.Key.Server, b.Key.Server), cmp.Compare(a.Key.Stream, b.Key.Stream))
	})
	return out
}
