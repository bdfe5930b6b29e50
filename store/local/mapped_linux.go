package local

import (
	"os"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// releaseMapped gives back the pages of the bbolt file that opening it mapped
// in: all of them, since bbolt looks for free pages. They stay in the page
// cache and are mapped again when they are read; only the process's resident
// size shrinks. Failure does no harm.
func releaseMapped(db *bbolt.DB) {
	info, err := os.Stat(db.Path())
	if err != nil {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(info.Size()), unix.MADV_DONTNEED)
}
