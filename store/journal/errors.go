package journal

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrClosed means that the journal was closed before the call could be served.
	ErrClosed = errors.New("journal: closed")

	// ErrSync means that a group could not be made durable: nothing of it will be
	// there after a restart, and the caller may try again. It is temporary.
	ErrSync = errors.New("journal: not made durable")

	// ErrStaged means that a staged record named by an Append cannot be committed:
	// its segment was poisoned before it became durable, or it was discarded,
	// or already committed. The caller must stage it again. It is temporary.
	ErrStaged = errors.New("journal: staged record is gone")

	// ErrNoSpace means that the disk or a quota is full. Nothing was committed,
	// and the journal works again as soon as there is space. It is temporary.
	// The error of the operating system is wrapped too.
	ErrNoSpace = errors.New("journal: no space")

	// ErrTooLarge means that the records of one call do not fit into an empty segment.
	// It is permanent: stage the large part in chunks instead.
	ErrTooLarge = errors.New("journal: larger than a segment")

	// ErrInvalid means that a record has type 0 or a reserved type, or that a
	// call has no record at all. It is the caller's mistake.
	ErrInvalid = errors.New("journal: invalid record")

	// ErrNotFound means that a Ref or a segment number names nothing that the
	// journal has: the segment was released, or never existed.
	ErrNotFound = errors.New("journal: no such segment")

	// ErrInUse means that a segment cannot be released: it is the one being
	// written, it is quarantined, or staged records in it are neither committed nor discarded.
	ErrInUse = errors.New("journal: segment in use")

	// ErrPosition means that a replay was asked to start behind the journal's
	// end: the caller's view is newer than the journal it belongs to.
	ErrPosition = errors.New("journal: position is behind the end")
)

// CorruptError reports bytes that had been durable and are not what was written.
type CorruptError struct {
	// Segment is the number of the damaged segment.
	Segment uint64
	// Path is the file of the segment, as the journal named it when it found the damage.
	Path string
	// Offset is where in the file the first damaged frame (or block) begins, in bytes.
	Offset int64
	// Reason says which check failed.
	Reason string
}

// Error names segment, offset, reason and file.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal: segment %d is damaged at offset %d: %s (%s)", e.Segment, e.Offset, e.Reason, e.Path)
}

// isNoSpace reports whether err says that the disk or a quota is full.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
