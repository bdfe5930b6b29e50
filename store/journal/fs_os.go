package journal

import (
	"os"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// OS is the file system of the machine.
type OS struct{}

var _ FS = OS{}

// MkdirAll implements [FS].
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// Create implements [FS].
func (OS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open implements [FS].
func (OS) Open(name string, readOnly bool) (File, error) {
	if readOnly {
		return openOS(name, os.O_RDONLY)
	}
	return openOS(name, os.O_RDWR)
}

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements [FS].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// ReadDir implements [FS].
func (OS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// SyncDir implements [FS].
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}

type osFile struct{ *os.File }

// WriteAt implements [File].
func (f osFile) WriteAt(p []byte, off int64) (int, error) {
	if err := failpoint.Fail(failpoint.WriteFile); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

// Datasync implements [File].
func (f osFile) Datasync() error {
	if err := failpoint.Fail(failpoint.SyncFile); err != nil {
		return err
	}
	return datasync(f.File)
}

// Size implements [File].
func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
