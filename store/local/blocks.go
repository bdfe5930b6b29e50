package local

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// live is what changes of a block: which of its messages are still there, and
// which of those are unfinished.
//
//	byte 0   format version
//	8 each   words of the bitmap of those that are there
//	8 each   words of the bitmap of the unfinished
type live struct {
	there, queued bitset
}

const liveFormat = 1

func (l *live) value(n int) []byte {
	return l.queued.append(l.there.append([]byte{liveFormat}, n), n)
}

func parseLive(v []byte, n int) (l live, err error) {
	w := words(n)
	if len(v) != 1+16*w || v[0] != liveFormat {
		return l, fmt.Errorf("state of a block of %d messages has %d bytes: %w", n, len(v), store.ErrDamaged)
	}
	for i := range w {
		l.there[i], l.queued[i] = binary.BigEndian.Uint64(v[1+8*i:]), binary.BigEndian.Uint64(v[1+8*(w+i):])
	}
	return l, nil
}

// blockKey is the stream and the newest stamp of the block: the first key from
// a stamp on is that of a block that may have it.
func blockKey(prefix []byte, newest stamp) []byte {
	return append(bytes.Clone(prefix), newest[:]...)
}

// loaded is a block and what is there of it, in a write transaction.
type loaded struct {
	block
	live
	key     []byte
	changed bool
}

// blocks changes what is live of the blocks, in one write transaction. flush ends it.
type blocks struct {
	block, live *bbolt.Bucket
	known       map[string]*loaded // by key
	last        *loaded            // the neighbours of a message are mostly in its block
}

func openBlocks(tx *bbolt.Tx) blocks {
	return blocks{block: tx.Bucket(bucketBlock), live: tx.Bucket(bucketLive), known: map[string]*loaded{}}
}

// find returns the block that has a message of a stream, and its number there;
// nil where none has. A damaged block has none: mail must not wait for what
// only searches need, and Check tells of it.
func (w *blocks) find(prefix []byte, st stamp) (*loaded, int) {
	if l := w.last; l != nil && bytes.HasPrefix(l.key, prefix) {
		if i, ok := l.search(st); ok && l.there.has(i) {
			return l, i
		}
	}
	c := w.block.Cursor()
	for k, v := c.Seek(blockKey(prefix, st)); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		l, err := w.load(k, v)
		if err != nil {
			continue
		}
		if i, ok := l.search(st); ok && l.there.has(i) {
			w.last = l
			return l, i
		}
	}
	return nil, 0
}

func (w *blocks) load(k, v []byte) (*loaded, error) {
	if l := w.known[string(k)]; l != nil {
		return l, nil
	}
	b, err := parseBlock(v)
	if err != nil {
		return nil, err
	}
	l := &loaded{block: b, key: bytes.Clone(k)}
	if l.live, err = parseLive(w.live.Get(k), b.n); err != nil {
		return nil, err
	}
	w.known[string(k)] = l
	return l, nil
}

// setQueued says whether a message is unfinished.
func (w *blocks) setQueued(prefix []byte, st stamp, queued bool) {
	l, i := w.find(prefix, st)
	if l == nil || l.queued.has(i) == queued {
		return
	}
	if l.changed = true; queued {
		l.queued.add(i)
	} else {
		l.queued.remove(i)
	}
}

// remove takes a message out of its block.
func (w *blocks) remove(prefix []byte, st stamp) {
	if l, i := w.find(prefix, st); l != nil {
		l.there.remove(i)
		l.queued.remove(i)
		l.changed = true
	}
}

// flush writes what changed, and deletes blocks of which nothing is there.
func (w *blocks) flush() error {
	for k, l := range w.known {
		if !l.changed {
			continue
		}
		var err error
		if key := []byte(k); l.there.empty() {
			if err = w.block.Delete(key); err == nil {
				err = w.live.Delete(key)
			}
		} else {
			err = w.live.Put(key, l.live.value(l.n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
