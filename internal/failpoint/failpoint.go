// Package failpoint names the places between two writes at which a process may
// die, and kills it there on demand.
//
// In the normal build every function of it is empty and inlined away, so that
// the program has no trace of it. Built with the tag failpoints, the program reads
// the environment variable FAILPOINTS once, a comma separated list of
//
//	POINT=kill:N    SIGKILL to the own process when it comes to POINT for the N-th time
//	POINT=eio:N     the N-th call of Fail returns EIO; enospc and erofs likewise
//	POINT=eio:N+    the N-th and every later one
//
// and the numbers below, so that a short run meets what happens once in an hour
// or once in 64 MiB.
//
// It lies below internal, where the helpers of tests are, and it may be imported
// by packages that otherwise import none of ours: it imports nothing but the
// standard library, and in the normal build it is nothing.
package failpoint

// Point is a place in the program.
type Point string

// Number is an environment variable that replaces a number of the program.
type Number string

// The numbers.
const (
	// SegmentBytes is the size of a new segment of the journal.
	SegmentBytes Number = "FAILPOINT_SEGMENT_BYTES"
	// RetentionNanos is how long finished messages are kept.
	RetentionNanos Number = "FAILPOINT_RETENTION_NANOS"
	// RetainNanos is the time between two looks for what is older than that.
	RetainNanos Number = "FAILPOINT_RETAIN_NANOS"
)

// The places of the journal.
const (
	// JournalWriting: a group is encoded, nothing of it is written.
	JournalWriting Point = "journal-writing"
	// JournalWritten: a group is written and not synced.
	JournalWritten Point = "journal-written"
	// JournalSynced: a group is durable and nobody has been told.
	JournalSynced Point = "journal-synced"
	// JournalStaged: a piece of a large body is written, neither synced nor named by a record.
	JournalStaged Point = "journal-staged"
	// JournalSealing: a segment is full and marked, and has no seal.
	JournalSealing Point = "journal-sealing"
	// JournalSealWritten: the seal is written and not synced.
	JournalSealWritten Point = "journal-seal-written"
	// JournalHeaderWritten: the header of a new segment is written and not synced.
	JournalHeaderWritten Point = "journal-header-written"
	// JournalHeaderSynced: the header of a new segment is durable and the file has not its name.
	JournalHeaderSynced Point = "journal-header-synced"
	// JournalNamed: a new segment has its name, and the directory is not synced.
	JournalNamed Point = "journal-named"
	// JournalOpened: a new segment is durable and empty.
	JournalOpened Point = "journal-opened"
	// JournalSpareFilled: a spare segment is synced and still has a temporary name.
	JournalSpareFilled Point = "journal-spare-filled"
	// JournalRecycled: a released segment has become a spare, and the directory is not synced.
	JournalRecycled Point = "journal-recycled"
)

// The places of the engine.
const (
	// StoreAhead: a group is durable in the journal, and the memory does not know it.
	StoreAhead Point = "store-ahead"
	// StoreClaimed: a claim is durable, and the remote has not been dialled.
	StoreClaimed Point = "store-claimed"
	// StoreResolved: a result is durable, and the dispatcher does not know it.
	StoreResolved Point = "store-resolved"
	// ViewFilled: the transaction of a checkpoint is complete, and nothing of it is written.
	ViewFilled Point = "view-filled"
	// ViewPage: one more page of a bbolt transaction is written, none is synced.
	ViewPage Point = "view-page"
	// ViewMeta: the pages of a bbolt transaction are synced, its meta page is not written.
	ViewMeta Point = "view-meta"
	// ViewMetaWritten: the meta page is written and not synced.
	ViewMetaWritten Point = "view-meta-written"
	// ViewCommitted: the view is ahead of what the process knows of it.
	ViewCommitted Point = "view-committed"
	// DirectoryCommitted: a change of the directory is durable and nobody has been told.
	DirectoryCommitted Point = "directory-committed"
	// SuppressionListed: an address is on a list, and the result that put it there is not recorded.
	SuppressionListed Point = "suppression-listed"
	// RetentionForgotten: old messages are forgotten, and their segments not released.
	RetentionForgotten Point = "retention-forgotten"
	// RetentionMoved: a message has been copied out of an old segment that is not released.
	RetentionMoved Point = "retention-moved"
	// RetentionReleasing: nothing needs a segment any more, and it is not released.
	RetentionReleasing Point = "retention-releasing"
	// StartCreated: a new bbolt file is complete under a temporary name.
	StartCreated Point = "start-created"
	// MigrationCopied: the copy of an older bbolt file is made, and the file is not migrated.
	MigrationCopied Point = "migration-copied"
	// MigrationFilled: the transaction of a migration is complete, and nothing of it is written.
	MigrationFilled Point = "migration-filled"
	// MigrationCommitted: the file is migrated.
	MigrationCommitted Point = "migration-committed"
)

// The places of the two sides that speak with others.
const (
	// SMTPDurable: a message is durable, and 250 is not written.
	SMTPDurable Point = "smtp-durable"
	// APIDurable: a message is durable, and 200 is not written.
	APIDurable Point = "api-durable"
	// RelayEnding: it is recorded that the content is about to be ended.
	RelayEnding Point = "relay-ending"
	// RelayContent: the content is on its way to the remote, without the final dot.
	RelayContent Point = "relay-content"
	// RelayDot: the final dot is sent and not answered.
	RelayDot Point = "relay-dot"
	// RelayAnswered: the answer to the final dot has been read and is recorded nowhere.
	RelayAnswered Point = "relay-answered"
	// WebhookPosted: an endpoint has answered, and the result is recorded nowhere.
	WebhookPosted Point = "webhook-posted"
	// WebhookSettled: the results of webhooks are durable, and their sender does not know it.
	WebhookSettled Point = "webhook-settled"
)

// Faults that Fail returns, each a place where a file is written or synced.
const (
	// WriteFile: bytes are written to a file of the journal.
	WriteFile Point = "write-file"
	// SyncFile: a file of the journal is synced.
	SyncFile Point = "sync-file"
	// WriteView: a page of the bbolt file is written.
	WriteView Point = "write-view"
)
