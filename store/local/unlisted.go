package local

import (
	"strings"
	"sync"

	"github.com/mailchute/mailchute/store"
)

// unlisted knows streams with an empty list, so that most deliveries need no
// transaction to ask it. What is not in it may be empty too.
type unlisted struct {
	mu      sync.Mutex
	streams map[store.StreamKey]struct{}
	version uint64 // odd while a write of lists is under way
}

// unlistedMost bounds the memory: who asks may name any stream.
const unlistedMost = 4096

// changing is called before a write of lists and after it, so that nobody
// learns from a view older than the write.
func (u *unlisted) changing() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.version++
	clear(u.streams)
}

// has reports whether the list is empty. The version is for learn.
func (u *unlisted) has(k store.StreamKey) (empty bool, version uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, empty = u.streams[k]
	return empty, u.version
}

// learn takes up that a view opened after has returned version shows an empty list.
func (u *unlisted) learn(k store.StreamKey, version uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if version%2 != 0 || version != u.version {
		return
	}
	if u.streams == nil || len(u.streams) == unlistedMost {
		u.streams = map[store.StreamKey]struct{}{}
	}
	k.Stream = strings.Clone(k.Stream)
	u.streams[k] = struct{}{}
}
