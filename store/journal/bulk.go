package journal

import (
	"os"
	"unsafe"
)

// A write of at least bulk octets, in records of at least bulkRecord on the average, goes past the page cache.
const (
	bulk       = 128 << 10
	bulkRecord = 16 << 10
)

// bulkFile is a File that can write past the page cache.
type bulkFile interface {
	File
	WriteBulkAt(p []byte, off int64) (int, error)
}

var pageSize = max(4096, os.Getpagesize())

// pageBuffer holds what goes to one place of a file, and holds it in its pages as it will lie in those of the file.
type pageBuffer struct {
	pages    []byte // begins with a page
	from, to int
}

// rewind empties the buffer. What comes next goes to off.
func (b *pageBuffer) rewind(off int64) {
	b.from = int(off & int64(pageSize-1))
	b.to = b.from
}

func (b *pageBuffer) len() int { return b.to - b.from }

func (b *pageBuffer) octets() []byte { return b.pages[b.from:b.to] }

func (b *pageBuffer) append(p []byte) {
	if b.to+len(p) > len(b.pages) {
		larger := newPages(max(b.to+len(p), 2*len(b.pages)))
		copy(larger, b.pages[:min(b.to, len(b.pages))])
		b.pages = larger
	}
	b.to += copy(b.pages[b.to:], p)
}

func newPages(n int) []byte {
	memory := make([]byte, n+pageSize)
	return memory[-uintptr(unsafe.Pointer(&memory[0]))&uintptr(pageSize-1):]
}
