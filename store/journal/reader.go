package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// readAhead is how much a Reader reads at once where it is asked for less.
const readAhead = 8 << 10

// aheads are the buffers of closed readers.
var aheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// Reader reads payloads one after the other. It is for one goroutine at a time.
type Reader struct {
	j      *Journal
	parts  []part
	size   int64
	cur    int    // part being read
	pos    int64  // within it
	sum    uint32 // of what was read of it
	want   uint32 // what sum must become
	ahead  []byte // of the current payload from pos; a part of buf
	buf    *[readAhead]byte
	err    error // sticky
	closed bool
}

// part is one payload of a Reader.
type part struct {
	ref  Ref
	seg  *segment
	file File
}

// Reader returns a reader over the payloads of refs, one after the other. Their
// segments stay as they are until the reader is closed, even when released meanwhile.
func (j *Journal) Reader(refs ...Ref) (*Reader, error) {
	r := &Reader{j: j, parts: make([]part, 0, len(refs))}
	for _, ref := range refs {
		s, f, err := j.pin(ref.Segment)
		if err != nil {
			_ = r.Close()
			return nil, err
		}
		r.parts = append(r.parts, part{ref: ref, seg: s, file: f})
		r.size += ref.Length
	}
	return r, nil
}

// Read returns one payload, checked.
func (j *Journal) Read(ref Ref) ([]byte, error) {
	r, err := j.Reader(ref)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := r.begin(); err != nil { // before the length is trusted with memory
		return nil, err
	}
	b := make([]byte, ref.Length)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}

// Size returns the number of bytes in all payloads together.
func (r *Reader) Size() int64 { return r.size }

// Read implements [io.Reader]. The last bytes of a payload are returned only when its checksum
// was right; otherwise the error is a *[CorruptError], and never io.EOF.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		if r.err != nil {
			return 0, r.err
		}
		if r.cur == len(r.parts) {
			return 0, io.EOF
		}
		if r.pos == 0 {
			if r.err = r.begin(); r.err != nil {
				continue
			}
		}
		n, err := r.readPart(p)
		r.err = err
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// readPart reads from the current payload and moves to the next at its end.
func (r *Reader) readPart(p []byte) (int, error) {
	c := r.parts[r.cur]
	n := min(int64(len(p)), c.ref.Length-r.pos)
	if n > 0 {
		var err error
		if n, err = r.some(c, p[:n]); err != nil {
			return 0, r.fail(c, err)
		}
		r.sum = crc32.Update(r.sum, castagnoli, p[:n])
		r.pos += n
	}
	if r.pos < c.ref.Length {
		return int(n), nil
	}
	if r.sum != r.want {
		return 0, r.corrupt(c, reasonPayload)
	}
	r.cur++
	r.pos = 0
	return int(n), nil
}

// some reads at least one byte of a payload.
func (r *Reader) some(c part, p []byte) (int64, error) {
	at := c.ref.Offset + r.pos
	if len(r.ahead) == 0 && len(p) >= readAhead {
		n, err := c.file.ReadAt(p, at)
		return int64(n), err
	}
	if len(r.ahead) == 0 {
		n, err := c.file.ReadAt(r.buf[:min(readAhead, c.ref.Length-r.pos)], at)
		if n == 0 {
			return 0, err
		}
		r.ahead = r.buf[:n] // what is wrong behind it comes again
	}
	n := copy(p, r.ahead)
	r.ahead = r.ahead[n:]
	return int64(n), nil
}

// begin checks the header of the current payload's frame. A good header
// proves the Ref, so that from there on a mismatch is damage.
func (r *Reader) begin() error {
	c := r.parts[r.cur]
	off := c.ref.Offset - frameHeaderSize
	if off < firstFrame || c.ref.Length < 0 {
		return fmt.Errorf("%w: no record can lie at offset %d", ErrInvalid, c.ref.Offset)
	}
	if r.buf == nil {
		r.buf = aheads.Get().(*[readAhead]byte)
	}
	n, err := c.file.ReadAt(r.buf[:frameHeaderSize+min(readAhead-frameHeaderSize, c.ref.Length)], off)
	if n < frameHeaderSize {
		return r.fail(c, err)
	}
	r.ahead = r.buf[frameHeaderSize:n]
	f, reason := parseFrame(r.buf[:frameHeaderSize], c.seg.seed, off, c.ref.Offset+c.ref.Length)
	if reason == "" && (f.length != c.ref.Length || f.isCommit()) {
		reason = "frame is not the record that was stored"
	}
	if reason != "" {
		return c.seg.corrupt(off, reason) // no quarantine: the Ref may be what is wrong
	}
	r.sum, r.want = c.seg.seed, f.payloadCRC
	return nil
}

// fail turns a failed read into the error to return.
func (r *Reader) fail(c part, err error) error {
	if errors.Is(err, io.EOF) {
		return r.corrupt(c, reasonShort)
	}
	return fmt.Errorf("reading segment %d at offset %d: %w", c.ref.Segment, c.ref.Offset, err)
}

func (r *Reader) corrupt(c part, reason string) error {
	d := c.seg.corrupt(c.ref.Offset-frameHeaderSize, reason)
	r.j.quarantine(c.seg, d)
	return d
}

// ReadAt implements [io.ReaderAt] over the payloads in a row. It checks no checksum.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: negative offset", ErrInvalid)
	}
	var done int
	for _, c := range r.parts {
		if off >= c.ref.Length {
			off -= c.ref.Length
			continue
		}
		n := min(int64(len(p)-done), c.ref.Length-off)
		got, err := c.file.ReadAt(p[done:done+int(n)], c.ref.Offset+off)
		done += got
		if err != nil && int64(got) < n {
			return done, r.fail(c, err)
		}
		if done == len(p) {
			return done, nil
		}
		off = 0
	}
	return done, io.EOF
}

// Close releases the segments. Closing twice is no error.
func (r *Reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed, r.err = true, ErrClosed
	if r.buf != nil {
		aheads.Put(r.buf)
		r.buf, r.ahead = nil, nil
	}
	for _, c := range r.parts {
		r.j.unpin(c.seg)
	}
	return nil
}
