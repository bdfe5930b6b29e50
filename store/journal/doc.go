// Package journal keeps append-only segments of framed records and makes them
// durable in groups. It knows nothing of mail: a record is a type byte and a
// payload.
//
// # Promise
//
// A nil error from [Journal.Append] means that all its records were written
// and covered by a successful fdatasync before the call returned. They are
// there after any crash, kill or power cut, all of them or (when Append never
// returned nil) possibly none of them, never a part. An Append that returned
// an error other than the caller's own context error is not there after a
// restart either; the one exception is described under "Errors".
//
// # How it is written
//
// One goroutine, the committer, is the only writer of segments. It takes
// everything that is pending, writes it with one pwrite, closes it with a
// commit frame, calls fdatasync once and wakes every caller. There is no timer:
// callers that arrive during the fdatasync make the next group. Chunks handed to
// [Journal.Stage] are written by the same goroutine without a sync; the
// fdatasync of the Append that names them covers them.
//
// A segment is sealed by a seal block of its own, written and synced after
// its last group, and by the header of its successor, which repeats where it
// ends. format.go has the layout byte by byte.
//
// # Recovery: what is a tail and what is damage
//
// Every commit frame carries the offset at which its group starts, which is
// where the previous group ended. The committer writes a group only after the
// fdatasync of the previous one succeeded, so a valid commit frame that starts at S
// proves that every byte before S was durable when the frame was written. Open
// reads the last segment from its beginning. When it meets a bad frame at X it
// searches the rest of the segment for valid commit frames of the same generation:
//
//   - one of them starts after X: the bytes at X had been durable, and are not
//     what was written. That is damage: it is reported as a [CorruptError] with
//     segment and offset, the segment is quarantined (kept, readable where it is
//     good, never written, never recycled), and reading resumes at that start.
//   - none does: X lies in the one group that had not been acknowledged, whatever
//     subset of its pages reached the disk, even with its commit frame among
//     them. That is a tail: it is cut at the last good commit.
//
// So an acknowledged group is never cut, because the frames of an acknowledged
// group were durable before a crash could tear anything; and a torn group never
// looks like damage, because no commit frame that starts behind it was ever
// written. A segment whose tail was cut is not written again: the journal goes
// on in a new segment whose header says where the old one ends.
//
// In a sealed segment everything up to the recorded end had been durable, so any
// bad frame there is damage. Open reads only headers and seals of those;
// [Journal.Verify] reads every byte.
//
// A quarantined segment has a text file beside it that lists the damage, so that every
// later Open reports it too. It goes away only by hand: salvage what is needed (see
// [Journal.Salvage] and [Dump]), close the journal, remove both files.
//
// The limit of the rule: bits that rot in the very last group of a journal that
// was not closed cannot be told from a torn write. Close therefore ends with an
// empty commit frame, which turns everything before it into proven ground.
//
// A commit frame also carries a checksum over the checksums of its group's
// frames, so that a group torn over the remains of an earlier failed one cannot
// be completed by them. Frame checksums are seeded with the segment's generation, a random
// number, and with the offset: neither the old frames of a recycled segment nor
// a payload that contains a copy of a journal can be taken for frames.
//
// # Speed
//
// An fdatasync of blocks that were written before is about half as dear as one
// that must also record new blocks. Segments are therefore zero-filled in the
// background before they are used, or are old ones that were released: their bytes stay until
// they are overwritten, and never validate. Recycling is free; zero-filling costs each byte a second write, and
// under a load that fills segments faster than they are released it costs more than it saves.
//
// # Errors
//
// A failed fdatasync, and a failed write other than for want of space, poisons the segment: after it the kernel may
// have thrown the dirty pages away and a second fsync would report success.
// The whole group fails with [ErrSync], the descriptor is never synced again, and the next group opens a new segment whose
// header records the end of the last good group, so the failed group does not come back. Its commit frame is also overwritten,
// without a sync; only when no new segment could be made before the machine lost
// power can the failed group be found complete by the next Open.
//
// A write that fails for want of space fails its group with [ErrNoSpace] and
// poisons nothing. The next group is written over its remains, so the journal
// works again as soon as there is space.
//
// # Duties of the caller
//
// One process opens a directory at a time; the journal takes no lock. Release is
// for segments wholly before the caller's applied position, in which nothing is
// needed any more. Stragglers are the caller's to copy: append them again, then
// release.
package journal
