package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// The value of bucket bounce: format version 1, fields. It holds what a filter
// asks for, so that a walk decodes no message.
const bounceFormat = 1

// bouncePlace is where a bounce stands in its stream: the time of its event 8
// as in a stamp, its ID 8.
type bouncePlace [16]byte

func placeOf(b *store.Bounce) (p bouncePlace) {
	binary.BigEndian.PutUint64(p[:], orderedNanos(b.At))
	binary.BigEndian.PutUint64(p[8:], uint64(b.ID))
	return p
}

// bounceKey is server 8, stream, 0x00, place 16.
func bounceKey(b *store.Bounce) []byte {
	p := placeOf(b)
	return append(streamPrefix(b.Server, b.Stream), p[:]...)
}

// bounceIDKey is server 8, ID 8, message 16.
func bounceIDKey(b *store.Bounce) []byte {
	return append(bounceIDPrefix(b.Server, b.ID), b.Message[:]...)
}

func bounceIDPrefix(server, id int64) []byte {
	return binary.BigEndian.AppendUint64(numberKey(uint64(server)), uint64(id))
}

func bounceValue(b *store.Bounce) []byte {
	v := append(make([]byte, 0, 96), bounceFormat)
	v = putID(v, 1, b.Message)
	v = putString(v, 2, b.Type)
	v = putString(v, 3, b.Recipient)
	return putString(v, 4, b.Tag)
}

// parseBounce reads a key and value of bucket bounce. It keeps nothing of them.
// The stream is the caller's: a walk mostly stays in one.
func parseBounce(k, v []byte, stream string) (b store.Bounce, err error) {
	end := len(k) - len(bouncePlace{})
	if end < 9 || k[end-1] != 0 {
		return b, fmt.Errorf("bounce: %w: %w", errKey, store.ErrDamaged)
	}
	if b.Stream = stream; string(k[8:end-1]) != stream {
		b.Stream = string(k[8 : end-1])
	}
	if len(v) == 0 || v[0] != bounceFormat {
		return b, fmt.Errorf("bounce of unknown format: %w", store.ErrDamaged)
	}
	var at stamp
	copy(at[:8], k[end:])
	b.Server, b.At = int64(binary.BigEndian.Uint64(k)), at.accepted()
	b.ID = int64(binary.BigEndian.Uint64(k[end+8:]))
	f := fields{rest: string(v[1:])}
	for f.next() {
		switch f.tag {
		case 1:
			b.Message = f.id()
		case 2:
			b.Type = f.text
		case 3:
			b.Recipient = f.text
		case 4:
			b.Tag = f.text
		default:
			f.unknown("bounce")
		}
	}
	return b, f.err
}

func (s *state) bounces() []store.Bounce { return s.msg.Bounces(s.events) }

// putBounces writes the keys of a message's bounces. It comes before the state
// is put: of a message that has forgotten events, the stored state knows which
// keys are there.
func (w *buckets) putBounces(s *state, fresh bool) error {
	var err error
	if !fresh && len(s.events) >= maxEvents {
		err = w.dropBounces(s)
	}
	for _, b := range s.bounces() {
		err = errors.Join(err, w.bounce.Put(bounceKey(&b), bounceValue(&b)), w.bounceID.Put(bounceIDKey(&b), nil))
	}
	return err
}

// dropBounces deletes the keys of a message's bounces, before its state is deleted.
func (w *buckets) dropBounces(s *state) error {
	all := s.bounces()
	if len(s.events) >= maxEvents {
		if v := w.message.Get(s.msg.ID[:]); v != nil {
			old, err := decodeState(v)
			if err != nil {
				return err
			}
			all = append(all, old.bounces()...)
		}
	}
	var err error
	for _, b := range all {
		err = errors.Join(err, w.bounce.Delete(bounceKey(&b)), w.bounceID.Delete(bounceIDKey(&b)))
	}
	return err
}

// createBounces makes the index of the bounces that a file has.
func createBounces(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketBounce, bucketBounceID} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	w := buckets{message: tx.Bucket(bucketMessage), bounce: tx.Bucket(bucketBounce), bounceID: tx.Bucket(bucketBounceID)}
	return w.message.ForEach(func(_, v []byte) error {
		s, err := decodeState(v)
		if err != nil {
			return err
		}
		return w.putBounces(s, true)
	})
}

// Bounce implements store.Bounces.
func (s *Store) Bounce(ctx context.Context, server, id int64) (store.Bounce, error) {
	if err := s.enter(ctx); err != nil {
		return store.Bounce{}, err
	}
	defer s.leave()
	is := func(b store.Bounce) bool { return b.Server == server && b.ID == id }
	for _, e := range s.over.all() {
		if e.gone {
			continue
		}
		if all := e.state.bounces(); slices.ContainsFunc(all, is) {
			return all[slices.IndexFunc(all, is)], nil
		}
	}
	var message store.ID
	err := s.db.read(func(tx *bbolt.Tx) error {
		prefix := bounceIDPrefix(server, id)
		k, _ := tx.Bucket(bucketBounceID).Cursor().Seek(prefix)
		if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+len(message) {
			return fmt.Errorf("bounce %d: %w", id, store.ErrNotFound)
		}
		copy(message[:], k[len(prefix):])
		return nil
	})
	if err != nil {
		return store.Bounce{}, err
	}
	st, err := s.find(message)
	if err != nil {
		return store.Bounce{}, err
	}
	all := st.bounces()
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], nil
	}
	return store.Bounce{}, fmt.Errorf("bounce %d: %w", id, store.ErrNotFound)
}

// ListBounces implements store.Bounces. Newest means the last event, and among
// those of one time the greatest ID. A limit of 0 means 50, and 1,000 is the
// most.
func (s *Store) ListBounces(ctx context.Context, f store.BounceFilter, cursor string, limit int) ([]store.Bounce, string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if f.Server == 0 || f.Stream == "" {
		return nil, "", fmt.Errorf("listing bounces: no stream: %w", store.ErrInvalid)
	}
	if limit <= 0 {
		limit = listDefault
	}
	l := bounceListing{filter: f, limit: min(limit, listMost), prefix: streamPrefix(f.Server, f.Stream), newer: s.over.all()}
	if err := l.begin(cursor); err != nil {
		return nil, "", err
	}
	page, more, err := l.run(ctx, s.db)
	if err != nil {
		return nil, "", fmt.Errorf("listing bounces: %w", err)
	}
	if !more {
		return page, "", nil
	}
	last := placeOf(&page[len(page)-1])
	return page, hex.EncodeToString(last[:]), nil
}

// CountBounces implements store.Bounces.
func (s *Store) CountBounces(ctx context.Context, server int64) (map[string]int, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	count, newer := map[string]int{}, s.over.all()
	for _, e := range newer {
		if e.gone || e.state.msg.Server != server {
			continue
		}
		for _, b := range e.state.bounces() {
			count[b.Type]++
		}
	}
	prefix := numberKey(uint64(server))
	stream := ""
	for from := prefix; from != nil; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := s.db.read(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucketBounce).Cursor()
			k, v := c.Seek(from)
			for n := 0; n < countScan && bytes.HasPrefix(k, prefix); n++ {
				b, err := parseBounce(k, v, stream)
				if err != nil {
					return err
				}
				stream = b.Stream
				if _, in := newer[b.Message]; !in {
					count[b.Type]++
				}
				k, v = c.Next()
			}
			if from = nil; bytes.HasPrefix(k, prefix) {
				from = bytes.Clone(k)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("counting bounces: %w", err)
		}
	}
	return count, nil
}

// countScan is how many keys a count reads in one transaction.
const countScan = 8192

// bouncesOf checks the keys of a message's bounces.
func (c *recount) bouncesOf(st *state) {
	for _, b := range st.bounces() {
		c.bounces++
		if !bytes.Equal(c.bounce.Get(bounceKey(&b)), bounceValue(&b)) {
			c.r.problem("bounce %d of message %s is not in bucket %s as it should be", b.ID, b.Message, bucketBounce)
		}
		if k, _ := c.bounceID.Cursor().Seek(bounceIDKey(&b)); !bytes.Equal(k, bounceIDKey(&b)) {
			c.r.problem("bounce %d of message %s is missing in bucket %s", b.ID, b.Message, bucketBounceID)
		}
	}
}

// bounceOrphans looks for keys of bounces that no message has.
func (c *recount) bounceOrphans() {
	for _, b := range []struct {
		name   []byte
		bucket *bbolt.Bucket
	}{{bucketBounce, c.bounce}, {bucketBounceID, c.bounceID}} {
		if n := b.bucket.Stats().KeyN; n != c.bounces {
			c.r.problem("bucket %s has %d keys, the messages make %d", b.name, n, c.bounces)
		}
	}
}
