package local

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// migrations bring the bbolt file from version i to i+1. The list is only ever
// appended to. All that are missing run in one transaction.
var migrations = [...]func(*bbolt.Tx) error{
	createBuckets,       // 0 → 1
	createSuppression,   // 1 → 2
	createBounces,       // 2 → 3
	createBlocks,        // 3 → 4
	createHooks,         // 4 → 5
	createStats,         // 5 → 6
	createInterventions, // 6 → 7
}

// ErrTooNew means that a newer version of mailchute wrote the directory.
var ErrTooNew = errors.New("the data directory was written by a newer version of mailchute")

func createBuckets(tx *bbolt.Tx) error {
	for _, name := range [][]byte{
		bucketMeta, bucketDirectory, bucketMessage, bucketTime,
		bucketStream, bucketQueue, bucketHeld, bucketSegment,
	} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	return nil
}

func createSuppression(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bucketSuppression); err != nil {
		return fmt.Errorf("creating bucket %s: %w", bucketSuppression, err)
	}
	return nil
}

// createBlocks makes room for the search index. The messages that are there get
// theirs while the store is in use: see Store.seal.
func createBlocks(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketBlock, bucketLive} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	return nil
}

func createHooks(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketHook, bucketHookDue, bucketHookDead} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	return nil
}

// schemaOf returns how many migrations a file has seen.
func schemaOf(tx *bbolt.Tx) (int, error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0, nil
	}
	b := meta.Get(keySchema)
	if b == nil {
		return 0, nil
	}
	n, err := parseNumber(b)
	if err != nil {
		return 0, fmt.Errorf("schema version: %w", err)
	}
	if n > uint64(len(migrations)) {
		return 0, fmt.Errorf("schema %d, this program knows up to %d: %w", n, len(migrations), ErrTooNew)
	}
	return int(n), nil
}

// migrate runs the missing migrations.
func migrate(tx *bbolt.Tx) error {
	have, err := schemaOf(tx)
	if err != nil {
		return err
	}
	for i := have; i < len(migrations); i++ {
		if err := migrations[i](tx); err != nil {
			return fmt.Errorf("migrating schema %d to %d: %w", i, i+1, err)
		}
	}
	err = tx.Bucket(bucketMeta).Put(keySchema, numberKey(uint64(len(migrations))))
	failpoint.Hit(failpoint.MigrationFilled)
	return err
}

// upgrade migrates a file after copying it to a name that carries its version.
func upgrade(v *viewDB, path string) error {
	var have int
	if err := v.read(func(tx *bbolt.Tx) (err error) { have, err = schemaOf(tx); return err }); err != nil {
		return err
	}
	if have == len(migrations) {
		return nil
	}
	if err := backup(path, fmt.Sprintf("%s.v%d", path, have)); err != nil {
		return fmt.Errorf("copying %s before its migration: %w", dbName, err)
	}
	failpoint.Hit(failpoint.MigrationCopied)
	err := v.write(migrate)
	failpoint.Hit(failpoint.MigrationCommitted)
	return err
}

// backup copies a file that nobody writes; an older copy is replaced.
func backup(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return replaceFile(to+".new", to)
}
