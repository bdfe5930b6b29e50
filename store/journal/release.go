package journal

import (
	"fmt"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// asideSuffix is added to the name of a segment that was set aside. The journal
// does not look at such files again.
const asideSuffix = ".aside"

// SetAside is [Journal.Release] for a quarantined segment: its file is kept, under a
// name that is no segment's, for somebody to look into. A segment that is not
// quarantined is released.
func (j *Journal) SetAside(segment uint64) error { return j.release(segment, true) }

// Release tells the journal that nothing in a segment is needed any more. The
// file is recycled or removed once its readers are closed, and once an older segment
// whose end only this one records is gone. Releasing a segment that is gone already is no error;
// [ErrInUse] is returned for the newest segment, for a quarantined one and for
// one with staged records. The caller must have applied everything
// in the segment: a record it does not know of yet would be lost.
func (j *Journal) Release(segment uint64) error { return j.release(segment, false) }

func (j *Journal) release(segment uint64, damaged bool) error {
	j.mu.Lock()
	s := j.find(segment)
	known := segment < j.next
	var inUse string
	switch {
	case s == nil:
	case s == j.segments[len(j.segments)-1]:
		inUse = "is the newest"
	case s.quarantined && !damaged:
		inUse = "is quarantined"
	case len(s.staged) > 0:
		inUse = "has staged records"
	default:
		s.released = true
	}
	j.mu.Unlock()
	if inUse != "" {
		return fmt.Errorf("%w: segment %d %s", ErrInUse, segment, inUse)
	}
	if s == nil {
		if known {
			return nil
		}
		return fmt.Errorf("%w: %d", ErrNotFound, segment)
	}
	return j.dispose()
}

// dispose recycles or removes the files of all released segments that nothing holds back.
func (j *Journal) dispose() error {
	j.disposing.Lock()
	defer j.disposing.Unlock()
	for {
		s := j.takeReleased()
		if s == nil {
			return nil
		}
		if err := j.disposeFile(s); err != nil {
			return fmt.Errorf("releasing segment %d: %w", s.number, err)
		}
	}
}

// takeReleased removes one segment that can go from the table.
func (j *Journal) takeReleased() *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, s := range j.segments {
		if !s.released || s.pins > 0 || j.recordsEnd(s) {
			continue
		}
		rest := make([]*segment, 0, len(j.segments)-1)
		rest = append(rest, j.segments[:i]...)
		j.segments = append(rest, j.segments[i+1:]...)
		return s
	}
	return nil
}

// recordsEnd reports whether s is the only record of an older segment's end. The caller holds mu.
func (j *Journal) recordsEnd(s *segment) bool {
	p := j.find(s.prevNumber)
	return p != nil && !p.sealed && p.generation == s.prevGeneration
}

// disposeFile makes a spare of a segment's file, or removes it, or sets it aside. A recycled
// file is used only after its old name is durably gone: otherwise a crash could bring
// the name back with new content.
func (j *Journal) disposeFile(s *segment) error {
	if s.quarantined {
		if err := j.fs.Rename(s.path, s.path+asideSuffix); err != nil {
			return err
		}
		return j.fs.SyncDir(j.dir)
	}
	recycle := !j.opts.NoPrewrite && s.size == j.opts.SegmentSize && j.spares.count() < j.opts.Spares
	if !recycle {
		if err := j.fs.Remove(s.path); err != nil {
			return err
		}
		return j.fs.SyncDir(j.dir)
	}
	spare := j.pathOf(j.spares.name() + spareSuffix)
	if err := j.fs.Rename(s.path, spare); err != nil {
		return err
	}
	failpoint.Hit(failpoint.JournalRecycled)
	if err := j.fs.SyncDir(j.dir); err != nil {
		return err
	}
	j.spares.add(spare)
	return nil
}
