package journal

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/mailchute/mailchute/internal/failpoint"
)

const (
	defaultSegmentSize   = 64 << 20
	minSegmentSize       = 32 << 10
	defaultSpares        = 2
	defaultMaxBatchBytes = 4 << 20
)

// Options tune a journal. The zero value is good for production.
type Options struct {
	// SegmentSize is the size of a segment file in bytes. One Append must fit into one segment.
	// Default 64 MiB, at least 32 KiB. It may change between two Opens.
	SegmentSize int64
	// Spares is how many pre-written segments are kept ready for use, made in
	// the background or recycled from released ones. Default 2. The first is made
	// when a sixteenth of a segment has been written, so a small journal stays small, and
	// none while groups are so large that writing a file beforehand costs more than it saves.
	Spares int
	// MaxBatchBytes bounds the size of one group in bytes, except that a larger single Append is a
	// group of its own, and the journal's write buffer. Default 4 MiB.
	MaxBatchBytes int64
	// NoPrewrite turns spares off: segments grow as they are written, and
	// released ones are removed. Each fdatasync then takes up to twice as long.
	NoPrewrite bool
	// FS is the file system. Default [OS].
	FS FS
	// Log receives what no caller can be told: failures in the background, damage
	// found, segments poisoned. Default: discarded.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.SegmentSize == 0 {
		o.SegmentSize = failpoint.Tune(failpoint.SegmentBytes, defaultSegmentSize)
	}
	o.SegmentSize = max(o.SegmentSize, minSegmentSize)
	if o.Spares == 0 {
		o.Spares = defaultSpares
	}
	if o.MaxBatchBytes <= 0 {
		o.MaxBatchBytes = defaultMaxBatchBytes
	}
	if o.FS == nil {
		o.FS = OS{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Journal is an open journal. All methods may be called concurrently.
type Journal struct {
	dir  string
	opts Options
	fs   FS
	log  *slog.Logger

	queue    *queue
	spares   *spares
	work     sync.WaitGroup // committer and spare maker
	stop     context.CancelFunc
	recovery Recovery

	// disposing serialises what happens to files besides the committer's: released segments,
	// notes of damage. It is held across I/O and taken before mu.
	disposing sync.Mutex

	// mu guards the segment table and the fields of its segments. It is never held across I/O.
	mu       sync.Mutex
	segments []*segment // by number
	active   *segment   // being written; nil when the next Append must open one
	next     uint64     // number of the next segment

	// w is the committer's alone, and of Open and Close while it does not run.
	w writer
}

// Open opens the journal in dir, making the directory if it is missing, and
// recovers it as the package comment describes. Damage does not make Open fail: it is reported
// by [Journal.Recovery] and the segment is quarantined. What Open took for committed
// it has synced. It is an error when the last segment cannot be read at all,
// because then nothing says where the journal ends.
func Open(dir string, opts Options) (*Journal, error) {
	opts = opts.withDefaults()
	j := &Journal{dir: dir, opts: opts, fs: opts.FS, log: opts.Log, queue: newQueue(), spares: newSpares(), next: 1}
	if err := j.recover(); err != nil {
		j.closeFiles()
		return nil, fmt.Errorf("opening journal %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	j.stop = cancel
	j.work.Go(j.commitLoop)
	if !opts.NoPrewrite {
		j.work.Go(func() { j.spareLoop(ctx) })
	}
	return j, nil
}

// Recovery returns what Open found.
func (j *Journal) Recovery() Recovery { return j.recovery }

// Segments describes all segments, oldest first.
func (j *Journal) Segments() []SegmentInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	infos := make([]SegmentInfo, 0, len(j.segments))
	for _, s := range j.segments {
		infos = append(infos, s.info(s == j.active))
	}
	return infos
}

// End returns the position after the last durable record.
func (j *Journal) End() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.endLocked()
}

func (j *Journal) endLocked() Position {
	if len(j.segments) == 0 {
		return Position{}
	}
	last := j.segments[len(j.segments)-1]
	return Position{Segment: last.number, Offset: last.end}
}

// Close commits what is pending, marks the end as proven, and stops the
// background work. Calls that come later fail with [ErrClosed]; readers that are still open
// keep working. An error means that the mark could not be written, not that anything
// acknowledged is lost.
func (j *Journal) Close() error {
	if !j.queue.close() {
		return nil
	}
	j.stop()
	j.work.Wait()
	err := j.w.mark(j)
	j.closeFiles()
	if err != nil {
		return fmt.Errorf("closing journal: %w", err)
	}
	return nil
}

// closeFiles gives up the committer's own pin.
func (j *Journal) closeFiles() {
	j.mu.Lock()
	s := j.active
	j.active = nil
	j.mu.Unlock()
	if s != nil {
		j.unpin(s)
	}
}
