package api

import "sync"

// searchesAtOnce is how many searches one token may have under way. One takes
// milliseconds of a processor, so that this keeps a client that searches as fast as it
// can from taking them all; it is not a rate.
const searchesAtOnce = 4

// searches counts the searches under way by token. The zero value is ready.
type searches struct {
	mu    sync.Mutex
	count map[int64]int
}

// begin is false where the token has too many. Else release ends the search.
func (s *searches) begin(token int64) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = map[int64]int{}
	}
	if s.count[token] == searchesAtOnce {
		return nil, false
	}
	s.count[token]++
	return func() { s.end(token) }, true
}

func (s *searches) end(token int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[token]--; s.count[token] == 0 {
		delete(s.count, token)
	}
}
