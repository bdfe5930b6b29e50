package journal

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// DumpOptions choose what Dump shows.
type DumpOptions struct {
	// FS is the file system. Default [OS].
	FS FS
	// Segment limits the dump to one segment; 0 means all.
	Segment uint64
	// Payload shows the payload of each frame too: as a hexadecimal dump or, with JSON, in base64.
	Payload bool
	// JSON prints one JSON object a line.
	JSON bool
}

// dumpLine is one line of a dump.
type dumpLine struct {
	Segment    uint64     `json:"segment"`
	Offset     int64      `json:"offset"`
	Kind       string     `json:"kind"` // segment, record, staged, commit, seal, damage, end
	Type       byte       `json:"type,omitempty"`
	Length     int64      `json:"length,omitempty"`
	Last       bool       `json:"last,omitempty"`
	Generation uint64     `json:"generation,omitempty,string"`
	Start      int64      `json:"start,omitempty"`
	Frames     uint32     `json:"frames,omitempty"`
	Time       *time.Time `json:"time,omitempty"`
	Note       string     `json:"note,omitempty"`
	Payload    []byte     `json:"payload,omitempty"`
}

// Dump writes one line a frame to w. It only reads, and works on a journal that is open
// elsewhere or damaged: damage is shown as a line with segment and offset, and
// the dump goes on behind it. Frames behind the last commit frame are shown too,
// followed by a line that says where the committed ones end. Its error is for files that cannot be read.
func Dump(w io.Writer, dir string, opts DumpOptions) error {
	if opts.FS == nil {
		opts.FS = OS{}
	}
	names, err := opts.FS.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("dumping journal: %w", err)
	}
	out := bufio.NewWriter(w)
	d := &dumper{opts: opts, w: out}
	for _, name := range names {
		number, ok := parseSegmentName(name)
		if !ok || (opts.Segment != 0 && opts.Segment != number) {
			continue
		}
		if err := d.segment(filepath.Join(dir, name), number); err != nil {
			return fmt.Errorf("dumping %s: %w", name, err)
		}
	}
	return out.Flush()
}

type dumper struct {
	opts   DumpOptions
	w      *bufio.Writer
	number uint64
}

// segment dumps one file. It is read without the journal's knowledge, so it
// may vanish or be recycled meanwhile; checksums tell.
func (d *dumper) segment(path string, number uint64) error {
	f, err := d.opts.FS.Open(path, true)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, firstFrame)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	c := &candidate{segment: &segment{path: path, end: firstFrame, size: size}}
	d.number = number
	if err := c.parse(number, b); err != nil {
		return d.print(dumpLine{Kind: "damage", Note: err.Error()})
	}
	if err := d.head(c); err != nil || c.generation == 0 {
		return err
	}
	return d.frames(newScanner(f, c.generation, firstFrame, size), c.sealEnd)
}

// head prints what the blocks before the first frame say.
func (d *dumper) head(c *candidate) error {
	for _, damage := range c.damage {
		if err := d.print(dumpLine{Kind: "damage", Offset: damage.Offset, Note: damage.Reason}); err != nil {
			return err
		}
	}
	note := fmt.Sprintf("%d bytes", c.size)
	if c.prevNumber != 0 {
		note += fmt.Sprintf(", segment %d ends at %d", c.prevNumber, c.prevEnd)
	}
	line := dumpLine{Kind: "segment", Generation: c.generation, Note: note}
	if c.headerOK {
		line.Time = &c.created
	}
	if err := d.print(line); err != nil {
		return err
	}
	if c.sealBad != "" {
		return d.print(dumpLine{Kind: "damage", Offset: sealOffset, Note: c.sealBad})
	}
	if c.sealEnd != 0 {
		return d.print(dumpLine{Kind: "seal", Offset: sealOffset, Note: fmt.Sprintf("ends at %d", c.sealEnd)})
	}
	return nil
}

// frames prints all frames. sealEnd is 0 for a segment without a seal, whose
// end is found by the rule of the package comment.
func (d *dumper) frames(s *scanner, sealEnd int64) error {
	end := int64(firstFrame)
	for {
		f, err := s.next(true)
		var bad *badFrame
		switch {
		case err == nil:
			if f.isCommit() {
				end = f.end()
			}
			if err := d.frame(s, f); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return d.print(dumpLine{Kind: "end", Offset: end})
		case errors.As(err, &bad):
			more, err := d.bad(s, bad, sealEnd, end)
			if !more {
				return err
			}
		default:
			return err
		}
	}
}

// bad prints a bad frame and moves behind it; more is false at the end.
func (d *dumper) bad(s *scanner, bad *badFrame, sealEnd, end int64) (more bool, err error) {
	proven := sealEnd > bad.off
	if sealEnd == 0 {
		if _, proven, _, err = s.findProof(bad.off); err != nil {
			return false, err
		}
	}
	if !proven {
		return false, d.print(dumpLine{Kind: "end", Offset: end, Note: fmt.Sprintf("at %d: %s", bad.off, bad.reason)})
	}
	if err := d.print(dumpLine{Kind: "damage", Offset: bad.off, Note: bad.reason}); err != nil {
		return false, err
	}
	if bad.headerOK {
		s.seek(bad.frame.end(), true)
		return true, nil
	}
	if err := s.resync(bad.off + 1); err != nil {
		if errors.Is(err, io.EOF) {
			err = d.print(dumpLine{Kind: "end", Offset: end})
		}
		return false, err
	}
	return true, nil
}

// frame prints a good frame.
func (d *dumper) frame(s *scanner, f frame) error {
	line := dumpLine{Offset: f.off, Kind: "record", Type: f.typ, Length: f.length, Last: f.flags&flagLast != 0}
	payload, err := s.payload(f)
	if err != nil {
		return err
	}
	switch {
	case f.isCommit():
		c := parseCommit(payload)
		line.Kind, line.Type, line.Length = "commit", 0, 0
		line.Start, line.Frames, line.Time = c.start, c.frames, &c.at
	case f.isStaged():
		line.Kind = "staged"
	}
	if d.opts.Payload && !f.isCommit() {
		line.Payload = payload
	}
	return d.print(line)
}

// print writes one line, and its payload below it.
func (d *dumper) print(l dumpLine) error {
	l.Segment = d.number
	if d.opts.JSON {
		b, err := json.Marshal(l)
		if err != nil {
			return err
		}
		_, err = d.w.Write(append(b, '\n'))
		return err
	}
	if _, err := fmt.Fprintf(d.w, "%d:%d %s%s\n", l.Segment, l.Offset, l.Kind, l.details()); err != nil {
		return err
	}
	if len(l.Payload) == 0 {
		return nil
	}
	_, err := d.w.WriteString(hex.Dump(l.Payload))
	return err
}

// details are the fields that matter for the kind of line, for people.
func (l dumpLine) details() string {
	var s string
	switch l.Kind {
	case "record", "staged":
		s = fmt.Sprintf(" type=%d length=%d", l.Type, l.Length)
		if l.Last {
			s += " last"
		}
	case "commit":
		s = fmt.Sprintf(" start=%d frames=%d", l.Start, l.Frames)
	case "segment":
		s = fmt.Sprintf(" generation=%016x", l.Generation)
	}
	if l.Time != nil {
		s += " " + l.Time.Format(time.RFC3339Nano)
	}
	if l.Note != "" {
		s += ": " + l.Note
	}
	return s
}
