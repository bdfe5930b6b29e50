package local

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"go.etcd.io/bbolt"
)

// Reading the view maps it in, which looks like a leak to whoever watches the
// process; giving it back changes nothing that is read.
func TestUnmap_GivesBackWhatWasRead(t *testing.T) {
	const pages = 16 << 20
	s := openT(t, t.TempDir(), still())
	err := s.db.write(func(tx *bbolt.Tx) error {
		for i := range pages >> 12 {
			if err := tx.Bucket(bucketMeta).Put(fmt.Appendf(nil, "page %06d", i), bytes.Repeat([]byte{byte(i)}, 4<<10)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, s)
	before := residentFile(t)
	s.unmap()
	if given := before - residentFile(t); given < pages/2 {
		t.Errorf("%d bytes given back of more than %d", given, pages)
	}
	readAll(t, s)
}

func readAll(t *testing.T, s *Store) {
	t.Helper()
	err := s.db.read(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).ForEach(func(k, v []byte) error {
			var i int
			if n, _ := fmt.Sscanf(string(k), "page %d", &i); n == 1 && !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, 4<<10)) {
				t.Errorf("%s has other content", k)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// residentFile is how much of mapped files is resident in this process.
func residentFile(t *testing.T) (bytes int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident, shared int
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared); err != nil {
		t.Fatal(err)
	}
	return shared * os.Getpagesize()
}
