package local

import (
	"bytes"
	"slices"
	"sync"

	"github.com/mailchute/mailchute/store"
)

// keyLocks serialises the writes to each message, across their journal append
// on purpose: what a write decides on must still hold when its record is
// durable, and the records of one message must be applied in their order.
// Writes to different messages share the journal's groups.
type keyLocks struct {
	mu   sync.Mutex
	held map[store.ID]*keyLock
	idle freeList[keyLock]
}

type keyLock struct {
	sync.Mutex
	users int
}

func newKeyLocks() *keyLocks { return &keyLocks{held: map[store.ID]*keyLock{}} }

// lock takes the locks of all ids, in byte order so that two callers cannot
// wait for each other, and returns what gives them back.
func (k *keyLocks) lock(ids ...store.ID) (unlock func()) {
	if len(ids) > 1 {
		ids = slices.Clone(ids)
		slices.SortFunc(ids, func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
		ids = slices.Compact(ids)
	}
	for _, id := range ids {
		k.acquire(id)
	}
	return func() {
		for _, id := range ids {
			k.give(id)
		}
	}
}

// acquire is lock for one ID; give gives it back.
func (k *keyLocks) acquire(id store.ID) { k.take(id).Lock() }

func (k *keyLocks) take(id store.ID) *keyLock {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[id]
	if l == nil {
		l = k.idle.get()
		k.held[id] = l
	}
	l.users++
	return l
}

func (k *keyLocks) give(id store.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[id]
	l.Unlock()
	if l.users--; l.users == 0 {
		delete(k.held, id)
		k.idle.put(l)
	}
}
