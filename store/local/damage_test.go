package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// filled makes a closed directory with a server, sent and queued mail, and
// returns a queued message.
func filled(t testing.TB, n int) (dir string, queued store.ID) {
	t.Helper()
	dir = t.TempDir()
	s := openT(t, dir, smallOptions())
	if _, err := s.Change(t.Context(), 0, store.Change{Server: &store.Server{ID: 1, Name: "one", DeliveryType: store.Live}}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		queued = acceptT(t, s, 500)
		if i%2 == 0 {
			deliverT(t, s, queued)
		}
	}
	queued = acceptT(t, s, 500)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, queued
}

func TestRebuild_BringsBackADeletedView(t *testing.T) {
	dir, queued := filled(t, 20)
	if err := os.Remove(filepath.Join(dir, dbName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, smallOptions()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "--rebuild") {
		t.Errorf("Open without %s = %v, want damage and what to do", dbName, err)
	}
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages != 21 || r.Unfinished != 11 || r.Records != 0 || len(r.Lost) != 3 || r.Old != "" {
		t.Errorf("Rebuild = %+v", r)
	}
	s := openT(t, dir, smallOptions())
	wantBody(t, s, queued, 500)
	checkT(t, s)
}

// TestRebuild_IsNeverWithoutAFile: the process may be killed before the new file has
// its name, and the directory is in the old one alone.
func TestRebuild_IsNeverWithoutAFile(t *testing.T) {
	dir, _ := filled(t, 3)
	var r Rebuilt
	if err := r.setAside(filepath.Join(dir, dbName)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.Old); err != nil {
		t.Errorf("the old file: %v", err)
	}
	s := openT(t, dir, smallOptions())
	if got := s.Snapshot().Servers[1].Name; got != "one" {
		t.Errorf("server = %q, want one", got)
	}
	checkT(t, s)
}

func TestRebuild_KeepsTheDirectory(t *testing.T) {
	dir, queued := filled(t, 20)
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || len(r.Lost) != 0 || r.Records != 2 || r.Messages != 21 {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	if _, err := os.Stat(r.Old); err != nil {
		t.Errorf("the old file: %v", err)
	}
	s := openT(t, dir, smallOptions())
	if got := s.Snapshot().Servers[1].Name; got != "one" {
		t.Errorf("server = %q, want one", got)
	}
	deliverT(t, s, queued)
	checkT(t, s)
}

// breakPage overwrites the middle of the page that holds a bucket's root.
func breakPage(t testing.TB, path string, bucket []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var page uint64
	err = db.View(func(tx *bbolt.Tx) error { page = uint64(tx.Bucket(bucket).RootPage()); return nil })
	size := int64(db.Info().PageSize)
	if err = errors.Join(err, db.Close()); err != nil || page == 0 {
		t.Fatalf("page %d of bucket %s, %v", page, bucket, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 64), int64(page)*size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDamage_OfTheViewIsDiagnosedAndRepaired(t *testing.T) {
	dir, queued := filled(t, 100)
	breakPage(t, filepath.Join(dir, dbName), bucketMessage)
	if _, err := Open(dir, smallOptions()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "page") {
		t.Errorf("Open = %v, want the damaged page", err)
	}
	report, err := Check(t.Context(), dir, smallOptions(), CheckOptions{})
	if err != nil || report.OK() {
		t.Errorf("Check = %+v, %v, want a problem", report, err)
	}
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || len(r.Lost) != 0 || r.Messages != 101 {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	s := openT(t, dir, smallOptions())
	deliverT(t, s, queued)
	checkT(t, s)
}

// TestDamage_OfTheFreeListIsDiagnosed lists a page as free that is in use: bbolt
// would write over it.
func TestDamage_OfTheFreeListIsDiagnosed(t *testing.T) {
	dir, _ := filled(t, 100)
	path := filepath.Join(dir, dbName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size, listed := os.Getpagesize(), 0
	newer := b // the meta page with the higher transaction number
	if pageOrder.Uint64(b[size+pageHeaderSize+48:]) > pageOrder.Uint64(b[pageHeaderSize+48:]) {
		newer = b[size:]
	}
	root := pageOrder.Uint64(newer[pageHeaderSize+16:])
	for at := 2 * size; at+size <= len(b); at += size {
		if page := b[at:]; pageOrder.Uint16(page[8:]) == pageFreelist && pageOrder.Uint64(page) == uint64(at/size) {
			pageOrder.PutUint16(page[10:], 1)
			pageOrder.PutUint64(page[pageHeaderSize:], root)
			listed++
		}
	}
	if listed == 0 {
		t.Fatal("a closed file has no list of free pages")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, smallOptions()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "free") {
		t.Errorf("Open = %v, want the damaged list", err)
	}
}

func TestDamage_OfTheDirectoryIsSaid(t *testing.T) {
	dir, queued := filled(t, 10)
	path := filepath.Join(dir, dbName)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketDirectory).Put(recordKey(kindServer, 1), []byte{directoryFormat, 0, 0, 0, 0, '{', '}'})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, smallOptions()); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Open = %v, want %v", err, store.ErrDamaged)
	}
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || len(r.Lost) != 1 || r.Records != 1 {
		t.Errorf("Rebuild = %+v, %v, want one record lost", r, err)
	}
	s := openT(t, dir, smallOptions())
	wantBody(t, s, queued, 500)
}

// TestDamage_NeverCrashes opens files with random damage. Whatever happens, it
// is an error or a working engine, not a panic, and Rebuild repairs it.
func TestDamage_NeverCrashes(t *testing.T) {
	dir, queued := filled(t, 60)
	trim(t, filepath.Join(dir, dbName)) // so that the damage hits pages in use
	good, err := os.ReadFile(filepath.Join(dir, dbName))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	for round := range 60 {
		broken := append([]byte(nil), good...)
		for range 1 + rnd.IntN(20) {
			broken[rnd.IntN(len(broken))] ^= byte(1 + rnd.IntN(255))
		}
		if round%6 == 0 {
			broken = broken[:rnd.IntN(len(broken))]
		}
		if err := os.WriteFile(filepath.Join(dir, dbName), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Check(t.Context(), dir, smallOptions(), CheckOptions{Full: true}); err != nil {
			t.Errorf("round %d: Check = %v, want a report", round, err)
		}
		if round%20 != 0 {
			continue
		}
		if _, err := Rebuild(t.Context(), dir, smallOptions()); err != nil {
			t.Fatalf("round %d: Rebuild = %v", round, err)
		}
		s := openT(t, dir, smallOptions())
		wantBody(t, s, queued, 500)
		checkT(t, s)
	}
}

func TestDamage_OfABodyIsSeenWhenItIsRead(t *testing.T) {
	dir, queued := filled(t, 0)
	segments, err := filepath.Glob(filepath.Join(dir, journalName, "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	seg, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	s := openT(t, dir, smallOptions())
	st, err := s.find(queued)
	if err != nil {
		t.Fatal(err)
	}
	e := st.body[0]
	seg[e.ref.Offset+e.skip+e.length-1] ^= 1
	if err := os.WriteFile(segments[0], seg, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := bodySize(s, queued); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("body = %d octets, %v, want %v", n, err, store.ErrDamaged)
	}
	report, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || report.OK() || !strings.Contains(report.Problems[0], queued.String()) {
		t.Errorf("Check = %+v, %v, want the message", report, err)
	}
}

// TestDamage_WrongBodyIsSeen has a state that points at the body of another
// message, which the journal's own checksums cannot know.
func TestDamage_WrongBodyIsSeen(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	one, two := acceptT(t, s, 500), acceptT(t, s, 501)
	a, err := s.find(one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.find(two)
	if err != nil {
		t.Fatal(err)
	}
	mixed := *a
	mixed.body = b.body
	r, err := s.openBody(&mixed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("reading = %d octets, %v, want %v", n, err, store.ErrDamaged)
	}
}

func TestCheck_FindsWhatDoesNotBelong(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(tx *bbolt.Tx, id store.ID, at stamp) error
	}{
		{"missing in time", func(tx *bbolt.Tx, _ store.ID, at stamp) error { return tx.Bucket(bucketTime).Delete(at.key()) }},
		{"missing in stream", func(tx *bbolt.Tx, _ store.ID, at stamp) error {
			return tx.Bucket(bucketStream).Delete(streamKey(1, "outbound", at))
		}},
		{"missing in queue", func(tx *bbolt.Tx, _ store.ID, at stamp) error { return tx.Bucket(bucketQueue).Delete(partKey(at, 0)) }},
		{"orphan in time", func(tx *bbolt.Tx, _ store.ID, _ stamp) error {
			return tx.Bucket(bucketTime).Put(stampOf(moment, store.ID{1}).key(), nil)
		}},
		{"orphan in held", func(tx *bbolt.Tx, _ store.ID, at stamp) error { return tx.Bucket(bucketHeld).Put(partKey(at, 0), nil) }},
		{"missing message", func(tx *bbolt.Tx, id store.ID, _ stamp) error { return tx.Bucket(bucketMessage).Delete(id[:]) }},
		{"wrong usage", func(tx *bbolt.Tx, _ store.ID, _ stamp) error {
			return putUsage(tx.Bucket(bucketSegment), 1, usage{5, 5})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, id := filled(t, 3)
			s := openT(t, dir, smallOptions())
			st, err := s.find(id)
			if err == nil {
				err = s.db.write(func(tx *bbolt.Tx) error { return tc.change(tx, id, st.stamp()) })
			}
			if err != nil {
				t.Fatal(err)
			}
			if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || r.OK() {
				t.Errorf("Check = %+v, %v, want a problem", r, err)
			}
			if r, err := s.Check(t.Context(), CheckOptions{Full: true}); err != nil || r.OK() {
				t.Errorf("full Check = %+v, %v, want a problem", r, err)
			}
		})
	}
}

func TestSchema_NewerIsRefusedAndUntouched(t *testing.T) {
	dir, _ := filled(t, 1)
	path := filepath.Join(dir, dbName)
	setSchema(t, path, uint64(len(migrations)+1))
	if _, err := Open(dir, smallOptions()); !errors.Is(err, ErrTooNew) {
		t.Errorf("Open = %v, want %v", err, ErrTooNew)
	}
	if _, err := Rebuild(t.Context(), dir, smallOptions()); !errors.Is(err, ErrTooNew) {
		t.Errorf("Rebuild = %v, want %v", err, ErrTooNew)
	}
}

func TestSchema_OlderIsCopiedAndMigrated(t *testing.T) {
	dir, queued := filled(t, 1)
	path := filepath.Join(dir, dbName)
	setSchema(t, path, 0)
	s := openT(t, dir, smallOptions())
	wantBody(t, s, queued, 500)
	if err := checkPages(path + ".v0"); err != nil {
		t.Errorf("the copy made before the migration: %v", err)
	}
	checkT(t, s)
}

func setSchema(t testing.TB, path string, version uint64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, numberKey(version)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestCreate_LeftoversOfAnInterruptedOneAreNoObstacle(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, dbName+".new"), []byte("half a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openT(t, dir, smallOptions())
	if _, err := os.Stat(filepath.Join(dir, dbName+".new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover: %v", err)
	}
	checkT(t, s)
}

func TestGuarded_EndsAPanicAsDamage(t *testing.T) {
	err := guarded("reading", func() error { panic("assertion failed: page 7") })
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("guarded = %v", err)
	}
	if err := guarded("reading", func() error { return context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("guarded = %v", err)
	}
}
