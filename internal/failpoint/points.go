package failpoint

// Points returns every place at which a process can be killed.
func Points() []Point {
	return []Point{
		JournalWriting, JournalWritten, JournalSynced, JournalStaged, JournalSealing, JournalSealWritten, JournalHeaderWritten,
		JournalHeaderSynced, JournalNamed, JournalOpened, JournalSpareFilled, JournalRecycled,
		StoreAhead, StoreClaimed, StoreResolved, ViewFilled, ViewPage, ViewMeta, ViewMetaWritten, ViewCommitted,
		DirectoryCommitted, SuppressionListed, RetentionForgotten, RetentionMoved, RetentionReleasing,
		StartCreated, MigrationCopied, MigrationFilled, MigrationCommitted,
		SMTPDurable, APIDurable, RelayEnding, RelayContent, RelayDot, RelayAnswered, WebhookPosted, WebhookSettled,
	}
}
