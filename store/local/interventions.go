package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// noteFormat is the version of the values in buckets intervention and note.
const noteFormat = 1

// sealValue puts version and checksum before a value.
func sealValue(text []byte) []byte {
	v := binary.BigEndian.AppendUint32([]byte{noteFormat}, crc32.Checksum(text, castagnoli))
	return append(v, text...)
}

// openValue undoes sealValue. What it returns lies in v.
func openValue(v []byte) ([]byte, error) {
	if len(v) < 5 || v[0] != noteFormat || crc32.Checksum(v[5:], castagnoli) != binary.BigEndian.Uint32(v[1:]) {
		return nil, fmt.Errorf("checksum or format: %w", store.ErrDamaged)
	}
	return v[5:], nil
}

func createInterventions(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketIntervention, bucketNote} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	return nil
}

// Intervened implements store.Interventions.
func (s *Store) Intervened(ctx context.Context, i store.Intervention) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	i.At = i.At.Round(0).UTC()
	text, err := json.Marshal(i)
	if err == nil {
		err = s.db.write(func(tx *bbolt.Tx) error { return addIntervention(tx.Bucket(bucketIntervention), sealValue(text)) })
	}
	if err != nil {
		return fmt.Errorf("logging an intervention: %w", err)
	}
	return nil
}

// addIntervention numbers the entries; the number below the oldest kept is removed with each.
func addIntervention(b *bbolt.Bucket, value []byte) error {
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	if n > store.MaxInterventions {
		if err := b.Delete(numberKey(n - store.MaxInterventions)); err != nil {
			return err
		}
	}
	return b.Put(numberKey(n), value)
}

// ListInterventions implements store.Interventions.
func (s *Store) ListInterventions(ctx context.Context, limit int) (out []store.Intervention, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.db.read(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketIntervention).Cursor()
		for k, v := c.Last(); k != nil && len(out) < limit; k, v = c.Prev() {
			text, err := openValue(v)
			if err != nil {
				return err
			}
			var i store.Intervention
			if err := json.Unmarshal(text, &i); err != nil {
				return fmt.Errorf("%w: %w", err, store.ErrDamaged)
			}
			out = append(out, i)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log of interventions: %w", err)
	}
	return out, nil
}

// Note implements store.Notes.
func (s *Store) Note(ctx context.Context, name string) (value []byte, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.db.read(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketNote).Get([]byte(name))
		if v == nil {
			return nil
		}
		text, err := openValue(v)
		value = bytes.Clone(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading note %q: %w", name, err)
	}
	return value, nil
}

// SetNote implements store.Notes.
func (s *Store) SetNote(ctx context.Context, name string, value []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if name == "" || len(name) > 256 || len(value) > store.MaxNote {
		return fmt.Errorf("note %.20q of %d bytes: %w", name, len(value), store.ErrInvalid)
	}
	err := s.db.write(func(tx *bbolt.Tx) error { return tx.Bucket(bucketNote).Put([]byte(name), sealValue(value)) })
	if err != nil {
		return fmt.Errorf("writing note %q: %w", name, err)
	}
	return nil
}

// sealed is a key of bucket intervention or note with its value.
type sealed struct{ k, v []byte }

// operators takes over the log and the notes, each as far as it can be read. A
// file from before they were kept has none.
func (r *Rebuilt) operators(from *bbolt.DB, to *viewDB) error {
	for _, name := range [][]byte{bucketIntervention, bucketNote} {
		good, bad, err := readSealed(from, name)
		if err != nil {
			r.Lost = append(r.Lost, fmt.Sprintf("records of bucket %s, beyond %d that could be read: %v", name, len(good), err))
		}
		if bad > 0 {
			r.Lost = append(r.Lost, fmt.Sprintf("%d records of bucket %s that cannot be made sense of", bad, name))
		}
		if err := to.write(func(tx *bbolt.Tx) error { return putSealed(tx.Bucket(name), good) }); err != nil {
			return fmt.Errorf("taking over bucket %s: %w", name, err)
		}
	}
	return nil
}

// readSealed reads until a page cannot be read.
func readSealed(from *bbolt.DB, name []byte) (good []sealed, bad int, err error) {
	err = guarded("reading bucket "+string(name), func() error {
		return from.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(name)
			if b == nil {
				return nil
			}
			return b.ForEach(func(k, v []byte) error {
				if _, err := openValue(v); err != nil {
					bad++
					return nil
				}
				good = append(good, sealed{bytes.Clone(k), bytes.Clone(v)})
				return nil
			})
		})
	})
	return good, bad, err
}

// putSealed puts records, and goes on numbering behind the last of the log.
func putSealed(b *bbolt.Bucket, all []sealed) error {
	for _, p := range all {
		if err := b.Put(p.k, p.v); err != nil {
			return err
		}
	}
	if n := len(all); n > 0 && len(all[n-1].k) == 8 {
		return b.SetSequence(binary.BigEndian.Uint64(all[n-1].k))
	}
	return nil
}
