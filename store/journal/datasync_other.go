//go:build !linux

package journal

import "os"

// datasync falls back to a full sync where fdatasync is missing or lies.
func datasync(f *os.File) error { return f.Sync() }
