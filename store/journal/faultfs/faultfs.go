// Package faultfs is a file system in memory that fails and loses power on
// demand, for tests of what is built on [journal.FS].
//
// It keeps apart what was written and what was synced. [FS.Crash] makes the file system
// that a machine could find after a power cut at this moment: names and bytes that were
// synced are there, and of the others some, none or torn pieces, as a
// [Loss] and a seed say. Every call that could fail counts as one operation, so that a test can fail the N-th for
// every N until a run passes untouched.
package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mailchute/mailchute/store/journal"
)

// Kind is the kind of an operation.
type Kind string

// The kinds of operations, one for each method of [journal.FS] and [journal.File].
const (
	MkdirAll Kind = "mkdir"
	Create   Kind = "create"
	Open     Kind = "open"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	ReadDir  Kind = "readdir"
	SyncDir  Kind = "syncdir"
	Read     Kind = "read"
	Write    Kind = "write"
	Datasync Kind = "datasync"
	Truncate Kind = "truncate"
	Size     Kind = "size"
)

// Changes reports whether operations of this kind change what a crash leaves behind.
func (k Kind) Changes() bool {
	switch k {
	case Create, Rename, Remove, SyncDir, Write, Datasync, Truncate:
		return true
	}
	return false
}

// Op is one operation as a fault function and the record see it.
type Op struct {
	// N counts all operations from 1.
	N    int
	Kind Kind
	// Name is the file or directory; for Rename the old name.
	Name string
	// Offset and Length are of a Read or Write, in bytes.
	Offset, Length int64
}

// String shows the operation on one line.
func (o Op) String() string {
	return fmt.Sprintf("#%d %s %s [%d+%d]", o.N, o.Kind, filepath.Base(o.Name), o.Offset, o.Length)
}

// Fault decides about an operation before it is done. An error makes it fail;
// a failed Write has written its first short bytes, a failed Datasync
// leaves the unsynced bytes visible but never durable, as Linux does.
type Fault func(op Op) (short int64, err error)

// ErrCut is what every operation returns after the power was cut.
var ErrCut = errors.New("faultfs: power cut")

// FS is a file system in memory. Its methods may be called concurrently.
type FS struct {
	mu    sync.Mutex
	fault Fault
	ops   []Op
	n     int
	keep  bool

	names   map[string]*inode // as they are seen
	durable map[string]*inode // as the last SyncDir left them
	dirOps  []dirOp           // since then, in order
	dirs    map[string]bool
}

// dirOp is an unsynced change of a name; the inode is nil for a removal.
type dirOp struct {
	name string
	node *inode
	from string // of a rename: removed in the same step
}

// New returns an empty file system.
func New() *FS {
	return &FS{names: map[string]*inode{}, durable: map[string]*inode{}, dirs: map[string]bool{}}
}

var _ journal.FS = (*FS)(nil)

// SetFault installs the function that decides about every following operation; nil removes it.
func (f *FS) SetFault(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// FailAt makes the n-th operation from now fail with err, and none after it.
func (f *FS) FailAt(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.n + n
	f.fault = func(op Op) (int64, error) {
		if op.N == at {
			return 0, err
		}
		return 0, nil
	}
}

// CutAt cuts the power before the n-th operation from now that would change
// something durable: it and all later operations fail with [ErrCut] and do nothing.
func (f *FS) CutAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left, cut := n, false
	f.fault = func(op Op) (int64, error) {
		if op.Kind.Changes() {
			left--
		}
		cut = cut || left <= 0
		if cut {
			return 0, ErrCut
		}
		return 0, nil
	}
}

// Record starts to keep every operation for [FS.Ops].
func (f *FS) Record() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep, f.ops = true, nil
}

// Ops returns the operations since Record.
func (f *FS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// Count returns the number of operations so far.
func (f *FS) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// begin counts an operation and asks the fault function. The caller holds mu.
func (f *FS) begin(kind Kind, name string, off, length int64) (int64, error) {
	f.n++
	op := Op{N: f.n, Kind: kind, Name: name, Offset: off, Length: length}
	if f.keep {
		f.ops = append(f.ops, op)
	}
	if f.fault == nil {
		return 0, nil
	}
	short, err := f.fault(op)
	if err != nil {
		err = &fs.PathError{Op: string(kind), Path: name, Err: err}
	}
	return short, err
}

// MkdirAll implements [journal.FS]. Directories are durable at once.
func (f *FS) MkdirAll(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(MkdirAll, dir, 0, 0); err != nil {
		return err
	}
	f.dirs[filepath.Clean(dir)] = true
	return nil
}

// Create implements [journal.FS].
func (f *FS) Create(name string) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Create, name, 0, 0); err != nil {
		return nil, err
	}
	if f.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	node := &inode{}
	f.names[name] = node
	f.dirOps = append(f.dirOps, dirOp{name: name, node: node})
	return &file{fs: f, node: node, name: name}, nil
}

// Open implements [journal.FS].
func (f *FS) Open(name string, readOnly bool) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Open, name, 0, 0); err != nil {
		return nil, err
	}
	node := f.names[name]
	if node == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{fs: f, node: node, name: name, readOnly: readOnly}, nil
}

// Rename implements [journal.FS].
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Rename, from, 0, 0); err != nil {
		return err
	}
	node := f.names[from]
	if node == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(f.names, from)
	f.names[to] = node
	f.dirOps = append(f.dirOps, dirOp{name: to, node: node, from: from})
	return nil
}

// Remove implements [journal.FS].
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Remove, name, 0, 0); err != nil {
		return err
	}
	if f.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(f.names, name)
	f.dirOps = append(f.dirOps, dirOp{name: name})
	return nil
}

// ReadDir implements [journal.FS].
func (f *FS) ReadDir(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(ReadDir, dir, 0, 0); err != nil {
		return nil, err
	}
	dir = filepath.Clean(dir)
	if !f.dirs[dir] {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
	}
	var names []string
	for name := range f.names {
		if base, ok := strings.CutPrefix(name, dir+string(filepath.Separator)); ok && !strings.ContainsRune(base, filepath.Separator) {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements [journal.FS]. It makes all names durable, also those of other directories.
func (f *FS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(SyncDir, dir, 0, 0); err != nil {
		return err
	}
	f.dirOps = applyDir(f.durable, f.dirOps)
	return nil
}

// applyDir applies unsynced name changes in order and returns the empty rest.
func applyDir(names map[string]*inode, ops []dirOp) []dirOp {
	for _, op := range ops {
		if op.from != "" {
			delete(names, op.from)
		}
		if op.node == nil {
			delete(names, op.name)
		} else {
			names[op.name] = op.node
		}
	}
	return nil
}

// ReadFile returns the present content of a file, synced or not.
func (f *FS) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[name]
	if node == nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(node.seen), nil
}

// WriteFile makes a file with durable content, replacing what was there. It is not counted and never fails.
func (f *FS) WriteFile(name string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := &inode{seen: slices.Clone(content), synced: slices.Clone(content)}
	f.dirs[filepath.Dir(name)] = true
	f.names[name], f.durable[name] = node, node
}

// file is an open file.
type file struct {
	fs       *FS
	node     *inode
	name     string
	readOnly bool
	closed   bool
}

func (h *file) check() error {
	if h.closed {
		return &fs.PathError{Op: "use", Path: h.name, Err: fs.ErrClosed}
	}
	return nil
}

// ReadAt implements [io.ReaderAt].
func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return 0, err
	}
	if _, err := h.fs.begin(Read, h.name, off, int64(len(p))); err != nil {
		return 0, err
	}
	if off >= int64(len(h.node.seen)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.seen[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [io.WriterAt].
func (h *file) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return 0, err
	}
	if h.readOnly {
		return 0, &fs.PathError{Op: "write", Path: h.name, Err: fs.ErrPermission}
	}
	short, err := h.fs.begin(Write, h.name, off, int64(len(p)))
	if err != nil {
		p = p[:min(max(short, 0), int64(len(p)))]
	}
	if len(p) > 0 {
		h.node.write(p, off)
	}
	return len(p), err
}

// Datasync implements [journal.File].
func (h *file) Datasync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	if _, err := h.fs.begin(Datasync, h.name, 0, 0); err != nil {
		if !errors.Is(err, ErrCut) {
			h.node.lose()
		}
		return err
	}
	h.node.sync()
	return nil
}

// Truncate implements [journal.File].
func (h *file) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	if _, err := h.fs.begin(Truncate, h.name, size, 0); err != nil {
		return err
	}
	h.node.truncate(size)
	return nil
}

// Size implements [journal.File].
func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return 0, err
	}
	if _, err := h.fs.begin(Size, h.name, 0, 0); err != nil {
		return 0, err
	}
	return int64(len(h.node.seen)), nil
}

// Close implements [io.Closer].
func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	h.closed = true
	return nil
}
