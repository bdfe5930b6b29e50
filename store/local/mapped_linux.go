package local

import (
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// releaseMapped gives back the pages of the bbolt file that were mapped in by
// reading them. They stay in the page cache and are mapped again when they are
// read; only the process's resident size shrinks. Failure does no harm.
//
// The transaction keeps the mapping where it is, and all of its own size is within
// it. The file can be larger: behind the mapping lies memory of somebody else.
func releaseMapped(tx *bbolt.Tx) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
}
