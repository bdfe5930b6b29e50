package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Rebuilt is what Rebuild did.
type Rebuilt struct {
	Messages   int `json:"messages"`
	Unfinished int `json:"unfinished"` // deliveries
	// Records is the number of directory records kept.
	Records int `json:"records"`
	// Suppressions is the number of addresses whose entries on lists were kept,
	// those that were taken off them included.
	Suppressions int `json:"suppressions"`
	// Notifications is the number of events for webhooks that were kept.
	Notifications int `json:"notifications"`
	// Counters is the number of counters of the statistics kept.
	Counters int `json:"counters"`
	// Lost says what is not there any more: directory records that could not be
	// read, damaged parts of the journal. Empty when nothing was lost.
	Lost []string `json:"lost"`
	// Old is the file that was replaced, "" when there was none.
	Old string `json:"old"`
}

// Rebuild makes the view anew from the journal. The directory is taken over
// from the old file as far as that can be read. The old file is kept under
// another name. It works where the old file is damaged or gone.
func Rebuild(ctx context.Context, dir string, opts Options) (Rebuilt, error) {
	opts = opts.withDefaults()
	lock, err := lockDir(dir, opts.LockTimeout)
	if err != nil {
		return Rebuilt{}, err
	}
	defer lock.Close()
	var r Rebuilt
	if err := r.run(ctx, dir, opts); err != nil {
		return r, fmt.Errorf("rebuilding the view: %w", err)
	}
	return r, nil
}

func (r *Rebuilt) run(ctx context.Context, dir string, opts Options) error {
	path := filepath.Join(dir, dbName)
	records, err := r.directory(path, opts)
	if err != nil {
		return err
	}
	fresh := path + ".rebuilt"
	err = createDB(fresh, opts, func(tx *bbolt.Tx) error {
		for k, v := range records {
			if err := tx.Bucket(bucketDirectory).Put([]byte(k), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = r.suppressions(path, fresh, opts)
	}
	var queued *journal.Position
	if err == nil {
		queued, err = r.notifications(path, fresh, opts)
	}
	if err == nil {
		err = r.history(ctx, dir, fresh, opts, queued)
	}
	if err == nil {
		err = r.setAside(path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return replaceFile(fresh, path)
}

// directory returns what can be read of the old file's directory. A file of a newer version
// is refused.
func (r *Rebuilt) directory(path string, opts Options) (map[string][]byte, error) {
	records := map[string][]byte{}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		r.Lost = append(r.Lost, "the directory: "+dbName+" is gone; accounts, servers, streams and tokens must be made again or restored from a backup")
		return records, nil
	}
	db, err := openBolt(path, bbolt.Options{ReadOnly: true, Timeout: opts.LockTimeout})
	if err == nil {
		err = guarded("reading the directory", func() error {
			return db.View(func(tx *bbolt.Tx) error { return readRaw(tx, records) })
		})
		_ = guarded("closing "+dbName, db.Close)
	}
	if errors.Is(err, ErrTooNew) {
		return nil, err
	}
	if err != nil {
		r.Lost = append(r.Lost, fmt.Sprintf("the directory, beyond %d records that could be read: %v", len(records), err))
	}
	r.keepGood(records)
	return records, nil
}

// readRaw copies the directory's records until a page cannot be read.
func readRaw(tx *bbolt.Tx, records map[string][]byte) error {
	if _, err := schemaOf(tx); err != nil {
		return err
	}
	b := tx.Bucket(bucketDirectory)
	if b == nil {
		return fmt.Errorf("bucket %s is missing: %w", bucketDirectory, store.ErrDamaged)
	}
	return b.ForEach(func(k, v []byte) error {
		records[string(k)] = bytes.Clone(v)
		return nil
	})
}

// keepGood drops the records whose checksum is wrong.
func (r *Rebuilt) keepGood(records map[string][]byte) {
	for k, v := range records {
		snap, err := (&store.Snapshot{}).With()
		if err == nil {
			err = readRecord(snap, []byte(k), v)
		}
		if err != nil {
			r.Lost = append(r.Lost, fmt.Sprintf("directory record %x: %v", k, err))
			delete(records, k)
		}
	}
	r.Records = len(records)
}

// suppressions takes over the lists, and what there is of operators, as far as
// the old file can be read.
func (r *Rebuilt) suppressions(path, fresh string, opts Options) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		r.Lost = append(r.Lost, "the suppressions, and the log of interventions: import the former from an export, or restore "+dbName+" from a backup, before anything is sent")
		return nil
	}
	from, err := openBolt(path, bbolt.Options{ReadOnly: true, Timeout: opts.LockTimeout})
	if err != nil {
		r.Lost = append(r.Lost, fmt.Sprintf("the suppressions and the log of interventions: %v", err))
		return nil
	}
	to, err := openDB(fresh, opts)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	bad := 0
	r.Suppressions, bad, err = copySuppressions(from, to)
	operators := r.operators(from, to)
	_ = guarded("closing "+dbName, from.Close)
	if bad > 0 {
		r.Lost = append(r.Lost, fmt.Sprintf("%d suppressions that cannot be made sense of", bad))
	}
	if err != nil && to.healthy() == nil && errors.Is(err, store.ErrDamaged) {
		r.Lost = append(r.Lost, fmt.Sprintf("the suppressions, beyond %d that could be read: %v", r.Suppressions, err))
		err = nil
	}
	return errors.Join(err, operators, to.close())
}

// history makes the mail anew, and keeps the statistics. What happened behind
// queued is queued for webhooks; nothing where that is nil.
func (r *Rebuilt) history(ctx context.Context, dir, fresh string, opts Options, queued *journal.Position) error {
	kept, err := r.statistics(filepath.Join(dir, dbName), fresh, opts)
	if err != nil {
		return err
	}
	if kept == nil {
		return r.mail(ctx, dir, fresh, opts, queued, nil)
	}
	return errors.Join(r.mail(ctx, dir, fresh, opts, queued, kept.has), kept.close())
}

// mail applies the whole journal to the fresh file. silent tells of records
// whose effect is counted already.
func (r *Rebuilt) mail(ctx context.Context, dir, fresh string, opts Options, queued *journal.Position, silent func(*located) bool) error {
	j, err := journal.Open(filepath.Join(dir, journalName), opts.Journal)
	if err != nil {
		return err
	}
	db, err := openDB(fresh, opts)
	if err != nil {
		return errors.Join(err, j.Close())
	}
	var hooks *hooks
	if queued != nil {
		d, err := loadDirectory(db)
		if err != nil {
			return errors.Join(err, db.close(), j.Close())
		}
		hooks = newHooks(db, d.current.Load)
		hooks.from = *queued
	}
	folded, err := fold(ctx, opts, db, j, 0, hooks, silent)
	if err == nil && folded.unreadable > 0 {
		r.Lost = append(r.Lost, fmt.Sprintf("%d journal records that cannot be made sense of", folded.unreadable))
	}
	if err == nil {
		err = db.read(func(tx *bbolt.Tx) error {
			r.Messages = tx.Bucket(bucketMessage).Stats().KeyN
			r.Unfinished = tx.Bucket(bucketQueue).Stats().KeyN
			return nil
		})
	}
	for _, seg := range j.Segments() {
		if seg.Quarantined {
			r.Lost = append(r.Lost, fmt.Sprintf("damaged parts of journal segment %d", seg.Number))
		}
	}
	return errors.Join(err, db.close(), j.Close())
}

// setAside gives the old file a name of its own beside the one that the new file
// takes over. Where the file system has no links it loses that at once.
func (r *Rebuilt) setAside(path string) error {
	old := path + time.Now().UTC().Format(".20060102T150405.000000000Z.old")
	err := os.Link(path, old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(path, old)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.Old = old
	return err
}

// fold applies all of a journal to an empty view. With nil for hooks, what
// happened causes nothing. silent tells of records that the counters have.
func fold(ctx context.Context, opts Options, db *viewDB, j journalFile, epoch uint64, hooks *hooks, silent func(*located) bool) (*Store, error) {
	s := &Store{opts: opts, log: opts.Log, db: db, jour: j, over: newOverlay(opts, j.End), epoch: epoch, grown: map[store.StreamKey]int{}, hooks: hooks, silent: silent}
	if err := s.replay(ctx, journal.Position{}); err != nil {
		return nil, err
	}
	return s, s.checkpoint()
}
