//go:build failpoints

package local

import (
	"io/fs"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store/local/boltwrites"
)

// watchWrites makes the writes of bbolt crash points and faults.
func watchWrites(db *bbolt.DB) {
	metas := 2 * int64(db.Info().PageSize)
	boltwrites.Intercept(db, func(next boltwrites.WriteAt) boltwrites.WriteAt {
		return func(b []byte, off int64) (int, error) {
			if err := failpoint.Fail(failpoint.WriteView); err != nil {
				return 0, &fs.PathError{Op: "write", Path: dbName, Err: err} // as os.File says it
			}
			if off >= metas {
				n, err := next(b, off)
				failpoint.Hit(failpoint.ViewPage)
				return n, err
			}
			failpoint.Hit(failpoint.ViewMeta)
			n, err := next(b, off)
			failpoint.Hit(failpoint.ViewMetaWritten)
			return n, err
		}
	})
}
