//go:build !failpoints

package local

import "go.etcd.io/bbolt"

// watchWrites does nothing.
func watchWrites(*bbolt.DB) {}
