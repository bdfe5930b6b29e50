package relay

import (
	"cmp"
	"fmt"
	"slices"
)

// SiteStatus is what is known of one site: the places where one or several destinations are delivered to.
type SiteStatus struct {
	Key string `json:"key"`
	LimitStatus
	// Most is what the limit can rise to.
	Most int `json:"most"`
}

func (s SiteStatus) reason() Reason {
	return Reason{What: fmt.Sprintf("site %s has %d of %d attempts under way", s.Key, s.InFlight, s.Limit)}
}

// siteStatus looks at the site of a lane without making one.
func (s *schedule) siteStatus(l *lane, now int64) SiteStatus {
	key, limit := l.stream.route.site(l.destination, s.limits)
	if at := s.sites[key]; at != nil {
		return at.status(now)
	}
	return SiteStatus{Key: key, LimitStatus: LimitStatus{Limit: min(firstWindow, limit)}, Most: limit}
}

func (at *site) status(int64) SiteStatus {
	return SiteStatus{Key: at.key, LimitStatus: LimitStatus{at.flying, at.window}, Most: at.limit}
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
	out := Status{Running: true, Tickets: s.tickets.len(), InFlight: s.flying, Sites: len(s.sites)}
	for _, q := range s.streams {
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
