package journal

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	segmentSuffix = ".seg"
	sparePrefix   = "spare-"
	spareSuffix   = ".free"
	tempSuffix    = ".tmp"
)

// segment is what the journal knows of one segment file.
type segment struct {
	header
	seed uint32
	path string

	// The fields above never change; those below are guarded by Journal.mu.
	end         int64 // after the last committed frame
	size        int64 // of the file
	sealed      bool  // its own seal block is durable
	quarantined bool
	poisoned    bool
	released    bool
	damage      []*CorruptError
	staged      map[int64]int64 // payload offset to length of records neither committed nor discarded
	pins        int             // readers, and the committer while it writes here
	file        File            // open while pinned, nil until first needed
}

// segmentName returns the file name of a segment.
func segmentName(number uint64) string { return fmt.Sprintf("%020d%s", number, segmentSuffix) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// info describes the segment. The caller holds Journal.mu.
func (s *segment) info(active bool) SegmentInfo {
	return SegmentInfo{
		Number:      s.number,
		Generation:  s.generation,
		Created:     s.created,
		Size:        s.size,
		First:       Position{Segment: s.number, Offset: firstFrame},
		Last:        Position{Segment: s.number, Offset: s.end},
		Active:      active,
		Sealed:      !active,
		Quarantined: s.quarantined,
		Poisoned:    s.poisoned,
		Released:    s.released,
		Staged:      len(s.staged),
	}
}

// corrupt makes the error for damage at off.
func (s *segment) corrupt(off int64, reason string) *CorruptError {
	return &CorruptError{Segment: s.number, Path: s.path, Offset: off, Reason: reason}
}

// find returns a segment of the table. The caller holds mu.
func (j *Journal) find(number uint64) *segment {
	for _, s := range j.segments {
		if s.number == number {
			return s
		}
	}
	return nil
}

// pin keeps a segment's file open and in place until unpin.
func (j *Journal) pin(number uint64) (*segment, File, error) {
	j.mu.Lock()
	s := j.find(number)
	if s == nil || s.released {
		j.mu.Unlock()
		return nil, nil, fmt.Errorf("%w: %d", ErrNotFound, number)
	}
	s.pins++
	f := s.file
	j.mu.Unlock()
	if f != nil {
		return s, f, nil
	}
	opened, err := j.fs.Open(s.path, false)
	if err != nil {
		j.unpin(s)
		return nil, nil, fmt.Errorf("opening segment %d: %w", number, err)
	}
	j.mu.Lock()
	f = s.file
	if f == nil {
		s.file = opened
	}
	j.mu.Unlock()
	if f == nil {
		return s, opened, nil
	}
	_ = opened.Close() // another reader was first
	return s, f, nil
}

// unpin undoes pin; the last one closes the file and, when the segment was
// released meanwhile, disposes of it.
func (j *Journal) unpin(s *segment) {
	j.mu.Lock()
	s.pins--
	var f File
	if s.pins == 0 {
		f, s.file = s.file, nil
	}
	due := s.released
	j.mu.Unlock()
	if f != nil {
		_ = f.Close() // nothing unsynced that anybody was promised
	}
	if due {
		if err := j.dispose(); err != nil {
			j.log.Warn("journal: disposing of a released segment", "segment", s.number, "error", err)
		}
	}
}

func (j *Journal) pathOf(name string) string { return filepath.Join(j.dir, name) }
