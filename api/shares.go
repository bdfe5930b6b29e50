package api

import "sync"

// shares counts what servers have of the budget of bodies, so that one of them
// leaves an eighth to the others. It is safe for concurrent use.
type shares struct {
	mu   sync.Mutex
	held map[int64]int64 // octets by server
}

// take adds octets to a server's share, of which so many are the caller's own. It is
// false where the share would be too large; a request that is the server's only one
// may have all of the budget.
func (s *shares) take(server, octets, own, budget int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held[server]
	if held > own && held+octets > budget-budget/8 {
		return false
	}
	if s.held == nil {
		s.held = map[int64]int64{}
	}
	s.held[server] = held + octets
	return true
}

func (s *shares) give(server, octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := s.held[server] - octets; left > 0 {
		s.held[server] = left
		return
	}
	delete(s.held, server)
}
