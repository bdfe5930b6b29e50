package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// zeroPiece is how much of a new spare is written at once, and
// zeroSyncEvery how much before a sync: small, so that the committer's
// fdatasync never queues behind a whole segment of zeros.
const (
	zeroPiece     = 256 << 10
	zeroSyncEvery = 4 << 20
)

// spares are files of full segment size, every block written and synced, that
// wait to become segments.
type spares struct {
	want chan struct{} // one token: look whether some are missing

	mu    sync.Mutex
	paths []string
	made  uint64 // makes names unique
}

func newSpares() *spares { return &spares{want: make(chan struct{}, 1)} }

func (p *spares) signal() {
	select {
	case p.want <- struct{}{}:
	default:
	}
}

// take removes a spare; empty when there is none.
func (p *spares) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.paths) == 0 {
		return ""
	}
	path := p.paths[0]
	p.paths = p.paths[1:]
	return path
}

func (p *spares) add(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths = append(p.paths, path)
}

func (p *spares) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.paths)
}

// name returns a name that no spare of this process had.
func (p *spares) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	return fmt.Sprintf("%s%016x-%d", sparePrefix, randomUint64(), p.made)
}

func isSpareName(name string) bool {
	return strings.HasPrefix(name, sparePrefix) && strings.HasSuffix(name, spareSuffix)
}

// randomUint64 returns a random number that is not zero.
func randomUint64() uint64 {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails: it ends the process instead
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// spareLoop makes spares whenever it is asked to, until ctx ends.
func (j *Journal) spareLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.spares.want:
		}
		for ctx.Err() == nil && j.spares.count() < j.opts.Spares {
			if err := j.makeSpare(ctx); err != nil {
				if ctx.Err() == nil {
					j.log.Warn("journal: making a spare segment", "error", err)
				}
				break // asked again at the next rotation or release
			}
		}
	}
}

// makeSpare writes and syncs a file of zeros and adds it to the spares.
func (j *Journal) makeSpare(ctx context.Context) error {
	name := j.spares.name()
	temp, path := j.pathOf(name+tempSuffix), j.pathOf(name+spareSuffix)
	f, err := j.fs.Create(temp)
	if err != nil {
		return err
	}
	err = fillZero(ctx, f, j.opts.SegmentSize)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		failpoint.Hit(failpoint.JournalSpareFilled)
		err = j.fs.Rename(temp, path)
	}
	if err != nil {
		_ = j.fs.Remove(temp) // the next Open does it otherwise
		return err
	}
	j.spares.add(path)
	return nil
}

// fillZero writes size zeros and syncs them piecemeal.
func fillZero(ctx context.Context, f File, size int64) error {
	zeros := make([]byte, zeroPiece)
	var unsynced int64
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.WriteAt(zeros[:min(zeroPiece, size-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
		if unsynced += int64(n); unsynced >= zeroSyncEvery || off == size {
			if err := f.Datasync(); err != nil {
				return err
			}
			unsynced = 0
		}
	}
	return nil
}

// createSegment makes a segment from a spare, or from a new empty file, and
// returns it pinned. The header is durable before the segment's name exists,
// and the name before this returns.
func (j *Journal) createSegment(number uint64, prev header) (*segment, error) {
	h := prev
	h.number, h.generation, h.created = number, randomUint64(), time.Now().UTC()
	s := &segment{
		header: h, seed: seedOf(h.generation), path: j.pathOf(segmentName(number)),
		end: firstFrame, staged: map[int64]int64{}, pins: 1,
	}
	f, temp, err := j.openBlank()
	if err != nil {
		return nil, createError(number, err)
	}
	if err := j.christen(s, f, temp); err != nil {
		_ = f.Close()
		_ = j.fs.Remove(temp) // a leftover under either name is recognised by Open
		_ = j.fs.Remove(s.path)
		return nil, createError(number, err)
	}
	s.file = f
	return s, nil
}

func createError(number uint64, err error) error {
	class := ErrSync
	if isNoSpace(err) {
		class = ErrNoSpace
	}
	return fmt.Errorf("%w: making segment %d: %w", class, number, err)
}

// openBlank opens a spare, or a new file when there is none that works.
func (j *Journal) openBlank() (f File, path string, err error) {
	for path = j.spares.take(); path != ""; path = j.spares.take() {
		f, err = j.fs.Open(path, false)
		if err == nil {
			return f, path, nil
		}
		j.log.Warn("journal: opening a spare segment", "path", path, "error", err)
	}
	path = j.pathOf(j.spares.name() + tempSuffix)
	f, err = j.fs.Create(path)
	return f, path, err
}

// christen writes the header of s into f and gives the file its name.
func (j *Journal) christen(s *segment, f File, temp string) error {
	if _, err := f.WriteAt(s.header.encode(), headerOffset); err != nil {
		return err
	}
	failpoint.Hit(failpoint.JournalHeaderWritten)
	if err := f.Datasync(); err != nil {
		return err
	}
	failpoint.Hit(failpoint.JournalHeaderSynced)
	size, err := f.Size()
	if err != nil {
		return err
	}
	s.size = size
	if err := j.fs.Rename(temp, s.path); err != nil {
		return err
	}
	failpoint.Hit(failpoint.JournalNamed)
	err = j.fs.SyncDir(j.dir)
	failpoint.Hit(failpoint.JournalOpened)
	return err
}
