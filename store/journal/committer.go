package journal

import (
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// closingRoom is kept free behind the frames of every group: for its commit
// frame, and for the mark that Close or a rotation may write after it.
const closingRoom = 2 * commitFrameSize

// commitLoop is the committer: the only goroutine that writes frames. It ends
// when the queue is closed and empty.
//
// Whoever is ready to run goes first: what they append then shares the sync.
// Where processors are busy, fewer syncs are worth more than early ones; where
// none waits, Gosched returns at once.
func (j *Journal) commitLoop() {
	for {
		runtime.Gosched()
		batch := j.queue.take(j.opts.MaxBatchBytes)
		if len(batch) == 0 {
			return
		}
		for len(batch) > 0 {
			batch = j.commitSome(batch)
		}
	}
}

// commitSome commits the first requests that fit into one segment together
// and returns the others.
func (j *Journal) commitSome(batch []*request) []*request {
	if err := j.w.ready(j, batch[0].need); err != nil {
		finish(batch, err)
		return nil
	}
	n := j.w.fit(batch)
	if some := j.refuseLost(batch[:n]); len(some) > 0 {
		j.w.commit(j, some)
	}
	return batch[n:]
}

// finish answers requests with err, which is nil when they succeeded.
func finish(reqs []*request, err error) {
	for _, r := range reqs {
		r.err = err
		r.done <- struct{}{}
	}
}

// refuseLost answers the requests that name a record which is not staged, and
// returns the others. It runs after a rotation, which may have lost some.
func (j *Journal) refuseLost(reqs []*request) []*request {
	var lost, good []*request
	j.mu.Lock()
	for _, r := range reqs {
		if j.allStaged(r.deps) {
			good = append(good, r)
		} else {
			lost = append(lost, r)
		}
	}
	j.mu.Unlock()
	finish(lost, ErrStaged)
	return good
}

// allStaged reports whether every ref is staged. The caller holds mu.
func (j *Journal) allStaged(refs []Ref) bool {
	for _, ref := range refs {
		s := j.find(ref.Segment)
		if s == nil {
			return false
		}
		if n, ok := s.staged[ref.Offset]; !ok || n != ref.Length {
			return false
		}
	}
	return true
}

// Discard tells the journal that staged records will not be committed. Refs
// that are not staged are ignored.
func (j *Journal) Discard(refs ...Ref) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unstage(refs)
}

// unstage forgets that refs are staged. The caller holds mu.
func (j *Journal) unstage(refs []Ref) {
	for _, ref := range refs {
		if s := j.find(ref.Segment); s != nil {
			delete(s.staged, ref.Offset)
		}
	}
}

// writer is the committer's place in the active segment.
type writer struct {
	seg    *segment // pinned; nil when a segment must be opened first
	off    int64    // where the next frame goes; what is buffered lies before it
	limit  int64    // no frame ends behind it
	group  group    // what was written since the last commit frame
	proven bool     // the last commit frame was a mark, or there was none yet
	groups int64    // commit frames in this segment, each of which was a sync
	asked  bool     // spares were asked for while writing this segment

	buf     pageBuffer
	flushed int64                 // file offset of buf's first byte
	head    [commitFrameSize]byte // of the frame being encoded
}

// ready makes room for a request of need bytes, in a new segment if necessary.
func (w *writer) ready(j *Journal, need int64) error {
	if w.seg != nil && w.off+need+closingRoom <= w.limit {
		return nil
	}
	if w.seg != nil {
		w.sealOff(j)
	}
	return w.open(j)
}

// fit returns how many of the requests go into the active segment as one group.
func (w *writer) fit(batch []*request) int {
	end := w.off + closingRoom
	for i, r := range batch {
		if end += r.need; end > w.limit {
			return i
		}
	}
	return len(batch)
}

// commit writes a group and answers its requests: staged ones when they are
// written, the others when they are durable.
func (w *writer) commit(j *Journal, reqs []*request) {
	failpoint.Hit(failpoint.JournalWriting)
	off, grp := w.off, w.group
	commitOff, err := w.write(j.opts.MaxBatchBytes, reqs)
	if err != nil {
		if isNoSpace(err) { // nothing was promised: the next group overwrites the remains
			w.off, w.group = off, grp
			finish(reqs, fmt.Errorf("%w: %w", ErrNoSpace, err))
			return
		}
		w.poison(j, commitOff, err)
		finish(reqs, fmt.Errorf("%w: %w", ErrSync, err))
		return
	}
	appends := w.answerStaged(j, reqs)
	if len(appends) == 0 {
		failpoint.Hit(failpoint.JournalStaged)
		return
	}
	failpoint.Hit(failpoint.JournalWritten)
	if err := w.seg.file.Datasync(); err != nil {
		w.poison(j, commitOff, err)
		finish(appends, syncError(err))
		return
	}
	failpoint.Hit(failpoint.JournalSynced)
	w.publish(j, appends)
	finish(appends, nil)
}

// syncError makes the error for a failed sync, which may be for want of space.
func syncError(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w: %w", ErrSync, ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", ErrSync, err)
}

// answerStaged registers and answers the staged requests, and returns the others.
func (w *writer) answerStaged(j *Journal, reqs []*request) []*request {
	var staged, appends []*request
	j.mu.Lock()
	for _, r := range reqs {
		if !r.staged {
			appends = append(appends, r)
			continue
		}
		staged = append(staged, r)
		w.seg.staged[r.refs[0].Offset] = r.refs[0].Length
	}
	w.seg.size = max(w.seg.size, w.off)
	j.mu.Unlock()
	finish(staged, nil)
	return appends
}

// publish makes a durable group visible.
func (w *writer) publish(j *Journal, appends []*request) {
	w.group, w.proven = newGroup(w.off, w.seg.seed), false
	j.mu.Lock()
	w.seg.end = w.off
	for _, r := range appends {
		j.unstage(r.deps)
	}
	j.mu.Unlock()
	w.groups++
	if !w.asked && w.off > w.limit/16 {
		w.asked = true
		if w.sparesPay() {
			j.spares.signal()
		}
	}
}

// spareBreakEven is the size of a group at which the write that a spare costs
// takes as long as the time that it saves with each sync, some 200 µs.
const spareBreakEven = 128 << 10

// sparesPay tells whether the segment's groups are so small that syncs cost more
// than octets. With large bodies a spare only doubles what goes to the disk.
func (w *writer) sparesPay() bool { return w.off-firstFrame < w.groups*spareBreakEven }

// write encodes the frames of reqs, and a commit frame when one of them is an
// Append, and writes them to the file in pieces of at most max bytes. It returns the
// commit frame's offset, 0 without one.
func (w *writer) write(max int64, reqs []*request) (commitOff int64, err error) {
	w.rewind(w.off)
	appends := false
	for _, r := range reqs {
		appends = appends || !r.staged
		r.refs = make([]Ref, 0, len(r.recs))
		for i, rec := range r.recs {
			var flags byte
			switch {
			case r.staged:
				flags = flagStaged
			case i == len(r.recs)-1:
				flags = flagLast
			}
			ref, err := w.putRecord(max, rec, flags)
			if err != nil {
				return 0, err
			}
			r.refs = append(r.refs, ref)
		}
		r.pos = Position{Segment: w.seg.number, Offset: w.off}
	}
	if appends {
		commitOff = w.off
		if err := w.putCommit(max); err != nil {
			return commitOff, err
		}
	}
	return commitOff, w.flush()
}

// putRecord appends the frame of one record to the buffer.
func (w *writer) putRecord(max int64, rec Record, flags byte) (Ref, error) {
	sum := w.seg.seed
	for _, p := range rec.Payload {
		sum = crc32.Update(sum, castagnoli, p)
	}
	ref := Ref{Segment: w.seg.number, Offset: w.off + frameHeaderSize, Length: rec.size()}
	h := w.head[:frameHeaderSize]
	w.group.add(putFrameHeader(h, w.seg.seed, w.off, ref.Length, rec.Type, flags, sum))
	if err := w.put(max, h); err != nil {
		return Ref{}, err
	}
	for _, p := range rec.Payload {
		if err := w.put(max, p); err != nil {
			return Ref{}, err
		}
	}
	return ref, nil
}

// putCommit appends a commit frame for the group so far.
func (w *writer) putCommit(max int64) error {
	b := w.head[:]
	payload := b[frameHeaderSize:]
	commit{
		generation: w.seg.generation, start: w.group.start,
		frames: w.group.frames, chain: w.group.chain, at: time.Now(),
	}.put(payload)
	sum := crc32.Update(w.seg.seed, castagnoli, payload)
	putFrameHeader(b, w.seg.seed, w.off, commitPayloadSize, typeCommit, 0, sum)
	return w.put(max, b)
}

// put appends to the buffer, writing it out whenever it holds max bytes.
func (w *writer) put(max int64, p []byte) error {
	for len(p) > 0 {
		if int64(w.buf.len()) >= max {
			if err := w.flush(); err != nil {
				return err
			}
		}
		n := min(int64(len(p)), max-int64(w.buf.len()))
		w.buf.append(p[:n])
		w.off += n
		p = p[n:]
	}
	return nil
}

func (w *writer) flush() error {
	if w.buf.len() == 0 {
		return nil
	}
	write := w.seg.file.WriteAt
	if f, ok := w.seg.file.(bulkFile); ok && w.bulky() {
		write = f.WriteBulkAt
	}
	_, err := write(w.buf.octets(), w.flushed)
	w.rewind(w.flushed + int64(w.buf.len()))
	return err
}

// rewind empties the buffer. What comes next goes to off.
func (w *writer) rewind(off int64) {
	w.buf.rewind(off)
	w.flushed = off
}

// bulky tells whether so much is written, in so large records, that the page cache costs more than it gives: memory
// for every octet now, against one read from the disk when it is delivered.
func (w *writer) bulky() bool {
	return w.buf.len() >= bulk && w.off-w.group.start >= int64(w.group.frames)*bulkRecord
}

// mark closes the active segment's frames with a commit frame that may be
// empty, unless the last commit frame proves everything already.
func (w *writer) mark(j *Journal) error {
	if w.seg == nil || (w.proven && w.off == w.seg.end) {
		return nil
	}
	w.rewind(w.off)
	if err := w.putCommit(j.opts.MaxBatchBytes); err != nil {
		return fmt.Errorf("writing the mark: %w", err)
	}
	if err := w.flush(); err != nil {
		return fmt.Errorf("writing the mark: %w", err)
	}
	if err := w.seg.file.Datasync(); err != nil {
		return fmt.Errorf("syncing the mark: %w", err)
	}
	w.publish(j, nil)
	w.proven = true
	return nil
}

// sealOff ends the active segment in good order. When that fails the segment
// is abandoned like a poisoned one: its successor's header will say where it ends.
func (w *writer) sealOff(j *Journal) {
	if w.off > w.seg.end { // staged records must be durable before they lie in an old segment
		if err := w.mark(j); err != nil {
			w.poison(j, 0, err)
			return
		}
	}
	failpoint.Hit(failpoint.JournalSealing)
	if err := writeSeal(w.seg, w.seg.file, w.seg.end); err != nil {
		w.poison(j, 0, err)
		return
	}
	w.leave(j, func(s *segment) { s.sealed = true })
}

// writeSeal writes and syncs the seal block.
func writeSeal(s *segment, f File, end int64) error {
	b := seal{number: s.number, generation: s.generation, end: end}.encode()
	if _, err := f.WriteAt(b, sealOffset); err != nil {
		return fmt.Errorf("writing the seal: %w", err)
	}
	failpoint.Hit(failpoint.JournalSealWritten)
	if err := f.Datasync(); err != nil {
		return fmt.Errorf("syncing the seal: %w", err)
	}
	return nil
}

// poison abandons the active segment after a failed write or sync. The file is
// not synced again: the kernel may have dropped the pages it could not write,
// and would report success. The commit frame of the failed group is
// overwritten all the same, so that a crash of the process alone cannot bring the group back
// while there is no successor yet.
func (w *writer) poison(j *Journal, commitOff int64, cause error) {
	if commitOff > 0 {
		_, _ = w.seg.file.WriteAt(make([]byte, commitFrameSize), commitOff)
	}
	j.log.Error("journal: segment poisoned", "segment", w.seg.number, "path", w.seg.path, "error", cause)
	w.leave(j, func(s *segment) {
		s.poisoned = true
		for off := range s.staged {
			if off >= s.end {
				delete(s.staged, off)
			}
		}
	})
}

// leave gives up the active segment after update changed its state under mu.
func (w *writer) leave(j *Journal, update func(*segment)) {
	s := w.seg
	j.mu.Lock()
	update(s)
	j.active = nil
	j.mu.Unlock()
	w.seg = nil
	j.unpin(s)
}

// open makes a new segment and goes on in it.
func (w *writer) open(j *Journal) error {
	j.mu.Lock()
	number := j.next
	j.next++ // also when making it fails: a number is never used twice
	prev := header{}
	if n := len(j.segments); n > 0 {
		last := j.segments[n-1]
		prev = header{prevNumber: last.number, prevGeneration: last.generation, prevEnd: last.end}
	}
	j.mu.Unlock()
	s, err := j.createSegment(number, prev)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.segments = append(slices.Clip(j.segments), s)
	j.active = s
	j.mu.Unlock()
	w.resume(s, j.opts.SegmentSize, true)
	return nil
}

// resume goes on at the end of s.
func (w *writer) resume(s *segment, limit int64, proven bool) {
	w.seg, w.off, w.limit = s, s.end, limit
	w.group, w.proven, w.asked, w.groups = newGroup(s.end, s.seed), proven, false, 0
}
