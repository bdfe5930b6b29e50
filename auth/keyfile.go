package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The key file is text. Its last line is the SHA-256 of everything before, so
// that a file that was cut, edited or hit by a bad disk is recognised instead of
// turning every credential into a wrong one.
//
//	# comment
//	mailchute-keys 1
//	key <number, 8 hex> <created, RFC 3339> <master key, 64 hex>
//	sum <64 hex>
//
// Keys stand in the order of their making.
const (
	keyFileMagic = "mailchute-keys 1"
	keyFileLimit = 64 << 10
	keyFileNote  = "" +
		"# Key file of mailchute. It opens the stored API tokens and checks SMTP secrets.\n" +
		"# Keep it secret (mode 0600) and keep a copy apart from the backups of the data\n" +
		"# directory: without it every token must be made anew. Do not edit.\n"
)

// OpenKeyring loads the key file at path, or makes one with a fresh key if there
// is none. A new file appears whole or not at all, with mode 0600, and survives
// a loss of power once OpenKeyring has returned. A file that others than its
// owner can read or write, or that is damaged, is refused with ErrKeyFile.
//
// Where the directory has tokens already, use LoadKeyring: a missing key file
// then is a loss to report, not a first start.
func OpenKeyring(path string) (*Keyring, error) {
	k, err := LoadKeyring(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	key, err := generateKey(&keySet{}, time.Now())
	if err != nil {
		return nil, err
	}
	err = writeKeyFile(path, renderKeys(&keySet{keys: []*masterKey{key}}), os.Link)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the key file: %w", err)
	}
	return LoadKeyring(path) // another process may have been first
}

// LoadKeyring loads an existing key file, with the checks of OpenKeyring. The
// error wraps fs.ErrNotExist when there is none.
func LoadKeyring(path string) (*Keyring, error) {
	set, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	k := &Keyring{path: path}
	k.set.Store(set)
	return k, nil
}

// Rotate adds a fresh key, which seals and hashes from now on, and replaces the
// key file atomically. Copy the new file to where its backup lies.
func (k *Keyring) Rotate(now time.Time) (KeyInfo, error) {
	var added KeyInfo
	err := k.replace(func(s *keySet) (*keySet, error) {
		key, err := generateKey(s, now)
		if err != nil {
			return nil, err
		}
		added = key.info()
		return &keySet{keys: append(slices.Clone(s.keys), key)}, nil
	})
	if err != nil {
		return KeyInfo{}, fmt.Errorf("rotating the key file: %w", err)
	}
	return added, nil
}

// Prune removes the keys whose number is not in inUse (see KeysInUse) and
// returns their numbers. The newest key always stays. The caller takes inUse
// from a snapshot younger than the last Rotate, when no token is being made.
func (k *Keyring) Prune(inUse map[uint32]int) ([]uint32, error) {
	var removed []uint32
	err := k.replace(func(s *keySet) (*keySet, error) {
		next := &keySet{}
		for _, key := range s.keys {
			if inUse[key.number] > 0 || key == s.newest() {
				next.keys = append(next.keys, key)
				continue
			}
			removed = append(removed, key.number)
		}
		return next, nil
	})
	if err != nil {
		return nil, fmt.Errorf("pruning the key file: %w", err)
	}
	return removed, nil
}

// replace writes what change makes of the keys and then uses it. It refuses when
// the file is no longer the one in memory: another process has changed it, and
// writing would lose that key and all that was made with it.
func (k *Keyring) replace(change func(*keySet) (*keySet, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	current := k.set.Load()
	disk, err := readKeyFile(k.path)
	if err != nil {
		return err
	}
	if !sameKeys(current, disk) {
		return fmt.Errorf("%s has changed since it was loaded, restart first: %w", k.path, ErrKeyFile)
	}
	next, err := change(current)
	if err != nil || len(next.keys) == len(current.keys) {
		return err
	}
	path, err := filepath.EvalSymlinks(k.path)
	if err != nil {
		return fmt.Errorf("resolving the key file: %w", err)
	}
	if err := writeKeyFile(path, renderKeys(next), os.Rename); err != nil {
		return err
	}
	k.set.Store(next)
	return nil
}

func sameKeys(a, b *keySet) bool {
	return slices.EqualFunc(a.keys, b.keys, func(x, y *masterKey) bool {
		return x.number == y.number && x.master == y.master
	})
}

func readKeyFile(path string) (*keySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("examining the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: %w", path, ErrKeyFile)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, others may read it; run: chmod 600 %s: %w", path, mode, path, ErrKeyFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, keyFileLimit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the key file: %w", err)
	}
	set, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

// writeKeyFile puts data at path through place, os.Link to make a file that must
// not exist or os.Rename to replace one, and syncs file and directory.
func writeKeyFile(path string, data []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".mailchute-keys-*") // mode 0600
	if err != nil {
		return fmt.Errorf("creating a temporary key file: %w", err)
	}
	defer os.Remove(f.Name()) // gone already after a rename
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing the key file: %w", err)
	}
	if err := place(f.Name(), path); err != nil {
		return fmt.Errorf("placing the key file: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the key file's directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing the key file's directory: %w", err)
	}
	return nil
}

func renderKeys(s *keySet) []byte {
	var b bytes.Buffer
	b.WriteString(keyFileNote + keyFileMagic + "\n")
	for _, k := range s.keys {
		fmt.Fprintf(&b, "key %08x %s %x\n", k.number, k.created.Format(time.RFC3339), k.master[:])
	}
	fmt.Fprintf(&b, "sum %x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

// parseKeys reads a key file. Its errors name the line, never what stands there.
func parseKeys(data []byte) (*keySet, error) {
	if len(data) > keyFileLimit {
		return nil, fmt.Errorf("larger than %d octets: %w", keyFileLimit, ErrKeyFile)
	}
	body, err := checkSum(data)
	if err != nil {
		return nil, err
	}
	set, magic := &keySet{}, false
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case !magic && line != keyFileMagic:
			return nil, fmt.Errorf("line %d is not %q, another version?: %w", i+1, keyFileMagic, ErrKeyFile)
		case !magic:
			magic = true
		default:
			key, err := parseKey(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			if set.find(key.number) != nil {
				return nil, fmt.Errorf("line %d: key %08x stands there twice: %w", i+1, key.number, ErrKeyFile)
			}
			set.keys = append(set.keys, key)
		}
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("no key: %w", ErrKeyFile)
	}
	return set, nil
}

// checkSum returns what stands before the sum line, if the sum is right.
func checkSum(data []byte) (string, error) {
	at := bytes.LastIndex(data, []byte("\nsum ")) + 1
	if at == 0 {
		return "", fmt.Errorf("cut short or not a key file, no sum line; restore its copy: %w", ErrKeyFile)
	}
	if string(data[at:]) != fmt.Sprintf("sum %x\n", sha256.Sum256(data[:at])) {
		return "", fmt.Errorf("damaged, its sum is wrong; restore its copy: %w", ErrKeyFile)
	}
	return string(data[:at]), nil
}

func parseKey(line string) (*masterKey, error) {
	fields := strings.Split(line, " ")
	if len(fields) != 4 || fields[0] != "key" || len(fields[1]) != 8 || len(fields[3]) != 64 {
		return nil, fmt.Errorf("not a key line: %w", ErrKeyFile)
	}
	number, errNumber := strconv.ParseUint(fields[1], 16, 32)
	created, errCreated := time.Parse(time.RFC3339, fields[2])
	master, errMaster := hex.DecodeString(fields[3])
	if errNumber != nil || errCreated != nil || errMaster != nil || number == 0 {
		return nil, fmt.Errorf("bad number, time or key: %w", ErrKeyFile)
	}
	return newMasterKey(uint32(number), created, [32]byte(master))
}
