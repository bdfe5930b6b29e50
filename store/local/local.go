package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

var _ store.Store = (*Store)(nil)

// journalFile is what the engine needs of the journal.
type journalFile interface {
	AppendDepending(ctx context.Context, deps []journal.Ref, recs ...journal.Record) ([]journal.Ref, journal.Position, error)
	Stage(ctx context.Context, rec journal.Record) (journal.Ref, error)
	Discard(refs ...journal.Ref)
	Reader(refs ...journal.Ref) (*journal.Reader, error)
	Salvage(ctx context.Context, from journal.Position, fn func(journal.Entry) error, damaged func(*journal.CorruptError) error) error
	Release(segment uint64) error
	SetAside(segment uint64) error
	Segments() []journal.SegmentInfo
	Verify(ctx context.Context) ([]*journal.CorruptError, error)
	End() journal.Position
	Close() error
}

// Store is an open engine. All methods may be called concurrently.
type Store struct {
	root  string
	opts  Options
	log   *slog.Logger
	lock  *os.File
	db    *viewDB
	dir   *directory
	jour  journalFile
	over  *overlay
	keys  *keyLocks
	lists suppressions
	hooks *hooks // nil in what only folds the journal
	space space
	// epoch tells the leases of this process from those of earlier ones, which
	// are void. It is random: should two be equal, an old lease is waited for.
	epoch uint64
	// silent tells of a record in a rebuild whether the counters have it; nil: no.
	silent func(*located) bool
	// unreadable counts the journal records that the replay could not make
	// sense of although their checksum was right. It does not change after Open.
	unreadable int

	checkpointing sync.Mutex              // one checkpoint at a time; held across its transaction on purpose
	position      journal.Position        // of the view; guarded by checkpointing
	grown         map[store.StreamKey]int // messages that streams got since their last search block was made; guarded by checkpointing
	pruning       sync.Mutex              // one Prune at a time

	loop    sync.WaitGroup // the checkpoint loop
	stop    chan struct{}
	closing chan struct{}

	mu     sync.Mutex // guards closed and the start of calls
	closed bool
	calls  sync.WaitGroup
}

// Open opens the engine in dir, making it where there is none. It fails with
// ErrLocked when another process has it open, ErrTooNew when a newer version
// wrote it, and with an error that wraps store.ErrDamaged and says what to do
// when the bbolt file is damaged or gone.
func Open(dir string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	lock, err := lockDir(dir, opts.LockTimeout)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(dir, opts)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("opening data directory %s: %w", dir, err)
	}
	s.lock = lock
	return s, nil
}

// openLocked is Open for who has the directory's lock.
func openLocked(dir string, opts Options) (*Store, error) {
	db, err := openView(dir, opts)
	if err != nil {
		return nil, err
	}
	s, err := assemble(dir, opts, db)
	if err != nil {
		return nil, errors.Join(err, db.close())
	}
	if err := s.recover(context.Background()); err != nil {
		return nil, errors.Join(err, s.jour.Close(), db.close())
	}
	s.loop.Go(s.checkpointLoop)
	return s, nil
}

func assemble(dir string, opts Options, db *viewDB) (*Store, error) {
	directory, err := loadDirectory(db)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(filepath.Join(dir, journalName), opts.Journal)
	if err != nil {
		return nil, err
	}
	hooks := newHooks(db, directory.current.Load)
	return &Store{
		root: dir, opts: opts, log: opts.Log, db: db, dir: directory, jour: j,
		over:  newOverlay(opts, j.End),
		keys:  newKeyLocks(),
		lists: suppressions{db: db, hooks: hooks},
		hooks: hooks,
		space: space{dir: dir, minFree: opts.MinFree, measure: opts.space},
		grown: map[store.StreamKey]int{},
		epoch: uint64(rand.Uint32()) + 1,
		stop:  make(chan struct{}), closing: make(chan struct{}),
	}, nil
}

// openView opens the bbolt file, or creates it in a directory without mail.
func openView(dir string, opts Options) (*viewDB, error) {
	path := filepath.Join(dir, dbName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createFirst(dir, path, opts); err != nil {
			return nil, err
		}
	}
	if err := checkPages(path); err != nil {
		return nil, fmt.Errorf("%w; mailchute check --rebuild makes it anew from the journal", err)
	}
	db, err := openDB(path, opts)
	if err != nil {
		return nil, err
	}
	if err := upgrade(db, path); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

func createFirst(dir, path string, opts Options) error {
	segments, err := filepath.Glob(filepath.Join(dir, journalName, "*.seg"))
	if err != nil {
		return err
	}
	if len(segments) > 0 {
		return fmt.Errorf("%s is gone but there is a journal: restore the file from a backup, or run mailchute check --rebuild, which brings the mail back but not accounts and tokens: %w", dbName, store.ErrDamaged)
	}
	return createDB(path, opts, nil)
}

// enter begins a call; leave ends it. Close waits for calls that have begun.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) leave() { s.calls.Done() }

// Fault returns a channel that gets one error, when the engine has stopped
// writing for good and the process should exit and start again.
func (s *Store) Fault() <-chan error { return s.db.faults }

// Healthy returns ErrFaulted when the engine has stopped writing for good.
func (s *Store) Healthy() error { return s.db.healthy() }

// Close implements store.Store. It ends Watch, waits for calls under way, and
// brings the view up to date. Bodies that are being read stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.closing)
	s.calls.Wait()
	close(s.stop)
	s.loop.Wait()
	var err error
	if s.db.healthy() == nil {
		err = s.checkpoint()
	}
	if err = errors.Join(err, s.jour.Close(), s.db.close(), s.lock.Close()); err != nil {
		return fmt.Errorf("closing data directory %s: %w", s.root, err)
	}
	return nil
}
