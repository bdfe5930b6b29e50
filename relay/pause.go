package relay

import (
	"strings"

	"github.com/mailchute/mailchute/store"
)

// resume takes over the pauses of a snapshot and lets all lanes go on; those still paused come back when it is their turn.
func (s *schedule) resume(snap *store.Snapshot) {
	s.pauses = pausesOf(snap)
	held := s.held
	s.held = nil
	for _, l := range held {
		s.ready(l)
	}
}

// ready lets a lane be looked at when it is its turn.
func (s *schedule) ready(l *lane) {
	if l.place == laneEmpty || l.place == lanePaused {
		l.place = laneReady
		l.stream.ready.push(l)
		s.activate(l.stream)
	}
}

func pausesOf(snap *store.Snapshot) map[string]store.Pause {
	out := make(map[string]store.Pause, len(snap.Account.Pauses))
	for _, p := range snap.Account.Pauses {
		if p.Drain {
			continue // what is there is delivered
		}
		out[p.Destination] = p
	}
	return out
}

// allPaused tells whether the operator has paused every route of a stream.
func (q *streamQueue) allPaused(s *schedule) bool {
	for i := range q.ways {
		if _, paused := s.wayPaused(&q.ways[i]); !paused {
			return false
		}
	}
	return true
}

// sitePaused tells whether the operator has paused a site by its own name.
func (s *schedule) sitePaused(at *site) bool {
	if len(s.pauses) == 0 || at.key == "" {
		return false
	}
	if _, ok := s.pauses[at.key]; ok {
		return true
	}
	_, ok := s.pauses[strings.TrimPrefix(at.key, receiverMark)]
	return ok
}
