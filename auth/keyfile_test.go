package auth

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenKeyringMakesAndLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	made, err := OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	loaded, err := OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if made.Fingerprint() != loaded.Fingerprint() {
		t.Errorf("made %s, loaded %s", made.Fingerprint(), loaded.Fingerprint())
	}
	if diff := cmp.Diff(made.Keys(), loaded.Keys()); diff != "" {
		t.Error(diff)
	}
	assertOnlyFile(t, path)
}

// assertOnlyFile demands that no temporary file with key material was left.
func assertOnlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v", entries, err)
	}
}

func TestLoadKeyringMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadKeyring(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made a file: %v", err)
	}
}

func TestOpenKeyringTogetherMakesOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	prints := make([]string, 8)
	var all sync.WaitGroup
	for i := range prints {
		all.Go(func() {
			k, err := OpenKeyring(path)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = k.Fingerprint()
		})
	}
	all.Wait()
	if got := slices.Compact(prints); len(got) != 1 {
		t.Errorf("got keys %v", got)
	}
	assertOnlyFile(t, path)
}

func TestKeyFileReadableByOthersIsRefused(t *testing.T) {
	for _, mode := range []fs.FileMode{0o640, 0o620, 0o604, 0o610, 0o666, 0o777} {
		w := newWorld(t)
		if err := os.Chmod(w.path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKeyring(w.path)
		if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "chmod 600 "+w.path) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		w := newWorld(t)
		if err := os.Chmod(w.path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyring(w.path); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestKeyFileMustBeAFile(t *testing.T) {
	if _, err := OpenKeyring(t.TempDir()); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := OpenKeyring(filepath.Join(t.TempDir(), "missing", "keys")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// Every single damaged octet, and every cut, is recognised.
func TestDamagedKeyFileIsRecognised(t *testing.T) {
	w := newWorld(t)
	data, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		broken := bytes.Clone(data)
		broken[i] ^= 0x01
		if _, err := parseKeys(broken); !errors.Is(err, ErrKeyFile) {
			t.Fatalf("octet %d changed: %v", i, err)
		}
		if _, err := parseKeys(data[:i]); !errors.Is(err, ErrKeyFile) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := parseKeys(append(bytes.Clone(data), '\n')); !errors.Is(err, ErrKeyFile) {
		t.Errorf("text after the sum: %v", err)
	}
}

func TestParseKeysFaults(t *testing.T) {
	const (
		good  = "key 00000001 2026-11-23T12:00:00Z 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
		magic = "mailchute-keys 1\n"
	)
	tests := []struct{ name, body, want string }{
		{"good", "# note\n\n" + magic + good, ""},
		{"comment between", magic + "# old\n" + good, ""},
		{"no magic", good, "line 1"},
		{"other version", "mailchute-keys 2\n" + good, "another version"},
		{"no key", magic, "no key"},
		{"twice", magic + good + good, "00000001 stands there twice"},
		{"number 0", magic + strings.Replace(good, "00000001", "00000000", 1), "line 2"},
		{"number not hex", magic + strings.Replace(good, "00000001", "0000000g", 1), "line 2"},
		{"short number", magic + strings.Replace(good, "00000001", "1", 1), "not a key line"},
		{"bad time", magic + strings.Replace(good, "2026-11", "2026-13", 1), "line 2"},
		{"short key", magic + strings.Replace(good, "0001", "", 1), "not a key line"},
		{"key not hex", magic + strings.Replace(good, "0001", "zz01", 1), "line 2"},
		{"other word", magic + strings.Replace(good, "key", "kez", 1), "not a key line"},
		{"too large", magic + strings.Repeat("#\n", keyFileLimit) + good, "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, err := parseKeys(summed(tt.body))
			if tt.want == "" {
				if err != nil || len(set.keys) != 1 {
					t.Fatalf("got %v", err)
				}
				return
			}
			if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "0405060708") {
				t.Errorf("error shows the key: %v", err)
			}
		})
	}
}

// The format and the derivations of version 1 are for good: the values were
// computed with another implementation of HKDF and HMAC.
func TestKeyFileVersion1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	body := "mailchute-keys 1\nkey 0000abcd 2026-11-23T12:00:00Z 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
	if err := os.WriteFile(path, summed(body), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := LoadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Fingerprint(); got != "0000abcd-8e79d54752fe861a" {
		t.Errorf("fingerprint %s", got)
	}
	d := k.Digest("token")
	if got := fmt.Sprintf("%x", d.Sum); d.Key != 0xabcd || got != "2ad6536207de66a7fe9f10427c7b60a59c57b6d30ace522637bec6ceb0560853" {
		t.Errorf("digest %x %s", d.Key, got)
	}
}

// summed closes a key file as its last line does.
func summed(body string) []byte {
	return fmt.Appendf([]byte(body), "sum %x\n", sha256.Sum256([]byte(body)))
}

func TestRotateAndPrune(t *testing.T) {
	w := newWorld(t)
	first := w.k.Keys()[0]
	added, err := w.k.Rotate(epoch)
	if err != nil {
		t.Fatal(err)
	}
	reloaded, err := LoadKeyring(w.path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]KeyInfo{first, added}, reloaded.Keys()); diff != "" {
		t.Error(diff)
	}
	if got := w.k.Digest("x").Key; got != added.Number {
		t.Errorf("digests come from %08x, not the newest", got)
	}
	if removed, err := w.k.Prune(map[uint32]int{first.Number: 1}); err != nil || removed != nil {
		t.Errorf("a key in use: removed %v, %v", removed, err)
	}
	removed, err := w.k.Prune(nil)
	if err != nil || !slices.Equal(removed, []uint32{first.Number}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if reloaded, err = LoadKeyring(w.path); err != nil || !slices.Equal(reloaded.Keys(), []KeyInfo{added}) {
		t.Errorf("file holds %v, %v", reloaded.Keys(), err)
	}
	assertOnlyFile(t, w.path)
}

func TestRotateKeepsSymlinkAndMode(t *testing.T) {
	w := newWorld(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(w.path, link); err != nil {
		t.Fatal(err)
	}
	k, err := LoadKeyring(link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(epoch); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(link); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A file that another process has rotated is not overwritten: that would lose
// the other's key.
func TestRotateRefusesAFileThatChanged(t *testing.T) {
	w := newWorld(t)
	other, err := LoadKeyring(w.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Rotate(epoch); err != nil {
		t.Fatal(err)
	}
	before, after := w.k.Fingerprint(), ""
	if _, err := w.k.Rotate(epoch); !errors.Is(err, ErrKeyFile) {
		t.Errorf("got %v", err)
	}
	if after = w.k.Fingerprint(); after != before {
		t.Errorf("the ring changed from %s to %s", before, after)
	}
	if loaded, err := LoadKeyring(w.path); err != nil || loaded.Fingerprint() != other.Fingerprint() {
		t.Errorf("the other's key is gone: %v", err)
	}
}

// A failed write leaves file and ring as they were.
func TestRotateThatCannotWrite(t *testing.T) {
	w := newWorld(t)
	before := w.k.Fingerprint()
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	if _, err := w.k.Rotate(epoch); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if w.k.Fingerprint() != before {
		t.Error("the ring uses a key that is in no file")
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("mailchute-keys 1\nkey 00000001 2026-11-23T12:00:00Z 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"))
	f.Add([]byte("# c\n\nmailchute-keys 1\n"))
	f.Add([]byte("\nsum \nsum "))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := parseKeys(body); err != nil && !errors.Is(err, ErrKeyFile) {
			t.Fatalf("raw: %v", err)
		}
		set, err := parseKeys(summed(string(body) + "\n")) // past the checksum
		if err != nil {
			if !errors.Is(err, ErrKeyFile) {
				t.Fatalf("summed: %v", err)
			}
			return
		}
		again, err := parseKeys(renderKeys(set))
		if err != nil || !sameKeys(set, again) {
			t.Fatalf("does not survive writing: %v", err)
		}
	})
}
