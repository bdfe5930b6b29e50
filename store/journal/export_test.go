package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// WithFormatVersion returns a segment's bytes with another version in its header.
func WithFormatVersion(segment []byte, version uint32) []byte {
	b := bytes.Clone(segment)
	binary.BigEndian.PutUint32(b[8:], version)
	binary.BigEndian.PutUint32(b[64:], crc32.Checksum(b[:64], castagnoli))
	return b
}

// Pending returns the number of requests that the committer has not taken up.
func (j *Journal) Pending() int {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	return len(j.queue.pending)
}

// SpareCount returns the number of spares that lie ready.
func (j *Journal) SpareCount() int { return j.spares.count() }
