// Package boltwrites stands between bbolt and its file, for tests: what bbolt writes can
// be recorded, failed, or be the moment of a crash. bbolt has no door for
// that, so a private field is replaced; a version of bbolt without it panics here.
package boltwrites

import (
	"reflect"
	"unsafe"

	"go.etcd.io/bbolt"
)

// WriteAt writes bytes at an offset of the file. Offset 0 and one page behind
// it are the meta pages, which make a transaction visible; bbolt syncs before and after
// it writes one.
type WriteAt func(b []byte, off int64) (int, error)

// Intercept makes every later write of db a call of what with returns, which gets
// bbolt's own function. Nothing may use db meanwhile.
func Intercept(db *bbolt.DB, with func(next WriteAt) WriteAt) {
	field := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	at := (*func([]byte, int64) (int, error))(unsafe.Pointer(field.UnsafeAddr()))
	*at = with(*at)
}
