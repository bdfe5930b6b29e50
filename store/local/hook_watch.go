package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// hookWatcher gathers the webhooks that its function has yet to be told of.
type hookWatcher struct {
	wake     chan struct{}
	webhooks map[int64]struct{} // guarded by hooks.mu
}

// announce tells watchers of webhooks.
func (h *hooks) announce(webhooks map[int64]struct{}) {
	if len(webhooks) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		maps.Copy(w.webhooks, webhooks)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (h *hooks) watch() *hookWatcher {
	w := &hookWatcher{wake: make(chan struct{}, 1), webhooks: map[int64]struct{}{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	return w
}

func (h *hooks) unwatch(w *hookWatcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

func (h *hooks) drain(w *hookWatcher) []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Sorted(maps.Keys(w.webhooks))
	clear(w.webhooks)
	return out
}

// present returns the webhooks for which something waits, one look-up each.
func (h *hooks) present() (out []int64, err error) {
	err = h.db.read(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketHookDue).Cursor()
		for k, _ := c.First(); k != nil; {
			if len(k) != dueKeySize {
				return fmt.Errorf("bucket %s: %w: %w", bucketHookDue, errKey, store.ErrDamaged)
			}
			id := binary.BigEndian.Uint64(k)
			out = append(out, int64(id))
			k, _ = c.Seek(numberKey(id + 1))
		}
		return nil
	})
	return out, err
}

// WatchNotifications implements store.Notifications.
func (s *Store) WatchNotifications(ctx context.Context, fn func([]int64)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	w := s.hooks.watch()
	defer s.hooks.unwatch(w)
	all, err := s.hooks.present()
	if err != nil {
		return fmt.Errorf("reading the notifications: %w", err)
	}
	for {
		if len(all) > 0 {
			fn(all)
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return store.ErrClosed
		}
		all = s.hooks.drain(w)
	}
}
