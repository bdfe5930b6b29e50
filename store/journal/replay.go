package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Replay calls fn for every committed record from a position to the end that
// the journal has when Replay is called, in order. It stops with fn's error,
// or with a *[CorruptError] at the first damage. Segments that were released
// are passed over. Records of one Append follow each other, and the last one has Last set.
// A position that Append or an Entry gave is always good; one behind the end is [ErrPosition].
func (j *Journal) Replay(ctx context.Context, from Position, fn func(Entry) error) error {
	return j.Salvage(ctx, from, fn, func(d *CorruptError) error { return d })
}

// Salvage is Replay for a damaged journal: it calls damaged for each place it cannot read and, when that
// returns nil, goes on at the next good frame. An Append may then lack records, also its last.
func (j *Journal) Salvage(ctx context.Context, from Position, fn func(Entry) error, damaged func(*CorruptError) error) error {
	spans, err := j.spans(from)
	if err != nil {
		return err
	}
	for _, sp := range spans {
		w := walk{j: j, span: sp, damaged: damaged, visit: func(s *scanner, seg *segment, f frame) error {
			return deliver(s, seg, f, fn)
		}}
		if err := w.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// span is a part of a segment to be read.
type span struct {
	number   uint64
	from, to int64
}

// spans lists what lies between a position and the present end.
func (j *Journal) spans(from Position) ([]span, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if end := j.endLocked(); end.Before(from) {
		return nil, fmt.Errorf("%w: %s, the end is %s", ErrPosition, from, end)
	}
	var spans []span
	for _, s := range j.segments {
		if s.number < from.Segment || s.released {
			continue
		}
		sp := span{number: s.number, from: firstFrame, to: s.end}
		if s.number == from.Segment {
			sp.from = max(sp.from, from.Offset)
		}
		spans = append(spans, sp)
	}
	return spans, nil
}

// deliver hands a record to fn; other frames are passed over.
func deliver(s *scanner, seg *segment, f frame, fn func(Entry) error) error {
	if f.isCommit() || f.isStaged() {
		return nil
	}
	payload, err := s.payload(f)
	if err != nil {
		return err
	}
	return fn(Entry{
		Ref:     Ref{Segment: seg.number, Offset: f.payloadOff(), Length: f.length},
		Type:    f.typ,
		Payload: payload,
		Last:    f.flags&flagLast != 0,
		Next:    Position{Segment: seg.number, Offset: f.end()},
	})
}

// walk reads the frames of a span, passing over what is damaged.
type walk struct {
	j       *Journal
	span    span
	all     bool // check staged payloads too
	visit   func(*scanner, *segment, frame) error
	damaged func(*CorruptError) error
}

// run pins the segment while it reads.
func (w walk) run(ctx context.Context) error {
	seg, file, err := w.j.pin(w.span.number)
	if errors.Is(err, ErrNotFound) {
		return nil // released meanwhile
	}
	if err != nil {
		return err
	}
	defer w.j.unpin(seg)
	if seg.generation == 0 {
		return w.damaged(seg.corrupt(headerOffset, "both headers are damaged, nothing can be read"))
	}
	s := newScanner(file, seg.generation, w.span.from, w.span.to)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := s.next(w.all)
		if err == nil {
			if err := w.visit(s, seg, f); err != nil {
				return err
			}
			continue
		}
		err = w.pass(s, seg, err)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", seg.number, err)
		}
	}
}

// pass reports a bad frame and moves behind it. Other errors are returned as they are.
func (w walk) pass(s *scanner, seg *segment, err error) error {
	var bad *badFrame
	if !errors.As(err, &bad) {
		return err
	}
	d := seg.corrupt(bad.off, bad.reason)
	w.j.quarantine(seg, d)
	if err := w.damaged(d); err != nil {
		return err
	}
	if bad.headerOK {
		s.seek(bad.frame.end(), true)
		return nil
	}
	return s.resync(bad.off + 1)
}

// Verify reads every byte of every segment up to its end and returns all damage, in order;
// the segments concerned are quarantined. The error is for what could not be read at all.
func (j *Journal) Verify(ctx context.Context) ([]*CorruptError, error) {
	spans, err := j.spans(Position{})
	if err != nil {
		return nil, err
	}
	var all []*CorruptError
	collect := func(d *CorruptError) error {
		all = append(all, d)
		return nil
	}
	for _, sp := range spans {
		if err := j.verifyHeader(sp.number, collect); err != nil {
			return all, err
		}
		w := walk{j: j, span: sp, all: true, damaged: collect, visit: func(*scanner, *segment, frame) error { return nil }}
		if err := w.run(ctx); err != nil {
			return all, err
		}
	}
	return all, nil
}

// verifyHeader checks both copies of a segment's header.
func (j *Journal) verifyHeader(number uint64, damaged func(*CorruptError) error) error {
	seg, file, err := j.pin(number)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer j.unpin(seg)
	for _, off := range []int64{headerOffset, headerCopyOffset} {
		b := make([]byte, blockSize)
		if _, err := file.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the header of segment %d: %w", number, err)
		}
		h, err := decodeHeader(b)
		if err == nil && h.number == number && h.generation == seg.generation {
			continue
		}
		d := seg.corrupt(off, "header is not the one that was written")
		j.quarantine(seg, d)
		if err := damaged(d); err != nil {
			return err
		}
	}
	return nil
}
