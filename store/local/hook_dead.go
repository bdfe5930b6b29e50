package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// hooksAtOnce is how many notifications one transaction moves or forgets.
const hooksAtOnce = 1000

// hookHeads is how many of those that are due first NotificationQueues looks at
// for the newest failure.
const hookHeads = 100

// NotificationQueues implements store.Notifications. It reads every key.
func (s *Store) NotificationQueues(ctx context.Context, webhooks ...int64) ([]store.NotificationQueue, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var out []store.NotificationQueue
	for _, w := range sortedWebhooks(s.Snapshot()) {
		if len(webhooks) > 0 && !slices.Contains(webhooks, w) {
			continue
		}
		q := store.NotificationQueue{Webhook: w}
		if err := s.db.read(func(tx *bbolt.Tx) error { return countQueue(tx, &q) }); err != nil {
			return nil, fmt.Errorf("counting the notifications of webhook %d: %w", w, err)
		}
		out = append(out, q)
	}
	return out, nil
}

func countQueue(tx *bbolt.Tx, q *store.NotificationQueue) error {
	hook, prefix := tx.Bucket(bucketHook), hookPrefix(q.Webhook)
	q.Waiting = countKeys(hook, prefix)
	q.Dead = countKeys(tx.Bucket(bucketHookDead), prefix)
	newer := func(t store.Try) {
		if t.At.After(q.Last.At) {
			q.Last = t
		}
	}
	c := tx.Bucket(bucketHookDue).Cursor()
	b, _ := c.Seek(prefix)
	for i := 0; i < hookHeads && bytes.HasPrefix(b, prefix); i++ {
		k, due, err := parseDueKey(b)
		if err != nil {
			return err
		}
		n, err := waiting(hook, &k)
		if err != nil || n == nil {
			return err
		}
		if at := n.At(); q.Oldest.IsZero() || at.Before(q.Oldest) {
			q.Oldest = at
		}
		if q.NextDue.IsZero() {
			q.NextDue = due
		}
		newer(n.Last)
		b, _ = c.Next()
	}
	if k, v := before(tx.Bucket(bucketHookDead).Cursor(), afterAll(q.Webhook)); bytes.HasPrefix(k, prefix) {
		n, err := decodeNotification(v)
		if err != nil {
			return err
		}
		newer(n.Last)
	}
	return nil
}

func countKeys(b *bbolt.Bucket, prefix []byte) (n int) {
	c := b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		n++
	}
	return n
}

// before moves to the last key before one. Prev alone would skip it where no
// key follows.
func before(c *bbolt.Cursor, key []byte) (k, v []byte) {
	if next, _ := c.Seek(key); next == nil {
		return c.Last()
	}
	return c.Prev()
}

// afterAll is the first key that is not the webhook's.
func afterAll(webhook int64) []byte { return numberKey(uint64(webhook) + 1) }

// DeadNotifications implements store.Notifications. A limit of 0 means 50, and
// 1,000 is the most.
func (s *Store) DeadNotifications(ctx context.Context, webhook int64, cursor string, limit int) (out []store.Notification, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if limit <= 0 {
		limit = listDefault
	}
	limit = min(limit, listMost)
	after, err := hex.DecodeString(cursor)
	if err != nil || len(after) != 0 && len(after) != deadKeySize-8 {
		return nil, "", fmt.Errorf("listing dead notifications: cursor: %w", store.ErrInvalid)
	}
	prefix, end := hookPrefix(webhook), afterAll(webhook)
	if len(after) > 0 {
		end = append(hookPrefix(webhook), after...)
	}
	err = s.db.read(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketHookDead).Cursor()
		for k, v := before(c, end); bytes.HasPrefix(k, prefix); k, v = c.Prev() {
			if len(out) == limit {
				next = out[limit-1].Key
				return nil
			}
			n, err := decodeNotification(v)
			if err != nil || len(k) != deadKeySize {
				return fmt.Errorf("bucket %s: key %x: %w", bucketHookDead, k, store.ErrDamaged)
			}
			n.Webhook, n.Key = webhook, hex.EncodeToString(k[8:])
			out = append(out, n)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing dead notifications: %w", err)
	}
	return out, next, nil
}

// ReplayNotifications implements store.Notifications.
func (s *Store) ReplayNotifications(ctx context.Context, webhook int64, now time.Time, keys ...string) (n int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	if _, there := s.Snapshot().Webhooks[webhook]; !there {
		return 0, fmt.Errorf("webhook %d: %w", webhook, store.ErrNotFound)
	}
	// Those that die while this runs are left to the next replay.
	end := binary.BigEndian.AppendUint64(hookPrefix(webhook), orderedNanos(now)+1)
	for more := true; more; {
		moved := 0
		batch := keys[:min(len(keys), hooksAtOnce)]
		touched := map[int64]struct{}{}
		err := s.db.write(func(tx *bbolt.Tx) (err error) {
			t := openHooks(tx)
			touched = t.touched
			moved, err = t.revive(webhook, now, end, batch)
			return err
		})
		if err != nil {
			return n, fmt.Errorf("replaying notifications: %w", err)
		}
		s.hooks.announce(touched)
		n += moved
		keys = keys[len(batch):]
		more = len(keys) > 0 || len(batch) == 0 && moved > 0
		if err := ctx.Err(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// revive queues dead notifications again: those with the keys, or the first ones
// before end.
func (t *hookTx) revive(webhook int64, now time.Time, end []byte, keys []string) (moved int, err error) {
	prefix := hookPrefix(webhook)
	var found [][]byte
	for _, text := range keys {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != deadKeySize-8 {
			return 0, fmt.Errorf("key %q: %w", text, store.ErrInvalid)
		}
		found = append(found, append(hookPrefix(webhook), b...))
	}
	c := t.dead.Cursor()
	for k, _ := c.Seek(prefix); len(keys) == 0 && bytes.HasPrefix(k, prefix) && bytes.Compare(k, end) < 0 && len(found) < hooksAtOnce; k, _ = c.Next() {
		found = append(found, bytes.Clone(k))
	}
	for _, k := range found {
		v := t.dead.Get(k)
		if v == nil {
			continue
		}
		n, unreadable := decodeNotification(v)
		if err := t.dead.Delete(k); err != nil {
			return moved, err
		}
		if unreadable != nil {
			continue
		}
		n.Attempt, n.Due, n.Dead = 0, now.Round(0).UTC(), time.Time{}
		if err := t.add(webhook, &n); err != nil {
			return moved, err
		}
		moved++
	}
	return moved, nil
}
