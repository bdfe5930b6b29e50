package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync flushes the data and the size of f, but not its times. It repeats a
// call that a signal interrupted, which is not a failed sync.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == unix.EINTR {
			continue
		}
		return os.NewSyscallError("fdatasync", err)
	}
}
