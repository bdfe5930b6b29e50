package journal

import (
	"context"
	"io"
	"log/slog"
)

// MaxType is the largest record type a caller may use; those above are the journal's own.
const MaxType = 0xEF

// Options tune a journal. The zero value is good for production.
type Options struct {
	// SegmentSize is the size of a segment file in bytes. One Append must fit into one segment.
	// Default 64 MiB, at least 32 KiB.
	SegmentSize int64
	// Spares is how many pre-written segments are kept ready for use, made in
	// the background or recycled from released ones. Default 2.
	Spares int
	// MaxBatchBytes bounds the size of one group, except that a larger single Append is a
	// group of its own, and with it the journal's write buffer. Default 4 MiB.
	MaxBatchBytes int64
	// NoPrewrite turns spares off: segments grow as they are written, and
	// released ones are removed. Each fdatasync then takes about twice as long.
	NoPrewrite bool
	// FS is the file system. Default [OS].
	FS FS
	// Log receives what no caller can be told: failures in the background, damage
	// found, segments poisoned. Default: discarded.
	Log *slog.Logger
}

// Journal is an open journal. All methods may be called concurrently.
type Journal struct{}

// Open opens the journal in dir, making the directory if it is missing, and
// recovers it as the package comment describes. Damage does not make Open fail: it is reported
// by [Journal.Recovery] and the segment is quarantined. What Open took for committed
// it has synced.
func Open(dir string, opts Options) (*Journal, error) { return nil, ErrClosed }

// Recovery returns what Open found.
func (j *Journal) Recovery() Recovery { return Recovery{} }

// Append writes recs next to each other, all or none, and returns when they
// are durable. The refs are in the order of recs; the position is just after the last of them, and replaying
// from it yields what was appended later. When ctx ends before the
// records were taken up, its error is returned and nothing is written; after
// that Append waits for the outcome, so that a nil or non-nil error always tells the truth.
func (j *Journal) Append(ctx context.Context, recs ...Record) ([]Ref, Position, error) {
	return nil, Position{}, ErrClosed
}

// AppendDepending is Append for records that refer to staged ones: deps are refs that Stage
// returned. They become durable with recs, and the journal forgets that they are staged. When one of
// them is lost, nothing is written and the error is [ErrStaged].
func (j *Journal) AppendDepending(ctx context.Context, deps []Ref, recs ...Record) ([]Ref, Position, error) {
	return nil, Position{}, ErrClosed
}

// Stage writes a record that is not durable, and that no replay shows, until an
// AppendDepending names it. It may be read at once. Its segment cannot be released until it is committed or
// discarded. The payload may be reused when Stage returns.
func (j *Journal) Stage(ctx context.Context, rec Record) (Ref, error) { return Ref{}, ErrClosed }

// Discard tells the journal that staged records will not be committed. Refs
// that are not staged are ignored.
func (j *Journal) Discard(refs ...Ref) {}

// Reader returns a reader over the payloads of refs, one after the other. Their
// segments stay as they are until the reader is closed, even when released meanwhile.
func (j *Journal) Reader(refs ...Ref) (*Reader, error) { return nil, ErrClosed }

// Read returns one payload, checked.
func (j *Journal) Read(ref Ref) ([]byte, error) { return nil, ErrClosed }

// Reader reads payloads. It is for one goroutine at a time.
type Reader struct{}

// Size returns the number of bytes in all payloads together.
func (r *Reader) Size() int64 { return 0 }

// Read implements [io.Reader]. The last bytes of a payload are returned only when its checksum
// was right; otherwise the error is a *CorruptError, and never io.EOF.
func (r *Reader) Read(p []byte) (int, error) { return 0, io.EOF }

// ReadAt implements [io.ReaderAt] over the concatenated payloads. It checks no checksum.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { return 0, io.EOF }

// Close releases the segments.
func (r *Reader) Close() error { return nil }

// Replay calls fn for every committed record from a position to the end that
// the journal has when Replay is called, in order. It stops with fn's error,
// or with a *CorruptError at the first damage. Segments that were released
// are passed over. Records of one Append follow each other, the last one has Last set.
func (j *Journal) Replay(ctx context.Context, from Position, fn func(Entry) error) error {
	return ErrClosed
}

// Salvage is Replay for a damaged journal: it calls damaged for each place it cannot read and
// goes on at the next good frame. An Append may then lack records, also its last.
func (j *Journal) Salvage(ctx context.Context, from Position, fn func(Entry) error, damaged func(*CorruptError) error) error {
	return ErrClosed
}

// Verify reads every byte of every segment up to its end and returns all damage;
// the segments concerned are quarantined.
func (j *Journal) Verify(ctx context.Context) ([]*CorruptError, error) { return nil, ErrClosed }

// Release tells the journal that nothing in a segment is needed any more. The
// file is recycled or removed once its readers are closed. Releasing a segment twice is no error.
func (j *Journal) Release(segment uint64) error { return ErrClosed }

// Segments describes all segments, oldest first.
func (j *Journal) Segments() []SegmentInfo { return nil }

// End returns the position after the last durable record.
func (j *Journal) End() Position { return Position{} }

// Close commits what is pending, marks the end as proven, and stops the
// background work. Readers that are still open keep working.
func (j *Journal) Close() error { return nil }

// DumpOptions choose what Dump shows.
type DumpOptions struct {
	// FS is the file system. Default [OS].
	FS FS
	// Segment limits the dump to one segment; 0 means all.
	Segment uint64
	// Payload shows the payload of each frame too, as a hexadecimal dump or, with JSON, in base64.
	Payload bool
	// JSON prints one JSON object a line.
	JSON bool
}

// Dump writes one line a frame to w. It only reads, and works on a journal that is open
// elsewhere or damaged: damage is shown as a line with segment and offset.
func Dump(w io.Writer, dir string, opts DumpOptions) error { return ErrClosed }
