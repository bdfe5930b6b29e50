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
		l.place = laneReady
		l.stream.ready.push(l)
		s.activate(l.stream)
	}
}

func pausesOf(snap *store.Snapshot) map[string]store.Pause {
	out := make(map[string]store.Pause, len(snap.Account.Pauses))
	for _, p := range snap.Account.Pauses {
		out[p.Destination] = p
	}
	return out
}

// pausedBy finds the pause that holds a lane: of its destination, of where its stream sends it, or of its site.
func (s *schedule) pausedBy(l *lane, at *site) (store.Pause, bool) {
	if len(s.pauses) == 0 {
		return store.Pause{}, false
	}
	for _, name := range []string{l.destination, l.stream.route.fixed, at.key, strings.TrimPrefix(at.key, receiverMark)} {
		if p, ok := s.pauses[name]; ok && name != "" {
			return p, true
		}
	}
	return store.Pause{}, false
}
