package journal

import (
	"fmt"
	"time"
)

// Position is a place in the journal between two records. Positions order
// records: everything before a position was appended earlier. The zero
// Position is before the first record.
type Position struct {
	// Segment is the segment's number.
	Segment uint64
	// Offset is in bytes from the beginning of the segment's file.
	Offset int64
}

// Before reports whether p lies strictly before q.
func (p Position) Before(q Position) bool {
	if p.Segment != q.Segment {
		return p.Segment < q.Segment
	}
	return p.Offset < q.Offset
}

// String returns segment and offset as "segment:offset".
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Segment, p.Offset) }

// Ref says where the payload of one record lies. Segment numbers are never
// used twice, so a Ref never comes to mean other bytes.
type Ref struct {
	// Segment is the segment's number.
	Segment uint64
	// Offset is where the payload begins, in bytes from the beginning of the segment's file.
	Offset int64
	// Length is the payload's length in bytes.
	Length int64
}

// String returns segment, offset and length as "segment:offset+length".
func (r Ref) String() string { return fmt.Sprintf("%d:%d+%d", r.Segment, r.Offset, r.Length) }

// Record is what a caller stores.
type Record struct {
	// Type is the caller's own, from 1 to [MaxType].
	Type byte
	// Payload is stored as its pieces one after the other. They must not be
	// changed before the call that took them returns.
	Payload [][]byte
}

func (r Record) size() int64 {
	var n int64
	for _, p := range r.Payload {
		n += int64(len(p))
	}
	return n
}

// Entry is one committed record as a replay shows it.
type Entry struct {
	// Ref is where the payload lies.
	Ref Ref
	// Type is the record's type.
	Type byte
	// Payload is valid until the callback returns.
	Payload []byte
	// Last is set on the last record of the Append that wrote it.
	Last bool
	// Next is the position just after this record. After a record with Last set
	// it is the Position that Append returned.
	Next Position
}

// SegmentInfo describes one segment.
type SegmentInfo struct {
	// Number orders segments; it is never used twice.
	Number uint64
	// Generation is the random number that seeds this segment's checksums.
	Generation uint64
	// Created is when the segment was opened for writing.
	Created time.Time
	// Size is the length of the file in bytes, pre-written space included.
	Size int64
	// First is the position of the first frame, Last that after the last committed one.
	First, Last Position
	// Active marks the segment being written.
	Active bool
	// Sealed means that the segment's end is recorded and it is never written again.
	Sealed bool
	// Quarantined means that damage was found: the segment is kept and never recycled.
	Quarantined bool
	// Poisoned means that a write or sync failed: what lies behind Last is void.
	Poisoned bool
	// Released means that the segment waits only for its readers, or for an
	// older poisoned segment whose end it records, before its file goes.
	Released bool
	// Staged is the number of staged records neither committed nor discarded.
	Staged int
}

// Recovery says what Open found.
type Recovery struct {
	// CutAt is where an unacknowledged tail was cut off; zero when there was none.
	CutAt Position
	// CutReason says what was wrong with the first frame of the tail.
	CutReason string
	// Damage lists what was found broken, in order; their segments are quarantined.
	Damage []*CorruptError
	// Replayable is the number of bytes of frames in all segments.
	Replayable int64
}
