package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
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
	for _, f := range all {
		if err := putBlock(tx, f.prefix, f.states); err != nil {
			return err
		}
	}
	return nil
}

// putBlock moves messages of a stream into a block.
func putBlock(tx *bbolt.Tx, prefix []byte, states []*state) error {
	stream := tx.Bucket(bucketStream)
	var l live
	for i, st := range states {
		at := st.stamp()
		if err := stream.Delete(append(bytes.Clone(prefix), at[:]...)); err != nil {
			return err
		}
		if l.there.add(i); st.unfinished() {
			l.queued.add(i)
		}
	}
	key := blockKey(prefix, states[len(states)-1].stamp())
	if err := tx.Bucket(bucketBlock).Put(key, blockOf(states)); err != nil {
		return err
	}
	return tx.Bucket(bucketLive).Put(key, l.value(len(states)))
}

// grew notes the streams that a checkpoint added messages to. The caller holds checkpointing.
func (s *Store) grew(entries map[store.ID]entry) {
	for _, e := range entries {
		if e.fresh && !e.gone {
			s.grown[store.StreamKey{Server: e.state.msg.Server, Stream: e.state.msg.Stream}]++
		}
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
