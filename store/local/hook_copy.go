package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store/journal"
)

// copyHooks takes over the notifications of a file, of which one of an older
// schema has none, and returns up to where in the journal they account for what
// happened. due is made anew.
func copyHooks(from *bbolt.DB, to *viewDB) (until journal.Position, copied, bad int, err error) {
	var next uint64
	err = guarded("reading notifications", func() error {
		return from.View(func(tx *bbolt.Tx) (err error) {
			if b := tx.Bucket(bucketHook); b != nil {
				next = b.Sequence()
			}
			if v := tx.Bucket(bucketMeta).Get(keyPosition); v != nil {
				until, err = parsePosition(v)
			}
			return err
		})
	})
	for _, name := range [][]byte{bucketHook, bucketHookDead} {
		if err == nil {
			err = copyNotifications(from, to, name, &copied, &bad)
		}
	}
	if err != nil {
		return until, copied, bad, err
	}
	err = to.write(func(tx *bbolt.Tx) error { return tx.Bucket(bucketHook).SetSequence(next) })
	return until, copied, bad, err
}

func copyNotifications(from *bbolt.DB, to *viewDB, name []byte, copied, bad *int) error {
	var after []byte
	for {
		keys, values := [][]byte{}, [][]byte{}
		err := guarded("reading notifications", func() error {
			return from.View(func(tx *bbolt.Tx) error {
				b := tx.Bucket(name)
				if b == nil {
					return nil
				}
				c := b.Cursor()
				k, v := c.Seek(after)
				if after != nil && bytes.Equal(k, after) {
					k, v = c.Next()
				}
				for ; k != nil && len(keys) < listCopy; k, v = c.Next() {
					keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
				}
				return nil
			})
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		after = keys[len(keys)-1]
		n := 0
		err = to.write(func(tx *bbolt.Tx) error { n = 0; return putNotifications(tx, name, keys, values, &n) })
		if err != nil {
			return err
		}
		*copied, *bad = *copied+n, *bad+len(keys)-n
	}
}

// putNotifications puts those that can be read, and makes the first of each
// lane due.
func putNotifications(tx *bbolt.Tx, name []byte, keys, values [][]byte, n *int) error {
	b, t := tx.Bucket(name), openHooks(tx)
	for i, key := range keys {
		v, err := decodeNotification(values[i])
		waits := bytes.Equal(name, bucketHook)
		if err != nil || waits && len(key) != hookKeySize || !waits && len(key) != deadKeySize {
			continue
		}
		*n++
		if waits {
			k := hookKey(key)
			if first, _ := t.hook.Cursor().Seek(k.lane()); !bytes.HasPrefix(first, k.lane()) {
				if err := t.due.Put(k.due(v.Due), nil); err != nil {
					return err
				}
			}
		}
		if err := b.Put(key, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// notifications takes over the queue for webhooks as far as the old file can be
// read, and returns what adds to it what the old file had yet to queue; nil when
// that cannot be known.
func (r *Rebuilt) notifications(path, fresh string, opts Options) (*journal.Position, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the webhooks are gone as well
	}
	from, err := openBolt(path, bbolt.Options{ReadOnly: true, Timeout: opts.LockTimeout})
	if err != nil {
		r.Lost = append(r.Lost, fmt.Sprintf("the events that waited for webhooks: %v", err))
		return nil, nil
	}
	to, err := openDB(fresh, opts)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	until, copied, bad, err := copyHooks(from, to)
	_ = guarded("closing "+dbName, from.Close)
	r.Notifications = copied
	if bad > 0 {
		r.Lost = append(r.Lost, fmt.Sprintf("%d events for webhooks that cannot be made sense of", bad))
	}
	if err != nil && to.healthy() == nil {
		r.Lost = append(r.Lost, fmt.Sprintf("the events that waited for webhooks, beyond %d that could be read: %v", copied, err))
		return nil, to.close()
	}
	return &until, errors.Join(err, to.close())
}
