// Package atomicfile replaces files.
package atomicfile

import (
	"io"
	"os"
	"path/filepath"
)

// Replace puts what write writes in the place of the file, so that after a power cut either it or its predecessor is there
// whole. Until then it is in a file of the same directory whose name temp is the pattern of (os.CreateTemp); a crash can leave
// that behind.
func Replace(path, temp string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temp)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // who owns the directory removes what is left at a start
		return err
	}
	return syncDir(dir)
}

// syncDir makes renames in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
