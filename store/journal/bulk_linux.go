package journal

import (
	"errors"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// WriteBulkAt writes like WriteAt, and what it can of p past the page cache: pages whose memory lies as the file does,
// as that of a [pageBuffer]. The edges, and everything where the file system does not do this, go by WriteAt.
func (f osFile) WriteBulkAt(p []byte, off int64) (int, error) {
	if err := failpoint.Fail(failpoint.WriteFile); err != nil {
		return 0, err
	}
	head := int(-off & int64(pageSize-1))
	if head >= len(p) || uintptr(unsafe.Pointer(&p[head]))&uintptr(pageSize-1) != 0 {
		return f.File.WriteAt(p, off)
	}
	if n, err := f.File.WriteAt(p[:head], off); err != nil {
		return n, err
	}
	tail := head + (len(p)-head)&^(pageSize-1)
	if err := f.writePast(p[head:tail], off+int64(head)); errors.Is(err, unix.EINVAL) {
		tail = head // not on this file system
	} else if err != nil {
		return head, &os.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	n, err := f.File.WriteAt(p[tail:], off+int64(tail))
	return tail + n, err
}

// writePast writes whole pages past the page cache. The kernel keeps it and the pages of other writers and readers
// coherent (open(2), O_DIRECT). The descriptor is one for the moment, since whoever shares it would have to align too.
func (f osFile) writePast(p []byte, off int64) error {
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return unix.EINVAL // no such file system, or no /proc
	}
	defer unix.Close(fd)
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
		p, off = p[max(n, 0):], off+int64(max(n, 0))
	}
	return nil
}
