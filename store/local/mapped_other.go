//go:build !linux

package local

import "go.etcd.io/bbolt"

// releaseMapped does nothing where giving pages back is not known to be safe.
func releaseMapped(*bbolt.Tx) {}
