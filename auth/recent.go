package auth

import (
	"hash/maphash"
	"sync"
)

const recentShards = 16

// recent is a map that remembers the keys used last and forgets the others, so
// that it never holds more than its limit, whoever chooses the keys. It is safe
// for concurrent use.
type recent[K comparable, V any] struct {
	seed   maphash.Seed
	shards [recentShards]recentShard[K, V]
}

// recentShard holds two generations. A key that is used moves to the young one;
// when that has filled its half, it becomes the old one, and what was not used
// meanwhile is dropped.
type recentShard[K comparable, V any] struct {
	mu         sync.Mutex
	half       int
	young, old map[K]*V
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	r := &recent[K, V]{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].half = max(1, limit/recentShards/2)
		r.shards[i].young = map[K]*V{}
	}
	return r
}

// look calls fn with the value of key, if there is one, and tells whether there
// was. fn runs under a lock: it must be short and call nothing of recent.
func (r *recent[K, V]) look(key K, fn func(*V)) bool {
	s := r.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.use(key)
	if v != nil {
		fn(v)
	}
	return v != nil
}

// edit is look for a key that is made, with a zero value, where it is missing.
func (r *recent[K, V]) edit(key K, fn func(*V)) {
	s := r.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.use(key)
	if v == nil {
		v = new(V)
		s.put(key, v)
	}
	fn(v)
}

func (r *recent[K, V]) len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n += len(s.young) + len(s.old)
		s.mu.Unlock()
	}
	return n
}

func (r *recent[K, V]) shard(key K) *recentShard[K, V] {
	return &r.shards[maphash.Comparable(r.seed, key)%recentShards]
}

func (s *recentShard[K, V]) use(key K) *V {
	if v := s.young[key]; v != nil {
		return v
	}
	v := s.old[key]
	if v != nil {
		s.put(key, v)
	}
	return v
}

func (s *recentShard[K, V]) put(key K, v *V) {
	if len(s.young) >= s.half {
		s.young, s.old = map[K]*V{}, s.young
	}
	s.young[key] = v
}
