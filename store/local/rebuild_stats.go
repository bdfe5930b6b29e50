package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// keptStats is what a rebuild keeps of the old file: its counters, since the
// journal has only what retention has left, and what they stand for, so that
// nothing counts twice.
type keptStats struct {
	old      *bbolt.DB
	position journal.Position
}

// statistics takes over the counters as far as the old file can be read. What it
// returns is nil where they are to be made anew from the journal.
func (r *Rebuilt) statistics(path, fresh string, opts Options) (*keptStats, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		r.Lost = append(r.Lost, "the statistics of messages that the journal has no more")
		return nil, nil
	}
	old, err := openBolt(path, bbolt.Options{ReadOnly: true, Timeout: opts.LockTimeout})
	if err != nil {
		r.Lost = append(r.Lost, fmt.Sprintf("the statistics of messages that the journal has no more: %v", err))
		return nil, nil
	}
	k := &keptStats{old: old}
	rows := map[string][]byte{}
	err = guarded("reading statistics", func() error { return old.View(func(tx *bbolt.Tx) error { return k.read(tx, rows) }) })
	if err != nil {
		r.Lost = append(r.Lost, fmt.Sprintf("the statistics, beyond %d counters that could be read: %v", len(rows), err))
	}
	if k.position == (journal.Position{}) { // an older schema, or nothing could be read: the journal counts
		return nil, k.close()
	}
	return k, errors.Join(r.putStats(fresh, rows, opts))
}

// read copies rows until one cannot be read. The position comes first: without
// it the rows are of no use.
func (k *keptStats) read(tx *bbolt.Tx, rows map[string][]byte) (err error) {
	b, meta := tx.Bucket(bucketStats), tx.Bucket(bucketMeta)
	if b == nil || meta == nil {
		return nil
	}
	if v := meta.Get(keyPosition); v != nil {
		if k.position, err = parsePosition(v); err != nil {
			return fmt.Errorf("position: %w: %w", err, store.ErrDamaged)
		}
	}
	return b.ForEach(func(key, v []byte) error {
		rows[string(key)] = bytes.Clone(v)
		return nil
	})
}

func (r *Rebuilt) putStats(fresh string, rows map[string][]byte, opts Options) error {
	db, err := openDB(fresh, opts)
	if err != nil {
		return err
	}
	bad := 0
	err = db.write(func(tx *bbolt.Tx) error {
		for key, v := range rows {
			_, keyErr := parseStatsKey([]byte(key))
			if _, err := parseStats(v); err != nil || keyErr != nil {
				bad++
				continue
			}
			if err := tx.Bucket(bucketStats).Put([]byte(key), v); err != nil {
				return err
			}
		}
		return nil
	})
	r.Counters = len(rows) - bad
	if bad > 0 {
		r.Lost = append(r.Lost, fmt.Sprintf("%d counters of the statistics that cannot be made sense of", bad))
	}
	return errors.Join(err, db.close())
}

// has tells whether the counters have what a record did: it lies before their
// position, or the old file's message had it already.
func (k *keptStats) has(l *located) bool {
	if l.position().Before(k.position) {
		return true
	}
	known := false
	err := guarded("reading the old "+dbName, func() error {
		return k.old.View(func(tx *bbolt.Tx) error {
			st, err := stateIn(tx, l.id)
			known = err == nil && st != nil && !st.at.Before(l.position())
			return nil
		})
	})
	return err == nil && known
}

func (k *keptStats) close() error { return guarded("closing the old "+dbName, k.old.Close) }
