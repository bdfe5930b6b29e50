package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// sealFor is how long one checkpoint may go on making blocks: the view must
// not fall behind meanwhile, nor a store that was never indexed keep a whole
// processor busy. sealAtOnce is how many blocks one transaction writes.
const (
	sealFor    = 200 * time.Millisecond
	sealAtOnce = 32
)

// fresh is what is to become a block.
type fresh struct {
	prefix []byte
	states []*state // in the order of their stamps
}

// seal makes blocks of the messages that streams have outside of them. An error
// is for the log: a search without the block is as right, and slower.
func (s *Store) seal() error {
	s.checkpointing.Lock() // held across I/O: no message may change between its reading and the block
	defer s.checkpointing.Unlock()
	until := time.Now().Add(sealFor)
	for more := true; more && time.Now().Before(until); {
		var ready []fresh
		err := s.db.read(func(tx *bbolt.Tx) (err error) { ready, err = s.ready(tx, until); return err })
		if more = len(ready) > 0; more && err == nil {
			err = s.db.write(func(tx *bbolt.Tx) error { return putBlocks(tx, ready) })
		}
		if err != nil {
			clear(s.grown) // until they have grown again
			return fmt.Errorf("making search blocks: %w", err)
		}
	}
	return nil
}

// ready returns the next blocks, and strikes streams off that have no more.
func (s *Store) ready(tx *bbolt.Tx, until time.Time) (out []fresh, err error) {
	for stream, n := range s.grown {
		if n < s.opts.blockSize/2 {
			continue
		}
		prefix := streamPrefix(stream.Server, stream.Stream)
		chunks, err := s.tail(tx, prefix, sealAtOnce-len(out))
		if err != nil {
			return nil, err
		}
		for _, states := range chunks {
			out = append(out, fresh{prefix, states})
		}
		if len(out) == sealAtOnce || time.Now().After(until) {
			return out, nil
		}
		delete(s.grown, stream)
	}
	return out, nil
}

// tail returns the oldest messages of a stream without a block, a block's
// number of them each time, and at most so many times. It leaves half a block of the
// newest out, since some of what is older may come in yet.
func (s *Store) tail(tx *bbolt.Tx, prefix []byte, most int) (chunks [][]*state, err error) {
	size := s.opts.blockSize
	var stamps []stamp
	c := tx.Bucket(bucketStream).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix) && len(stamps) < most*size+size/2; k, _ = c.Next() {
		st, err := stampAt(k, len(prefix))
		if err != nil {
			return nil, err
		}
		stamps = append(stamps, st)
	}
	message := tx.Bucket(bucketMessage)
	var states []*state
	for _, st := range stamps[:max(0, len(stamps)-size/2)] {
		one, err := stateOf(message, st.id(), decodeLight)
		if err != nil || one == nil {
			s.log.Error("a message cannot be indexed for searches", "message", st.id(), "error", err)
			continue
		}
		if states = append(states, one); len(states) == size {
			chunks, states = append(chunks, states), nil
		}
	}
	return chunks, nil
}

func putBlocks(tx *bbolt.Tx, all []fresh) error {
	stream, block, live := tx.Bucket(bucketStream), tx.Bucket(bucketBlock), tx.Bucket(bucketLive)
	for _, f := range all {
		err := putBlock(block, live, f.prefix, f.states)
		for _, st := range f.states {
			err = errors.Join(err, stream.Delete(blockKey(f.prefix, st.stamp())))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putBlock makes a block of messages of a stream.
func putBlock(block, live *bbolt.Bucket, prefix []byte, states []*state) error {
	l := newLive(states)
	key := blockKey(prefix, states[len(states)-1].stamp())
	return errors.Join(block.Put(key, blockOf(states)), live.Put(key, l.value(len(states))))
}

func newLive(states []*state) (l live) {
	for i, st := range states {
		if l.there.add(i); st.unfinished() {
			l.queued.add(i)
		}
	}
	return l
}

// list brings new messages into the lists of their streams, and leaves in fresh
// only what is there then. Where as many come together as a block has, they go into
// blocks at once, with those that were listed before: a key written, read back and
// deleted costs more than the block.
func (w *buckets) list(fresh map[store.StreamKey][]*state, size int) error {
	for stream, states := range fresh {
		prefix := streamPrefix(stream.Server, stream.Stream)
		slices.SortFunc(states, compareStates)
		if len(states) >= size {
			var err error
			if states, err = w.sealNew(prefix, states, size); err != nil {
				return err
			}
			fresh[stream] = states
		}
		for _, st := range states {
			at := st.stamp()
			w.key = append(append(w.key[:0], prefix...), at[:]...)
			if err := w.stream.Put(w.key, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// sealNew makes blocks of a stream's messages in its list and new ones, leaves
// half a block out as tail does, and returns the new ones that are in no block. What
// is long or cannot be read is left to seal.
func (w *buckets) sealNew(prefix []byte, states []*state, size int) (rest []*state, err error) {
	old, ok := w.listed(prefix, 2*size)
	all := slices.Concat(old, states)
	blocks := (len(all) - size/2) / size
	if !ok || blocks == 0 {
		return states, nil
	}
	slices.SortFunc(all, compareStates)
	for chunk := range slices.Chunk(all[:blocks*size], size) {
		if err := putBlock(w.blocks.block, w.blocks.live, prefix, chunk); err != nil {
			return nil, err
		}
	}
	newest := all[blocks*size-1]
	for _, st := range old {
		if compareStates(st, newest) <= 0 {
			err = errors.Join(err, w.stream.Delete(blockKey(prefix, st.stamp())))
		}
	}
	n, in := slices.BinarySearchFunc(states, newest, compareStates)
	if in {
		n++
	}
	return states[n:], err
}

// listed returns the messages in a stream's list, fewer than most of them and all in
// good order.
func (w *buckets) listed(prefix []byte, most int) (states []*state, ok bool) {
	c := w.stream.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		st, err := stampAt(k, len(prefix))
		if err != nil || len(states) == most {
			return nil, false
		}
		one, err := stateOf(w.message, st.id(), decodeLight)
		if err != nil || one == nil {
			return nil, false
		}
		states = append(states, one)
	}
	return states, true
}

func compareStates(a, b *state) int { return compareStamps(a.stamp(), b.stamp()) }

// grew notes the streams that a checkpoint added messages to. The caller holds checkpointing.
func (s *Store) grew(fresh map[store.StreamKey][]*state) {
	for stream, states := range fresh {
		s.grown[stream] += len(states)
	}
}

// growAll notes every stream that has messages without a block, as a start has to.
func (s *Store) growAll() error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	return s.db.read(func(tx *bbolt.Tx) error {
		return eachPrefix(tx.Bucket(bucketStream), nil, func(prefix []byte) {
			stream := store.StreamKey{Server: int64(binary.BigEndian.Uint64(prefix)), Stream: string(prefix[8 : len(prefix)-1])}
			s.grown[stream] = s.opts.blockSize
		})
	})
}

// eachPrefix calls fn with what the keys of each stream begin with, in a bucket
// whose keys are a stream and a stamp. Only keys that begin with from count.
func eachPrefix(b *bbolt.Bucket, from []byte, fn func(prefix []byte)) error {
	c := b.Cursor()
	for k, _ := c.Seek(from); k != nil && bytes.HasPrefix(k, from); {
		if len(k) < 8+1+stampSize || k[len(k)-stampSize-1] != 0 {
			return fmt.Errorf("key %x: %w: %w", k, errKey, store.ErrDamaged)
		}
		prefix := bytes.Clone(k[:len(k)-stampSize])
		fn(prefix)
		next := append(bytes.Clone(prefix[:len(prefix)-1]), 1) // no stream ID has a byte under it
		k, _ = c.Seek(next)
	}
	return nil
}
