package intake

import "sync"

// sameLocks lets one submission of an identity at a time decide whether it is
// the first. Others wait for its outcome, which is durable then.
type sameLocks struct {
	mu   sync.Mutex
	held map[[32]byte]*sameLock
}

type sameLock struct {
	sync.Mutex
	users int
}

func (l *sameLocks) lock(key [32]byte) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[[32]byte]*sameLock{}
	}
	k := l.held[key]
	if k == nil {
		k = &sameLock{}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	k.Lock()
	return func() {
		k.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
}
