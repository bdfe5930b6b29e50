package local

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// ClaimNotifications implements store.Notifications.
func (s *Store) ClaimNotifications(ctx context.Context, webhook int64, now, lease time.Time, limit int) (out []store.Notification, next time.Time, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer s.leave()
	if _, there := s.Snapshot().Webhooks[webhook]; !there {
		return nil, time.Time{}, nil
	}
	c := hookClaim{hooks: s.hooks, webhook: webhook, now: now, lease: lease, limit: limit}
	s.hooks.mu.Lock() // across a short read: two claims must not choose the same
	defer s.hooks.mu.Unlock()
	maps.DeleteFunc(s.hooks.leased, func(_ string, until time.Time) bool { return !until.After(now) })
	if err := s.db.read(c.scan); err != nil {
		return nil, time.Time{}, fmt.Errorf("claiming notifications of webhook %d: %w", webhook, err)
	}
	for _, k := range c.keys {
		s.hooks.leased[string(k[:])] = lease
	}
	return c.out, c.next, s.discardHooks(c.damaged)
}

// discardHooks takes away what a claim could not read.
func (s *Store) discardHooks(due [][]byte) error {
	if len(due) == 0 {
		return nil
	}
	s.log.Error("notifications are damaged and lost", "count", len(due))
	return s.db.write(func(tx *bbolt.Tx) error {
		t := openHooks(tx)
		for _, b := range due {
			k, _, err := parseDueKey(b)
			if err == nil {
				err = t.discard(b, &k)
			} else {
				err = t.due.Delete(b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// hookClaim is a claim under way.
type hookClaim struct {
	hooks      *hooks
	webhook    int64
	now, lease time.Time
	limit      int

	keys    []hookKey
	out     []store.Notification
	next    time.Time
	damaged [][]byte // keys of bucket hookdue
}

// scan reads what is due first, up to the limit.
func (c *hookClaim) scan(tx *bbolt.Tx) error {
	prefix, hook := hookPrefix(c.webhook), tx.Bucket(bucketHook)
	cursor := tx.Bucket(bucketHookDue).Cursor()
	for b, _ := cursor.Seek(prefix); bytes.HasPrefix(b, prefix); b, _ = cursor.Next() {
		k, due, err := parseDueKey(b)
		if err != nil {
			c.damaged = append(c.damaged, bytes.Clone(b))
			continue
		}
		if _, leased := c.hooks.leased[string(k[:])]; leased {
			continue
		}
		n, err := waiting(hook, &k)
		if err != nil || n == nil {
			c.damaged = append(c.damaged, bytes.Clone(b))
			continue
		}
		if due.After(c.now) && !untimely(n, c.now) || len(c.out) == c.limit {
			c.next = due
			return nil
		}
		c.keys, c.out = append(c.keys, k), append(c.out, *n)
	}
	return nil
}

// clockBack is how far ahead of now something may have happened without a clock that went back.
const clockBack = time.Minute

// untimely tells whether a notification waits for a time that comes of a clock which was ahead: its newest try, or its
// event where there was none, has not happened yet.
func untimely(n *store.Notification, now time.Time) bool {
	at := n.Last.At
	if n.Attempt == 0 {
		at = n.Due // that of the event, or of a replay
	}
	return at.After(now.Add(clockBack))
}

// SettleNotifications implements store.Notifications.
func (s *Store) SettleNotifications(ctx context.Context, results ...store.NotificationResult) error {
	if err := s.enter(ctx); err != nil || len(results) == 0 {
		if err == nil {
			s.leave()
		}
		return err
	}
	defer s.leave()
	keys := make([]hookKey, len(results))
	for i := range results {
		var err error
		if keys[i], err = parseHookKey(results[i].Webhook, results[i].Key); err != nil {
			return err
		}
	}
	var touched map[int64]struct{}
	err := s.db.write(func(tx *bbolt.Tx) error {
		t := openHooks(tx)
		touched = t.touched
		for i := range results {
			if err := t.settle(&keys[i], &results[i]); err != nil {
				return err
			}
		}
		return nil
	})
	failpoint.Hit(failpoint.WebhookSettled)
	if err != nil {
		return fmt.Errorf("recording the results of %d notifications: %w", len(results), err)
	}
	s.hooks.release(keys)
	s.hooks.announce(touched)
	return nil
}

func (h *hooks) release(keys []hookKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range keys {
		delete(h.leased, string(keys[i][:]))
	}
}

func (t *hookTx) settle(k *hookKey, r *store.NotificationResult) error {
	n, err := waiting(t.hook, k)
	if err != nil || n == nil || n.Attempt != r.Attempt {
		return nil // damaged since it was claimed: the next claim takes it away
	}
	if r.Outcome == store.NotificationDone {
		return t.remove(k, n)
	}
	last := n.Due
	n.Attempt++
	n.Last = r.Try
	n.Last.At = n.Last.At.Round(0).UTC()
	if r.Outcome == store.NotificationDead {
		n.Dead = n.Last.At
		return t.bury(k, n)
	}
	n.Due = r.Due.Round(0).UTC()
	if err := t.due.Delete(k.due(last)); err != nil {
		return err
	}
	if err := t.hook.Put(k[:], encodeNotification(n)); err != nil {
		return err
	}
	t.touched[k.webhook()] = struct{}{}
	return t.due.Put(k.due(n.Due), nil)
}
