package local

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/mailchute/mailchute/store/journal"
)

// Options tune an engine. The zero value is good for production.
type Options struct {
	// Journal tunes the journal; its Log is Options.Log where it is nil. With a
	// SegmentSize under 512 KiB large bodies do not fit.
	Journal journal.Options
	// LockTimeout is how long Open waits for another process to let go of the
	// directory. Default 1 s.
	LockTimeout time.Duration
	// InitialMmapSize is the address space in bytes reserved for the bbolt
	// file. Growing beyond it stops all readers for a moment. Default 8 GiB.
	InitialMmapSize int64
	// CheckpointEvery is the longest time that the view is behind. Default 500 ms.
	CheckpointEvery time.Duration
	// MaxOverlay bounds the messages that are newer than the view. Default 32,768.
	MaxOverlay int
	// MaxOverlayBytes bounds their memory, in encoded bytes without bodies.
	// Default 64 MiB.
	MaxOverlayBytes int64
	// MinFree is the free space in bytes under which new mail is refused with
	// store.ErrFull. 0 means 512 MiB or a twentieth of the file system, whichever
	// is more; a negative number means no limit.
	MinFree int64
	// Log receives what no caller can be told. Default: discarded.
	Log *slog.Logger

	// blockSize is how many messages a search block has, at most maxBlock, which
	// is the default. Tests make it smaller.
	blockSize int
	// space replaces the measurement of free space in tests.
	space func(dir string) (free, total int64, err error)
	// commitFault fails bbolt commits in tests, before or after they took effect.
	commitFault func(after bool) error
}

func (o Options) withDefaults() Options {
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	if o.InitialMmapSize <= 0 {
		o.InitialMmapSize = 8 << 30
	}
	if strconv.IntSize == 32 {
		o.InitialMmapSize = min(o.InitialMmapSize, 512<<20)
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = 500 * time.Millisecond
	}
	if o.MaxOverlay <= 0 {
		o.MaxOverlay = 32768
	}
	if o.MaxOverlayBytes <= 0 {
		o.MaxOverlayBytes = 64 << 20
	}
	if o.blockSize <= 0 {
		o.blockSize = maxBlock
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Journal.Log == nil {
		o.Journal.Log = o.Log
	}
	if o.space == nil {
		o.space = diskSpace
	}
	return o
}
