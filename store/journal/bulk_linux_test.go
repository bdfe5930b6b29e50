package journal

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestWriteBulkAt writes by turns past the page cache and through it, over pages that both touch, and reads through it.
func TestWriteBulkAt(t *testing.T) {
	f, want, random := newBulkFile(t), []byte{}, rand.New(rand.NewPCG(1, 2))
	var buf pageBuffer
	for i := range 200 {
		off := random.IntN(len(want) + 1)
		p := make([]byte, random.IntN(5*pageSize))
		for j := range p {
			p[j] = byte(random.Uint32())
		}
		buf.rewind(int64(off))
		for rest := p; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(pageSize))
			buf.append(rest[:n])
			rest = rest[n:]
		}
		write := f.WriteBulkAt
		if i%3 == 0 {
			write = f.WriteAt
		}
		if n, err := write(buf.octets(), int64(off)); err != nil || n != len(p) {
			t.Fatalf("%d of %d octets at %d: %v", n, len(p), off, err)
		}
		want = append(want[:off], append(bytes.Clone(p), want[min(len(want), off+len(p)):]...)...)
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("after %d octets at %d the file is not what was written", len(p), off)
		}
	}
}

// TestWriteBulkAt_PastThePageCache: what it is for.
func TestWriteBulkAt_PastThePageCache(t *testing.T) {
	f := newBulkFile(t)
	const size = 4 << 20
	least, most := 0, 2                                                             // the edges
	if fd, err := unix.Open(f.Name(), unix.O_WRONLY|unix.O_DIRECT, 0); err != nil { // not on this file system
		least, most = size/pageSize, size/pageSize
	} else {
		_ = unix.Close(fd)
	}
	var buf pageBuffer
	buf.rewind(100)
	buf.append(make([]byte, size))
	if _, err := f.WriteBulkAt(buf.octets(), 100); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, f.File, size); n < least || n > most {
		t.Errorf("%d pages in the page cache, want %d to %d", n, least, most)
	}
	if _, err := f.WriteAt(buf.octets(), 100); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, f.File, size); n < size/pageSize {
		t.Errorf("%d pages in the page cache after a write through it: this test sees nothing", n)
	}
}

func newBulkFile(t *testing.T) osFile {
	t.Helper()
	f, err := OS{}.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f.(osFile)
}

// cached counts the pages of the first size octets that are in the page cache.
func cached(t *testing.T, f *os.File, size int) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, size/pageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(size), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}
