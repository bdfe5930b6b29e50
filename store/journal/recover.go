package journal

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// candidate is a segment file that Open found, before its end is known.
type candidate struct {
	*segment
	headerOK bool
	sealEnd  int64 // from its own seal block, 0 without a good one
	sealBad  string
	named    int64 // its end according to its successor's header, 0 without one
}

// recover reads the directory, decides where every segment ends and leaves the
// writer at the end of the last one, or without a segment.
func (j *Journal) recover() error {
	if err := j.fs.MkdirAll(j.dir); err != nil {
		return err
	}
	names, err := j.fs.ReadDir(j.dir)
	if err != nil {
		return err
	}
	var found []*candidate
	for _, name := range names {
		number, ok := parseSegmentName(name)
		if !ok {
			j.adopt(name)
			continue
		}
		c, err := j.load(number)
		if err != nil {
			return err
		}
		found = append(found, c)
	}
	link(found)
	for i, c := range found {
		if err := j.settle(c, i == len(found)-1); err != nil {
			return err
		}
	}
	for _, s := range j.segments {
		j.recovery.Replayable += s.end - firstFrame
	}
	return nil
}

// adopt keeps a spare that still fits and removes what is left of an
// interrupted one. Files with other names are not ours.
func (j *Journal) adopt(name string) {
	path := j.pathOf(name)
	switch {
	case strings.HasPrefix(name, sparePrefix) && strings.HasSuffix(name, tempSuffix):
	case isSpareName(name):
		if !j.opts.NoPrewrite && j.spares.count() < j.opts.Spares && j.sizeOf(path) == j.opts.SegmentSize {
			j.spares.add(path)
			return
		}
	default:
		return
	}
	if err := j.fs.Remove(path); err != nil {
		j.log.Warn("journal: removing a left-over file", "path", path, "error", err)
	}
}

func (j *Journal) sizeOf(path string) int64 {
	f, err := j.fs.Open(path, true)
	if err != nil {
		return -1
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return -1
	}
	return n
}

// load reads the header and the seal of a segment. Only a file that cannot be
// read, or a format from the future, is an error; damage is noted.
func (j *Journal) load(number uint64) (*candidate, error) {
	path := j.pathOf(segmentName(number))
	f, err := j.fs.Open(path, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &segment{path: path, end: firstFrame, staged: map[int64]int64{}}
	if s.size, err = f.Size(); err != nil {
		return nil, err
	}
	b := make([]byte, firstFrame)
	if n, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the header of segment %d at %d: %w", number, n, err)
	}
	c := &candidate{segment: s}
	if err := c.parse(number, b); err != nil {
		return nil, err
	}
	fresh := s.damage
	s.damage = nil
	j.readDamage(s)
	j.recovery.Damage = append(j.recovery.Damage, s.damage...)
	for _, d := range fresh {
		j.found(c, d.Offset, d.Reason)
	}
	return c, nil
}

// parse fills in what the blocks before the first frame say.
func (c *candidate) parse(number uint64, b []byte) error {
	h, headerErr := decodeHeader(b[headerOffset:headerCopyOffset])
	if headerErr == nil && h.number != number {
		headerErr = fmt.Errorf("header of segment %d", h.number)
	}
	if errors.Is(headerErr, errVersion) {
		return fmt.Errorf("segment %d: %w", number, headerErr)
	}
	c.header = h
	c.headerOK = headerErr == nil
	if headerErr != nil {
		var err error
		if c.header, err = decodeHeader(b[headerCopyOffset:sealOffset]); err != nil || c.number != number {
			c.header = header{number: number}
		} else {
			c.headerOK = true
		}
		c.damage = append(c.damage, c.corrupt(headerOffset, headerErr.Error()))
	}
	c.parseSeal(b[sealOffset:])
	c.seed = seedOf(c.generation)
	return nil
}

func (c *candidate) parseSeal(b []byte) {
	s, blank, err := decodeSeal(b)
	switch {
	case blank:
	case err != nil:
		c.sealBad = err.Error()
	case s.number != c.number || (c.headerOK && s.generation != c.generation):
		c.sealBad = "seal of another segment"
	default:
		c.sealEnd, c.generation = s.end, s.generation
	}
}

// link tells each segment what its successor knows of it.
func link(found []*candidate) {
	byNumber := map[uint64]*candidate{}
	for _, c := range found {
		byNumber[c.number] = c
	}
	for _, c := range found {
		p := byNumber[c.prevNumber]
		if p == nil || !c.headerOK {
			continue
		}
		if p.generation == 0 { // both its headers are gone
			p.generation, p.seed = c.prevGeneration, seedOf(c.prevGeneration)
		}
		if p.generation == c.prevGeneration {
			p.named = c.prevEnd
		}
	}
}

// settle decides where a segment ends, and adds it to the table.
func (j *Journal) settle(c *candidate, last bool) error {
	j.next = c.number + 1
	switch {
	case c.named > 0:
		c.end, c.sealed = c.named, c.sealEnd > 0
		if c.sealEnd > 0 && c.sealEnd != c.named {
			j.found(c, sealOffset, "seal and successor disagree about the end")
		}
	case c.sealEnd > 0:
		c.end, c.sealed = c.sealEnd, true
	default:
		return j.settleByScan(c, last)
	}
	if c.size < c.end {
		j.found(c, c.size, "file ends before its recorded end")
	}
	j.segments = append(j.segments, c.segment)
	if !c.sealed && !c.quarantined {
		j.sealFound(c.segment)
	}
	return nil
}

// found records damage that Open met, unless an earlier run noted it already.
func (j *Journal) found(c *candidate, off int64, reason string) {
	d := c.corrupt(off, reason)
	for _, known := range c.damage {
		if known.Offset == off {
			return
		}
	}
	j.recovery.Damage = append(j.recovery.Damage, d)
	j.quarantine(c.segment, d)
}

// settleByScan finds the end of a segment that nothing records: of the last
// one, as it should be, or of one whose seal is damaged.
func (j *Journal) settleByScan(c *candidate, last bool) error {
	if c.generation == 0 { // reported already; nothing in it can be told from noise
		j.segments = append(j.segments, c.segment)
		return nil
	}
	f, err := j.fs.Open(c.path, false)
	if err != nil {
		return err
	}
	t, err := j.scan(c, f)
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("reading segment %d: %w", c.number, err)
	}
	if !last && t.commits == 0 && !c.quarantined {
		_ = f.Close()
		j.dropOrphan(c)
		return nil
	}
	j.segments = append(j.segments, c.segment)
	c.end = t.end
	if !last {
		j.found(c, sealOffset, "neither a seal nor a successor records the end")
	} else if c.sealBad == "" && t.clean && !c.quarantined && t.end+closingRoom < j.opts.SegmentSize {
		c.pins, c.file, j.active = 1, f, c.segment
		j.w.resume(c.segment, j.opts.SegmentSize, t.proven)
		return nil
	} else if !c.quarantined {
		j.cut(c.segment, f, t)
	}
	return f.Close()
}

// scan reads a segment whose end is unknown. What a killed process left in the
// page cache only is synced first, so that what is read now will be read again.
func (j *Journal) scan(c *candidate, f File) (tail, error) {
	if err := f.Datasync(); err != nil {
		return tail{}, err
	}
	t, err := scanTail(newScanner(f, c.generation, firstFrame, c.size))
	if err != nil {
		return tail{}, err
	}
	for _, bad := range t.damage {
		j.found(c, bad.off, bad.reason)
	}
	if !t.clean {
		j.recovery.CutAt = Position{Segment: c.number, Offset: t.end}
		j.recovery.CutReason = t.reason
	}
	return t, nil
}

// cut ends a segment that has a tail, or no room left. Sealing it makes the decision final.
func (j *Journal) cut(s *segment, f File, t tail) {
	if err := writeSeal(s, f, s.end); err != nil {
		j.log.Warn("journal: sealing a recovered segment", "segment", s.number, "error", err)
		return
	}
	s.sealed = true
	if t.clean {
		return
	}
	j.log.Info("journal: cut an unfinished tail", "segment", s.number, "offset", s.end, "reason", t.reason)
	if err := f.Truncate(s.end); err == nil { // saves space, decides nothing
		s.size = s.end
	}
}

// sealFound seals an old segment whose end only its successor records, so
// that the successor may be released before it.
func (j *Journal) sealFound(s *segment) {
	f, err := j.fs.Open(s.path, false)
	if err == nil {
		err = writeSeal(s, f, s.end)
		_ = f.Close()
	}
	if err != nil {
		j.log.Warn("journal: sealing an old segment", "segment", s.number, "error", err)
		return
	}
	s.sealed = true
}

// dropOrphan removes a segment that was made but never written: making it
// failed after its file had got its name.
func (j *Journal) dropOrphan(c *candidate) {
	if err := j.fs.Remove(c.path); err != nil {
		j.log.Warn("journal: removing an unused segment", "segment", c.number, "error", err)
	}
}

// tail is what reading a segment of unknown end finds.
type tail struct {
	end     int64 // after the last good commit frame
	commits int
	proven  bool // the last commit frame is a mark, or there is none
	clean   bool // nothing of this generation lies behind end
	reason  string
	damage  []*badFrame
}

// scanTail applies the rule of the package comment.
func scanTail(s *scanner) (tail, error) {
	t := tail{end: s.pos, proven: true}
	for {
		f, err := s.next(true)
		var bad *badFrame
		switch {
		case err == nil && f.isCommit():
			t.end, t.proven = f.end(), s.closed.frames == 0
			t.commits++
		case err == nil:
		case errors.Is(err, io.EOF):
			t.clean, t.reason = s.pos == t.end, "frames without a commit frame"
			return t, nil
		case errors.As(err, &bad):
			start, proven, seen, err := s.findProof(bad.off)
			if err != nil {
				return t, err
			}
			if !proven {
				t.clean = s.pos == t.end && !seen && !bad.headerOK
				t.reason = bad.reason
				return t, nil
			}
			t.damage = append(t.damage, bad)
			t.end = start
			t.commits++
			s.seek(start, false)
		default:
			return t, err
		}
	}
}
