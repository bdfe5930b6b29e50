package auth

import (
	"testing"

	"pgregory.net/rapid"
)

// Against a plain map: what recent still has is right, it has everything that
// was among the last few used, and never more than its limit.
func TestRecentModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(2*recentShards, 6*recentShards).Draw(t, "limit")
		r, truth, last := newRecent[int, int](limit), map[int]int{}, -1
		for range rapid.IntRange(1, 500).Draw(t, "steps") {
			key := rapid.IntRange(0, 300).Draw(t, "key")
			if rapid.Bool().Draw(t, "edit") {
				r.edit(key, func(v *int) {
					if *v != 0 && *v != truth[key] {
						t.Fatalf("key %d: %d, want %d", key, *v, truth[key])
					}
					*v = key*1000 + truth[key]%1000 + 1
					truth[key] = *v
				})
				last = key
			} else if r.look(key, func(v *int) {
				if *v != truth[key] {
					t.Fatalf("key %d: %d, want %d", key, *v, truth[key])
				}
			}) {
				last = key
			}
			if last >= 0 && !r.look(last, func(*int) {}) {
				t.Fatalf("key %d, used last, is gone", last)
			}
			if n := r.len(); n > limit {
				t.Fatalf("%d entries of %d", n, limit)
			}
		}
	})
}
