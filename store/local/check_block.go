package local

import (
	"encoding/binary"
	"strings"

	"go.etcd.io/bbolt"
)

// listed checks that a message is in its stream's list or in a block, and can
// be found there by everything that it can be searched by.
func (c *recount) listed(st *state, at stamp) {
	key := streamKey(st.msg.Server, st.msg.Stream, at)
	if c.stream.Get(key) != nil {
		return
	}
	b, i := c.blocks.find(key[:len(key)-stampSize], at)
	if b == nil {
		c.r.problem("message %s is missing in bucket %s and in every block", st.msg.ID, bucketStream)
		return
	}
	c.blocked++
	if b.queued.has(i) != st.unfinished() {
		c.r.problem("message %s: its block is wrong about whether it is finished", st.msg.ID)
	}
	if subject := strings.ReplaceAll(strings.ToLower(st.msg.Header.Subject), "\x00", " "); b.textAt(i) != subject {
		c.r.problem("message %s has another subject in its block", st.msg.ID)
	}
	st.terms(func(t term) {
		if posting := b.posting(t); !posting.has(i) {
			c.r.problem("message %s: its block lacks the term %x", st.msg.ID, t)
		}
	})
}

// textAt returns the subject of a message in lower case.
func (b *block) textAt(i int) string {
	n := int(binary.BigEndian.Uint16(b.textOf[2*i:]))
	if n >= len(b.starts)/4-1 {
		return ""
	}
	from, to := binary.BigEndian.Uint32(b.starts[4*n:]), binary.BigEndian.Uint32(b.starts[4*n+4:])
	if from >= to || int(to) > len(b.text) {
		return ""
	}
	return string(b.text[from : to-1])
}

// checkBlocks checks every block by itself, and looks for messages that are only there.
func (c *recount) checkBlocks(tx *bbolt.Tx) error {
	there, keys := 0, 0
	err := c.blocks.block.ForEach(func(k, v []byte) error {
		keys++
		if err := checkBlock(v); err != nil {
			c.r.problem("bucket %s: key %x: %v", bucketBlock, k, err)
			return nil
		}
		b, err := c.blocks.load(k, v)
		if err != nil {
			c.r.problem("bucket %s: key %x: %v", bucketLive, k, err)
			return nil
		}
		there += b.there.count()
		for i := range b.n {
			id := b.stamp(i).id()
			if b.there.has(i) && c.message.Get(id[:]) == nil {
				c.r.problem("bucket %s names message %s, which is not there", bucketBlock, id)
			}
		}
		return nil
	})
	if there != c.blocked {
		c.r.problem("blocks have %d messages, %d should be in one", there, c.blocked)
	}
	if n := tx.Bucket(bucketLive).Stats().KeyN; n != keys {
		c.r.problem("bucket %s has %d keys, there are %d blocks", bucketLive, n, keys)
	}
	return err
}
