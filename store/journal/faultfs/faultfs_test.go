package faultfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// newFile makes /d/a with durable content "old".
func newFile(t *testing.T) *faultfs.FS {
	t.Helper()
	f := faultfs.New()
	f.WriteFile("/d/a", []byte("old"))
	return f
}

func write(t *testing.T, f *faultfs.FS, p []byte, sync bool) error {
	t.Helper()
	h, err := f.Open("/d/a", false)
	if err != nil {
		return err
	}
	defer h.Close()
	if _, err := h.WriteAt(p, 0); err != nil {
		return err
	}
	if sync {
		return h.Datasync()
	}
	return nil
}

func content(t *testing.T, f *faultfs.FS, name string) string {
	t.Helper()
	b, err := f.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCrashKeepsWhatWasSynced and loses, or keeps, the rest as told.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	f := newFile(t)
	if err := write(t, f, []byte("new"), true); err != nil {
		t.Fatal(err)
	}
	if err := write(t, f, []byte("NEWER"), false); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f, "/d/a"); got != "NEWER" {
		t.Fatalf("before: %s", got)
	}
	for loss, want := range map[faultfs.Loss]string{faultfs.DropAll: "new", faultfs.KeepAll: "NEWER"} {
		if got := content(t, f.Crash(loss, 1), "/d/a"); got != want {
			t.Errorf("%v: %s", loss, got)
		}
	}
}

// TestTornWrites keep some units and not others, never a part of a unit.
func TestTornWrites(t *testing.T) {
	for loss, unit := range map[faultfs.Loss]int{faultfs.Torn512: 512, faultfs.Torn4K: 4096} {
		f := newFile(t)
		f.WriteFile("/d/a", bytes.Repeat([]byte("o"), 64<<10))
		if err := write(t, f, bytes.Repeat([]byte("n"), 64<<10), false); err != nil {
			t.Fatal(err)
		}
		b := []byte(content(t, f.Crash(loss, 1), "/d/a"))
		fresh := 0
		for i := 0; i < len(b); i += unit {
			n := bytes.Count(b[i:i+unit], []byte("n"))
			if n != 0 && n != unit {
				t.Fatalf("%v: unit at %d is mixed", loss, i)
			}
			fresh += n / unit
		}
		if fresh == 0 || fresh == len(b)/unit {
			t.Errorf("%v: %d of %d units are new", loss, fresh, len(b)/unit)
		}
	}
}

// TestFailedSyncLosesPages: a second sync succeeds and saves nothing.
func TestFailedSyncLosesPages(t *testing.T) {
	f := newFile(t)
	f.SetFault(func(op faultfs.Op) (int64, error) {
		if op.Kind == faultfs.Datasync {
			return 0, syscall.EIO
		}
		return 0, nil
	})
	if err := write(t, f, []byte("bad"), true); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	f.SetFault(nil)
	h, err := f.Open("/d/a", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Datasync(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f.Crash(faultfs.DropAll, 1), "/d/a"); got != "old" {
		t.Fatalf("after a sync that came too late: %s", got)
	}
}

// TestNamesNeedASyncToo: a rename is durable after SyncDir only, and never halfway.
func TestNamesNeedASyncToo(t *testing.T) {
	f := newFile(t)
	if err := f.Rename("/d/a", "/d/b"); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		image := f.Crash(faultfs.Reorder, seed)
		if a, b := content(t, image, "/d/a"), content(t, image, "/d/b"); (a == "old") == (b == "old") {
			t.Fatalf("seed %d: a is %s, b is %s", seed, a, b)
		}
	}
	if got := content(t, f.Crash(faultfs.DropAll, 1), "/d/a"); got != "old" {
		t.Fatalf("before SyncDir: %s", got)
	}
	if err := f.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f.Crash(faultfs.DropAll, 1), "/d/b"); got != "old" {
		t.Fatalf("after SyncDir: %s", got)
	}
}

// TestFaults fail the operation they name, a write after its short part, and CutAt all later ones.
func TestFaults(t *testing.T) {
	f := newFile(t)
	f.FailAt(2, syscall.ENOSPC)
	if err := write(t, f, []byte("new"), false); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := write(t, f, []byte("new"), false); err != nil {
		t.Fatal(err)
	}
	f.SetFault(func(op faultfs.Op) (int64, error) {
		if op.Kind == faultfs.Write {
			return 2, syscall.EIO
		}
		return 0, nil
	})
	if err := write(t, f, []byte("XYZ"), false); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got := content(t, f, "/d/a"); got != "XYw" {
		t.Fatalf("after a short write: %s", got)
	}
	f.CutAt(2)
	if err := write(t, f, []byte("123"), true); !errors.Is(err, faultfs.ErrCut) {
		t.Fatal(err)
	}
	if err := write(t, f, []byte("456"), false); !errors.Is(err, faultfs.ErrCut) {
		t.Fatal(err)
	}
	if got := content(t, f.Crash(faultfs.KeepAll, 1), "/d/a"); got != "123" {
		t.Fatalf("after the cut: %s", got)
	}
}
