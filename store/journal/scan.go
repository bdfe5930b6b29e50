package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// windowSize is how much of a segment is read at once.
const windowSize = 1 << 20

// window reads a file forward in large pieces.
type window struct {
	r     io.ReaderAt
	limit int64 // nothing at or behind this offset is read
	at    int64
	buf   []byte
}

// bytes returns n bytes at off, valid until the next call; fewer when the
// limit or the file's end comes first. The error is never io.EOF.
func (w *window) bytes(off int64, n int64) ([]byte, error) {
	n = max(0, min(n, w.limit-off))
	if off >= w.at && off+n <= w.at+int64(len(w.buf)) {
		return w.buf[off-w.at : off-w.at+n], nil
	}
	want := max(0, min(max(n, windowSize), w.limit-off))
	if int64(cap(w.buf)) < want {
		w.buf = make([]byte, want)
	}
	got, err := w.r.ReadAt(w.buf[:want], off)
	w.at, w.buf = off, w.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return w.buf[:min(n, int64(got))], nil
}

// badFrame says where and why reading frames stopped.
type badFrame struct {
	frame  frame // valid when headerOK
	off    int64
	reason string
	// headerOK is set when the frame's header was good, so that frame.end is known.
	headerOK bool
}

func (b *badFrame) Error() string { return b.reason }

// scanner reads the frames of one segment in order and checks them.
type scanner struct {
	win        window
	generation uint64
	seed       uint32
	pos        int64
	group      group
	// midGroup is set while the beginning of the current group was not seen, so
	// that its commit frame cannot be compared with it.
	midGroup bool
	closed   group // the group that the last commit frame closed
}

func newScanner(r io.ReaderAt, generation uint64, from, limit int64) *scanner {
	s := &scanner{win: window{r: r, limit: limit}, generation: generation, seed: seedOf(generation)}
	s.seek(from, from != firstFrame)
	return s
}

// seek goes on at off, which is the beginning of a frame.
func (s *scanner) seek(off int64, midGroup bool) {
	s.pos, s.group, s.midGroup = off, newGroup(off, s.seed), midGroup
}

// next returns the next frame, io.EOF at the limit, a *badFrame, or an error
// of the file. Payloads of staged frames are checked only when all is set; a
// commit frame is checked against its group. After a *badFrame the scanner stands still.
func (s *scanner) next(all bool) (frame, error) {
	if s.pos >= s.win.limit {
		return frame{}, io.EOF
	}
	f, err := s.header(s.pos)
	if err != nil {
		return frame{}, err
	}
	if all || !f.isStaged() {
		if err := s.checkPayload(f); err != nil {
			return frame{}, err
		}
	}
	if !f.isCommit() {
		s.group.add(f.headerCRC)
		s.pos = f.end()
		return f, nil
	}
	c, err := s.commit(f)
	if err != nil {
		return frame{}, err
	}
	if c.generation != s.generation || (!s.midGroup && !s.group.matches(c, s.generation)) {
		return frame{}, &badFrame{frame: f, off: f.off, reason: reasonCommit, headerOK: true}
	}
	s.closed = s.group
	s.seek(f.end(), false)
	return f, nil
}

// header parses and checks the frame header at off.
func (s *scanner) header(off int64) (frame, error) {
	b, err := s.win.bytes(off, frameHeaderSize)
	if err != nil {
		return frame{}, err
	}
	if len(b) < frameHeaderSize {
		return frame{}, &badFrame{off: off, reason: reasonShort}
	}
	f, reason := parseFrame(b, s.seed, off, s.win.limit)
	if reason == "" && f.isCommit() && f.length != commitPayloadSize {
		reason = reasonCommit
	}
	if reason != "" {
		return frame{}, &badFrame{off: off, reason: reason}
	}
	return f, nil
}

// checkPayload compares the payload of f with its checksum.
func (s *scanner) checkPayload(f frame) error {
	sum := s.seed
	for done := int64(0); done < f.length; {
		b, err := s.win.bytes(f.payloadOff()+done, min(f.length-done, windowSize))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return &badFrame{frame: f, off: f.off, reason: reasonShort, headerOK: true}
		}
		sum = crc32.Update(sum, castagnoli, b)
		done += int64(len(b))
	}
	if sum != f.payloadCRC {
		return &badFrame{frame: f, off: f.off, reason: reasonPayload, headerOK: true}
	}
	return nil
}

// payload returns the payload of f, valid until the next use of the scanner.
func (s *scanner) payload(f frame) ([]byte, error) {
	b, err := s.win.bytes(f.payloadOff(), f.length)
	if err == nil && int64(len(b)) < f.length {
		err = &badFrame{frame: f, off: f.off, reason: reasonShort, headerOK: true}
	}
	return b, err
}

func (s *scanner) commit(f frame) (commit, error) {
	b, err := s.payload(f)
	if err != nil {
		return commit{}, err
	}
	return parseCommit(b), nil
}

// findProof searches behind a bad frame at off for a valid commit frame whose
// group starts after off: proof that the bytes at off had been durable. seen
// reports whether there was any valid commit frame at all.
func (s *scanner) findProof(off int64) (start int64, proven, seen bool, err error) {
	var needle [8]byte
	binary.BigEndian.PutUint64(needle[:], s.generation)
	for at := off; at < s.win.limit; {
		b, err := s.win.bytes(at, windowSize)
		if err != nil {
			return 0, false, false, err
		}
		i := bytes.Index(b, needle[:])
		if i < 0 {
			if int64(len(b)) < int64(len(needle)) || at+int64(len(b)) >= s.win.limit {
				break
			}
			at += int64(len(b) - len(needle) + 1)
			continue
		}
		c, ok, err := s.commitAt(at + int64(i) - frameHeaderSize)
		if err != nil {
			return 0, false, false, err
		}
		seen = seen || ok
		if ok && c.start > off {
			return c.start, true, true, nil
		}
		at += int64(i) + 1
	}
	return 0, false, seen, nil
}

// commitAt reports whether a valid commit frame begins at off, whatever its group.
func (s *scanner) commitAt(off int64) (commit, bool, error) {
	var bad *badFrame
	if off < firstFrame {
		return commit{}, false, nil
	}
	f, err := s.header(off)
	if err == nil && f.isCommit() {
		err = s.checkPayload(f)
	}
	if errors.As(err, &bad) || (err == nil && !f.isCommit()) {
		return commit{}, false, nil
	}
	if err != nil {
		return commit{}, false, err
	}
	c, err := s.commit(f)
	return c, err == nil && c.generation == s.generation, err
}

// resync moves to the next good frame at or behind off, byte by byte. It
// returns io.EOF when there is none.
func (s *scanner) resync(off int64) error {
	for ; off+frameHeaderSize <= s.win.limit; off++ {
		b, err := s.win.bytes(off, frameHeaderSize)
		if err != nil {
			return err
		}
		if len(b) < frameHeaderSize {
			break
		}
		if b[4] == 0 || b[6] != 0 || b[7] != 0 {
			continue // cheap: most bytes end here
		}
		f, err := s.header(off)
		if err == nil {
			err = s.checkPayload(f)
		}
		var bad *badFrame
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		if err == nil {
			s.seek(off, true)
			return nil
		}
	}
	return io.EOF
}
