package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

func sortedWebhooks(s *store.Snapshot) []int64 { return slices.Sorted(maps.Keys(s.Webhooks)) }

// SweepNotifications implements store.Notifications.
func (s *Store) SweepNotifications(ctx context.Context, now time.Time, limits store.NotificationLimits) (n int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	w := hookSweep{s: s, ctx: ctx, now: now}
	all, err := s.hooks.owners()
	for _, id := range all {
		if err == nil {
			err = w.one(id, limits)
		}
	}
	if err != nil {
		return w.n, fmt.Errorf("sweeping notifications: %w", err)
	}
	return w.n, nil
}

// owners returns the webhooks that have a key in a bucket.
func (h *hooks) owners() ([]int64, error) {
	seen := map[int64]struct{}{}
	err := h.db.read(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketHook, bucketHookDue, bucketHookDead} {
			c := tx.Bucket(name).Cursor()
			for k, _ := c.First(); k != nil; {
				if len(k) < 8 {
					return fmt.Errorf("bucket %s: %w: %w", name, errKey, store.ErrDamaged)
				}
				id := binary.BigEndian.Uint64(k)
				seen[int64(id)] = struct{}{}
				k, _ = c.Seek(numberKey(id + 1))
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(seen)), err
}

// hookSweep is a sweep under way.
type hookSweep struct {
	s   *Store
	ctx context.Context
	now time.Time
	n   int
}

func (w *hookSweep) one(webhook int64, limits store.NotificationLimits) error {
	if _, there := w.s.Snapshot().Webhooks[webhook]; !there {
		for _, name := range [][]byte{bucketHookDue, bucketHook, bucketHookDead} {
			if err := w.drop(name, webhook, nil, 0); err != nil {
				return err
			}
		}
		return nil
	}
	if err := w.shorten(webhook, limits.Waiting); err != nil {
		return err
	}
	var old []byte
	if !limits.DeadSince.IsZero() {
		old = binary.BigEndian.AppendUint64(hookPrefix(webhook), orderedNanos(limits.DeadSince))
		if err := w.drop(bucketHookDead, webhook, old, 0); err != nil {
			return err
		}
	}
	if limits.Dead <= 0 {
		return nil
	}
	if over := w.count(bucketHookDead, webhook) - limits.Dead; over > 0 {
		return w.drop(bucketHookDead, webhook, nil, over)
	}
	return nil
}

func (w *hookSweep) count(bucket []byte, webhook int64) (n int) {
	_ = w.s.db.read(func(tx *bbolt.Tx) error { n = countKeys(tx.Bucket(bucket), hookPrefix(webhook)); return nil }) // 0 changes nothing
	return n
}

// drop deletes a webhook's keys before end, nil for all, at most so many, 0 for
// all.
func (w *hookSweep) drop(bucket []byte, webhook int64, end []byte, most int) error {
	prefix := hookPrefix(webhook)
	for done := 0; most == 0 || done < most; {
		gone := 0
		err := w.s.db.write(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucket).Cursor()
			for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && gone < hooksAtOnce && (most == 0 || done+gone < most); k, _ = c.Seek(prefix) {
				if end != nil && bytes.Compare(k, end) >= 0 {
					break
				}
				if err := c.Delete(); err != nil {
					return err
				}
				gone++
			}
			return nil
		})
		if err != nil {
			return err
		}
		if done += gone; !bytes.Equal(bucket, bucketHookDue) {
			w.n += gone
		}
		if gone < hooksAtOnce {
			return nil
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// shorten gives up what waits beyond a limit, 0 for none: what is due first.
func (w *hookSweep) shorten(webhook int64, most int) error {
	if most <= 0 {
		return nil
	}
	over := w.count(bucketHook, webhook) - most
	for over > 0 {
		gone := 0
		err := w.s.db.write(func(tx *bbolt.Tx) (err error) {
			gone, err = openHooks(tx).giveUp(webhook, w.now, min(over, hooksAtOnce))
			return err
		})
		if err != nil || gone == 0 {
			return err
		}
		over, w.n = over-gone, w.n+gone
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// giveUp buries what is due first.
func (t *hookTx) giveUp(webhook int64, now time.Time, most int) (n int, err error) {
	prefix := hookPrefix(webhook)
	for ; n < most; n++ {
		b, _ := t.due.Cursor().Seek(prefix)
		if !bytes.HasPrefix(b, prefix) {
			return n, nil
		}
		k, _, err := parseDueKey(b)
		if err != nil {
			return n, nil // for the next claim
		}
		v, err := waiting(t.hook, &k)
		if err != nil || v == nil {
			return n, t.discard(bytes.Clone(b), &k)
		}
		v.Dead = now.Round(0).UTC()
		v.Last.Error = "given up: too many events wait for this webhook"
		if v.Last.At.IsZero() {
			v.Last.At = v.Dead
		}
		if err := t.bury(&k, v); err != nil {
			return n, err
		}
	}
	return n, nil
}
