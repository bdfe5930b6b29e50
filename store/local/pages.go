package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/mailchute/mailchute/store"
)

// bbolt reads every page of its file when it opens it for writing, in a
// goroutine of its own, and panics there on the first damaged one: nobody can
// recover that. So the file is walked here first, with plain reads and bounds
// checks. The format is that of bbolt 1.x, in the byte order of the machine.
const (
	pageHeaderSize  = 16
	pageElementSize = 16
	pageBranch      = 0x01
	pageLeaf        = 0x02
	pageFreelist    = 0x10
	pageNone        = 1<<64 - 1 // where the file has no list of free pages
	manyFree        = 0xFFFF    // the first element is the count
	metaSize        = 64
	metaMagic       = 0xED0CDAED
	metaVersion     = 2
	elementBucket   = 0x01
	bucketHeader    = 16
	maxPageDepth    = 64
	minPageSize     = 1024
	maxPageSize     = 64 << 10
)

var pageOrder = binary.NativeEndian

// checkPages walks every page of a bbolt file that can be reached. Its error
// names the first damaged page and wraps store.ErrDamaged; err is something
// else when the file could not be read.
func checkPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("checking pages: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("checking pages: %w", err)
	}
	w := &pageWalk{file: f, size: info.Size()}
	if err := w.meta(); err != nil {
		return err
	}
	w.seen = make([]uint64, min(w.high, uint64(w.size)/uint64(w.pageSize)+1)/64+1)
	if err := w.page(w.root, 0); err != nil || w.freelist == pageNone {
		return err
	}
	return w.free(w.freelist)
}

// pageWalk is one pass over a bbolt file.
type pageWalk struct {
	file     io.ReaderAt
	size     int64
	pageSize int
	root     uint64
	high     uint64 // the first page never used
	freelist uint64
	seen     []uint64
	txid     uint64
}

func damagedPage(id uint64, format string, args ...any) error {
	return fmt.Errorf("%s page %d: %s: %w", dbName, id, fmt.Sprintf(format, args...), store.ErrDamaged)
}

// meta finds the newer of the two meta pages that are good.
func (w *pageWalk) meta() error {
	if !w.readMeta(0) {
		// Without the first one the page size is not known, so try them all.
		for size := int64(minPageSize); size <= maxPageSize && w.pageSize == 0; size *= 2 {
			w.readMeta(size)
		}
	} else {
		w.readMeta(int64(w.pageSize))
	}
	if w.pageSize == 0 {
		return damagedPage(0, "neither of the two meta pages is readable")
	}
	return nil
}

func (w *pageWalk) readMeta(off int64) bool {
	var b [pageHeaderSize + metaSize]byte
	if n, _ := w.file.ReadAt(b[:], off); n < len(b) {
		return false
	}
	m := b[pageHeaderSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaSize-8])
	size := pageOrder.Uint32(m[8:])
	if pageOrder.Uint32(m) != metaMagic || pageOrder.Uint32(m[4:]) != metaVersion ||
		pageOrder.Uint64(m[56:]) != sum.Sum64() || size < minPageSize || size > maxPageSize {
		return false
	}
	if txid := pageOrder.Uint64(m[48:]); w.pageSize == 0 || txid > w.txid {
		w.txid, w.pageSize = txid, int(size)
		w.root, w.freelist, w.high = pageOrder.Uint64(m[16:]), pageOrder.Uint64(m[32:]), pageOrder.Uint64(m[40:])
	}
	return true
}

// page checks one page and those below it.
func (w *pageWalk) page(id uint64, depth int) error {
	if id < 2 || id >= w.high {
		return damagedPage(id, "lies outside the file's %d pages", w.high)
	}
	if depth > maxPageDepth {
		return damagedPage(id, "tree is deeper than %d", maxPageDepth)
	}
	b, err := w.read(id)
	if err != nil {
		return err
	}
	for i := id; i <= id+uint64(pageOrder.Uint32(b[12:])); i++ {
		if w.seen[i/64]&(1<<(i%64)) != 0 {
			return damagedPage(i, "is used twice")
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	return w.content(id, b, depth)
}

// read returns the page with its overflow pages.
func (w *pageWalk) read(id uint64) ([]byte, error) {
	b := make([]byte, w.pageSize)
	off := int64(id) * int64(w.pageSize)
	if n, err := w.file.ReadAt(b, off); n < len(b) {
		return nil, damagedPage(id, "the file ends before it (%v)", err)
	}
	if got := pageOrder.Uint64(b); got != id {
		return nil, damagedPage(id, "carries the number %d", got)
	}
	more := int64(pageOrder.Uint32(b[12:]))
	if more == 0 {
		return b, nil
	}
	if id+uint64(more) >= w.high || off+(more+1)*int64(w.pageSize) > w.size {
		return nil, damagedPage(id, "goes on for %d pages beyond the end of the file", more)
	}
	b = append(b, make([]byte, more*int64(w.pageSize))...)
	if n, err := w.file.ReadAt(b, off); n < len(b) {
		return nil, damagedPage(id, "cannot be read: %v", err)
	}
	return b, nil
}

// free checks the list of free pages after all others have been seen: one that
// is in use and listed as free would be overwritten.
func (w *pageWalk) free(id uint64) error {
	if id < 2 || id >= w.high {
		return damagedPage(id, "lies outside the file's %d pages", w.high)
	}
	b, err := w.read(id)
	if err != nil {
		return err
	}
	if flags := pageOrder.Uint16(b[8:]); flags != pageFreelist {
		return damagedPage(id, "has kind %#x and should be the list of free pages", flags)
	}
	ids, count := b[pageHeaderSize:], uint64(pageOrder.Uint16(b[10:]))
	if count == manyFree {
		count, ids = pageOrder.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damagedPage(id, "says that it lists %d free pages", count)
	}
	for i := range count {
		free := pageOrder.Uint64(ids[8*i:])
		if free < 2 || free >= w.high {
			return damagedPage(id, "lists page %d as free, which is not in the file", free)
		}
		if free/64 >= uint64(len(w.seen)) {
			continue // behind the end of a file that was cut there: not in use
		}
		if w.seen[free/64]&(1<<(free%64)) != 0 {
			return damagedPage(id, "lists page %d as free, which is used or listed twice", free)
		}
		w.seen[free/64] |= 1 << (free % 64)
	}
	return nil
}

// content checks the elements of a branch or leaf page, or of a bucket that
// lies inside a leaf.
func (w *pageWalk) content(id uint64, b []byte, depth int) error {
	flags, count := pageOrder.Uint16(b[8:]), int(pageOrder.Uint16(b[10:]))
	if flags != pageBranch && flags != pageLeaf {
		return damagedPage(id, "has the unknown kind %#x", flags)
	}
	if flags == pageBranch && count == 0 {
		return damagedPage(id, "is a branch without elements")
	}
	if pageHeaderSize+count*pageElementSize > len(b) {
		return damagedPage(id, "says that it has %d elements", count)
	}
	var last []byte
	for i := range count {
		key, err := w.element(id, b, i, flags == pageLeaf, depth)
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return damagedPage(id, "element %d is out of order", i)
		}
		last = key
	}
	return nil
}

func (w *pageWalk) element(id uint64, b []byte, i int, leaf bool, depth int) (key []byte, err error) {
	at := pageHeaderSize + i*pageElementSize
	e := b[at:]
	pos, ksize, vsize := uint64(pageOrder.Uint32(e)), uint64(pageOrder.Uint32(e[4:])), uint64(0)
	if leaf {
		pos, ksize, vsize = ksize, uint64(pageOrder.Uint32(e[8:])), uint64(pageOrder.Uint32(e[12:]))
	}
	start := uint64(at) + pos
	if start+ksize+vsize > uint64(len(b)) {
		return nil, damagedPage(id, "element %d lies outside it", i)
	}
	key = b[start : start+ksize]
	if !leaf {
		return key, w.page(pageOrder.Uint64(e[8:]), depth+1)
	}
	if pageOrder.Uint32(e)&elementBucket == 0 {
		return key, nil
	}
	return key, w.bucket(id, b[start+ksize:start+ksize+vsize], depth)
}

func (w *pageWalk) bucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketHeader {
		return damagedPage(id, "has a bucket of %d bytes", len(value))
	}
	if root := pageOrder.Uint64(value); root != 0 {
		return w.page(root, depth+1)
	}
	if len(value) < bucketHeader+pageHeaderSize {
		return damagedPage(id, "has an inner bucket of %d bytes", len(value))
	}
	return w.content(id, value[bucketHeader:], depth+1)
}
