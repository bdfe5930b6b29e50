package relay

import (
	"cmp"
	"slices"
)

// status copies what a person may ask of the schedule. It walks all lanes, so it is for commands, not for loops.
func (s *schedule) status() Status {
	out := Status{Running: true, Tickets: s.tickets.len(), InFlight: s.flying, Sites: len(s.sites)}
	for _, q := range s.streams {
		st := StreamStatus{
			Key: q.key, Tickets: q.tickets, InFlight: q.flying, Lanes: len(q.lanes),
			Ready: q.ready.len(), Paused: q.paused, Weight: q.weight,
		}
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
