package journal

import "io"

// FS is what the journal needs of a file system. [OS] is the real one; the
// package faultfs has one that fails and crashes on demand. Names are paths.
type FS interface {
	// MkdirAll makes a directory with mode 0700 and the missing ones above it.
	MkdirAll(dir string) error
	// Create makes a new file with mode 0600 for reading and writing; it is an error if the name exists.
	Create(name string) (File, error)
	// Open opens an existing file, for reading only or for reading and writing.
	Open(name string, readOnly bool) (File, error)
	// Rename moves a file within its directory, replacing what has the new name.
	Rename(from, to string) error
	// Remove unlinks a file.
	Remove(name string) error
	// ReadDir returns the names in a directory, sorted.
	ReadDir(dir string) ([]string, error)
	// SyncDir makes the names of a directory durable.
	SyncDir(dir string) error
}

// File is an open file of an [FS].
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Datasync makes the file's bytes and its size durable.
	Datasync() error
	// Truncate sets the file's size in bytes.
	Truncate(size int64) error
	// Size returns the file's size in bytes.
	Size() (int64, error)
}
