// Package local is the embedded engine of mailchute: one process, one
// directory, no server.
//
// # How it keeps its promises
//
// Mail is written to a journal first (package journal) and is durable when the
// journal's group has been synced. The state that the journal's records add up
// to, the view, lives in a bbolt file that follows behind: at least twice a
// second one synced transaction writes the net state of every message that
// changed, together with the journal position that it stands for. Messages
// newer than the view are held in memory, in the overlay; every read looks
// there first, so each write that returned is seen. Start-up replays only what
// the view lacks. The view can be deleted and is made anew by [Rebuild].
//
// The directory (accounts, servers, streams, tokens …) is written to the same
// bbolt file synchronously and is not in the journal. Readers get it from
// memory. The suppression lists and the events that wait for webhooks lie there
// alone too; what an event of a message causes is queued by the transaction that
// brings it into the view.
//
// # Files of the directory, mode 0700
//
//	mailchute.db    bbolt: directory and view (keys.go has the layout)
//	journal/        segments, see package journal
//	lock            held with flock while an engine is open
//
// # Faults
//
// A bbolt commit that fails may be visible all the same. The engine then stops
// for good: that call gives store.ErrUnknown, later ones [ErrFaulted], and
// [Store.Fault] tells the process to exit and start again. A damaged bbolt page
// makes bbolt panic; the panic ends as an error that wraps store.ErrDamaged.
// A commit that failed for want of space is certain not to have happened and
// is tried again.
//
// # Backpressure
//
// The overlay is bounded by Options.MaxOverlay and MaxOverlayBytes. A write
// that would exceed them waits for the next checkpoint.
package local
