package local

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// checkHooks reads every notification, and compares the first of each lane with
// what is due.
func checkHooks(tx *bbolt.Tx, r *Report) error {
	due := tx.Bucket(bucketHookDue)
	var lane []byte
	lanes := 0
	err := tx.Bucket(bucketHook).ForEach(func(b, v []byte) error {
		n, err := decodeNotification(v)
		if err != nil || len(b) != hookKeySize {
			r.problem("bucket %s: key %x cannot be read: %v", bucketHook, b, err)
			return nil
		}
		r.Notifications++
		k := hookKey(b)
		if bytes.Equal(lane, k.lane()) {
			return nil
		}
		lane = bytes.Clone(k.lane())
		if lanes++; due.Get(k.due(n.Due)) == nil {
			r.problem("notification %s of webhook %d is the first of its order and not due", k.String(), k.webhook())
		}
		return nil
	})
	if n := due.Stats().KeyN; n != lanes {
		r.problem("bucket %s has %d keys, the notifications make %d", bucketHookDue, n, lanes)
	}
	if err != nil {
		return err
	}
	return tx.Bucket(bucketHookDead).ForEach(func(b, v []byte) error {
		if _, err := decodeNotification(v); err != nil || len(b) != deadKeySize {
			r.problem("bucket %s: key %x cannot be read: %v", bucketHookDead, b, err)
		}
		return nil
	})
}
