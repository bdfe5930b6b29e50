package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process has the directory open.
var ErrLocked = errors.New("the data directory is in use by another process")

const lockRetry = 25 * time.Millisecond

// lockDir takes the directory's lock. It is a file of its own, not bbolt's
// lock, because Rebuild and the first creation replace the bbolt file, and
// because the journal takes none. The lock goes with the process.
func lockDir(dir string, timeout time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock file: %w", err)
	}
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockRetry) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			err = fmt.Errorf("locking %s: %w", f.Name(), err)
			break
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("%s: %w", dir, ErrLocked)
			break
		}
	}
	_ = f.Close()
	return nil, err
}
