package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// ErrFaulted means that an earlier write failed in a way that only a new
// process can clear up. Nothing was written by the call that returns it.
var ErrFaulted = errors.New("the engine stopped after a fault and must be opened by a new process")

// viewDB is the bbolt file. Its methods turn bbolt's panics into errors and
// stop all writing after a commit whose outcome is not known.
type viewDB struct {
	bolt  *bbolt.DB
	fault func(after bool) error // Options.commitFault

	mu     sync.Mutex
	cause  error
	faults chan error // receives cause once
}

// openDB opens an existing file. The caller has checked its pages.
func openDB(path string, opts Options) (*viewDB, error) {
	v := &viewDB{faults: make(chan error, 1), fault: opts.commitFault}
	var err error
	v.bolt, err = openBolt(path, bbolt.Options{
		Timeout:         opts.LockTimeout,
		FreelistType:    bbolt.FreelistMapType,
		NoFreelistSync:  true,
		InitialMmapSize: int(opts.InitialMmapSize),
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	watchWrites(v.bolt)
	return v, nil
}

// openBolt is bbolt.Open that survives its panics. A panic leaves the file
// open and locked, so it is closed here: the caller may want to try the file
// in another way.
func openBolt(path string, opts bbolt.Options) (db *bbolt.DB, err error) {
	var file *os.File
	opts.OpenFile = func(name string, flag int, perm os.FileMode) (f *os.File, err error) {
		file, err = os.OpenFile(name, flag, perm)
		return file, err
	}
	err = guarded("opening "+dbName, func() (err error) {
		db, err = bbolt.Open(path, 0o600, &opts)
		return err
	})
	if err != nil && file != nil {
		_ = file.Close() // closed already unless bbolt panicked
	}
	return db, err
}

// guarded runs fn, and ends a panic or a fault in mapped memory as an error
// that wraps store.ErrDamaged: this is how bbolt reports a damaged file.
func guarded(doing string, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v: %w", doing, p, store.ErrDamaged)
		}
	}()
	return fn()
}

// read runs fn in a short read transaction. Nothing of the transaction may
// outlive fn.
func (v *viewDB) read(fn func(*bbolt.Tx) error) error {
	return guarded("reading "+dbName, func() error {
		err := v.bolt.View(fn)
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			return store.ErrClosed
		}
		return err
	})
}

// write runs fn in a synced transaction. An error of fn is returned as it is
// and nothing was written. A commit that failed gives store.ErrFull when there
// was no space for one of its writes, which is certain to be before it became visible,
// else store.ErrUnknown; after that every write gives ErrFaulted.
func (v *viewDB) write(fn func(*bbolt.Tx) error) error {
	if err := v.healthy(); err != nil {
		return err
	}
	ran := false
	err := guarded("writing "+dbName, func() error {
		return v.bolt.Update(func(tx *bbolt.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			ran = true
			v.bolt.NoFreelistSync = v.manyFree() // read by the commit, under the same lock
			return v.inject(false)
		})
	})
	if err == nil {
		err = v.inject(true)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrDamaged):
		return v.poison(err)
	case !ran && errors.Is(err, berrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	case !ran:
		return err
	case isUnwritten(err):
		return fmt.Errorf("writing %s: %v: %w", dbName, err, store.ErrFull)
	}
	return v.poison(err)
}

// manyFreePages is where the list of free pages, 8 bytes each, becomes too much to
// write with every commit. A start after a crash that lacks the list reads every page in
// use and maps it in, which are few where many are free.
const manyFreePages = 32 << 10

// manyFree tells whether the next commit should leave the list of free pages out.
func (v *viewDB) manyFree() bool {
	s := v.bolt.Stats()
	return s.FreePageN+s.PendingPageN > manyFreePages
}

// isUnwritten tells whether a write found no space. A sync can say the same (copy
// on write, thin volumes, network file systems), and then the meta page may be
// visible already: bbolt returns that as a bare error number.
func isUnwritten(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Op == "write" && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
}

// inject fails a commit in tests.
func (v *viewDB) inject(after bool) error {
	if v.fault == nil {
		return nil
	}
	return v.fault(after)
}

// poison is one-way: only a new process, which reads the file afresh, can tell
// what is in it.
func (v *viewDB) poison(cause error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause == nil {
		v.cause = cause
		v.faults <- fmt.Errorf("%w: %w", ErrFaulted, cause)
	}
	return fmt.Errorf("committing to %s: %w: %w", dbName, cause, store.ErrUnknown)
}

// healthy returns ErrFaulted after a poisoning.
func (v *viewDB) healthy() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause != nil {
		return fmt.Errorf("%w: %v", ErrFaulted, v.cause)
	}
	return nil
}

// close closes the file. It first writes the list of free pages, however long it is:
// without it the next opening maps in and reads every page.
func (v *viewDB) close() error {
	var err error
	if v.healthy() == nil {
		err = guarded("writing "+dbName, func() error {
			v.bolt.NoFreelistSync = false
			err := v.bolt.Update(func(*bbolt.Tx) error { return nil })
			if isUnwritten(err) {
				return nil // it only saves time
			}
			return err
		})
	}
	return errors.Join(err, guarded("closing "+dbName, v.bolt.Close))
}

// createDB makes the file with its buckets, whole or not at all: bbolt writes
// its first pages in several steps, so they go to a temporary name first.
func createDB(path string, opts Options, fill func(*bbolt.Tx) error) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an unfinished %s: %w", dbName, err)
	}
	v, err := openDB(temp, opts)
	if err != nil {
		return err
	}
	err = v.write(func(tx *bbolt.Tx) error {
		if err := migrate(tx); err != nil || fill == nil {
			return err
		}
		return fill(tx)
	})
	if err = errors.Join(err, v.close()); err != nil {
		return fmt.Errorf("creating %s: %w", dbName, err)
	}
	failpoint.Hit(failpoint.StartCreated)
	return replaceFile(temp, path)
}

// replaceFile moves a finished file to its name and makes that durable.
func replaceFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
