package relay

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// RouteStatus is what a running Dispatcher knows of one route of a stream.
type RouteStatus struct {
	Route string `json:"route"` // store.Route.Key
	// Used counts the recipients of the day, over all streams that use the account; for a route without a daily quota those
	// since the process began. Resets is when a quota's day ends.
	Used int `json:"used_today"`
	// InFlight counts the attempts under way, over all streams likewise.
	InFlight int       `json:"in_flight"`
	Resets   time.Time `json:"resets,omitzero"`
	// Why is what keeps it from being used, "" where nothing does, since when and until when, as far as that is known.
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Change is what would end it earlier.
	Change string `json:"change,omitempty"`

	until   int64
	limited bool // by its quota or its rate
}

// whyDraining is said of a route that only finishes what it has.
const whyDraining = "it is drained: it takes nothing but what must go by it"

// Routes returns what a running Dispatcher knows of the routes of a stream, in their order. It returns nil where the
// Dispatcher does not run or the stream's mail does not leave.
func (d *Dispatcher) Routes(key store.StreamKey) (out []RouteStatus) {
	now := unixNano(d.opts.Now())
	d.ask(func(s *schedule) { out = s.routesOf(s.waysOf(s.snapshot, key), key, "", now) })
	return out
}

// routesOf tells of the ways of a stream. The sites that depend on a destination are told where there is one.
func (s *schedule) routesOf(ways []way, key store.StreamKey, destination string, now int64) (out []RouteStatus) {
	for i := range ways {
		w := &ways[i]
		if w.rule.free {
			continue
		}
		var at *site
		if w.rule.fixed != "" || destination != "" {
			at, _ = s.site(w.rule, destination)
		}
		st := s.routeStatus(w, at, now)
		if at != nil {
			s.dropSite(at)
		}
		switch {
		case st.limited:
			st.Change = fmt.Sprintf("mailchute stream route limit %s %d --server %d, with a higher --daily-quota or --rate", key.Stream, i+1, key.Server)
		case !w.route.Paused.IsZero() || !w.route.Draining.IsZero():
			st.Change = fmt.Sprintf("mailchute stream route resume %s %d --server %d", key.Stream, i+1, key.Server)
		}
		out = append(out, st)
	}
	return out
}

// routeStatus tells why a route cannot be taken now. at may be nil.
func (s *schedule) routeStatus(w *way, at *site, now int64) RouteStatus {
	st := RouteStatus{Route: w.route.Key(), Used: w.meter.used, InFlight: w.meter.flying}
	if w.route.DailyQuota > 0 {
		st.Resets = time.Unix(0, s.day.ends).UTC()
	}
	until, why := w.meter.waits(w.route, &s.day, now)
	p, paused := s.wayPaused(w)
	switch {
	case paused && p.Drain:
		st.Why, st.Since = whyDraining, p.Since
	case paused:
		st.Why, st.Since, st.Change = strings.TrimSuffix("it is paused: "+p.Why, ": "), p.Since, "mailchute queue resume "+p.Destination
	case why != "":
		st.Why, st.until, st.limited = why, until, until < math.MaxInt64 // else it waits for the disk
	case w.meter.resting(now):
		st.Why, st.until = "it failed several times, the last with: "+w.meter.why, w.meter.until
	case at != nil && at.rest > now:
		st.Why, st.until = "its site is left alone after: "+at.memo, at.rest
	case at != nil && at.dead > now:
		st.Why, st.until = "its site gives no answer: "+at.memo, at.dead
	}
	if st.until > now && st.until < math.MaxInt64 {
		st.Until = time.Unix(0, st.until).UTC()
	}
	return st
}
