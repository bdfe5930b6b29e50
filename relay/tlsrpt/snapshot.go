package tlsrpt

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailchute/mailchute/relay/atomicfile"
)

// maxLine is the longest line that is read back, in octets.
const maxLine = 8 << 20

// saved is one line of the file.
type saved struct {
	Domain   string          `json:"domain"`
	Day      Day             `json:"day"`
	Policies []*PolicyReport `json:"policies"`
}

func (s saved) valid() bool {
	if s.Day.Start().IsZero() || !mailbox("x@"+s.Domain) || len(s.Policies) == 0 {
		return false
	}
	for _, p := range s.Policies {
		if p == nil || p.Summary.Successful < 0 || p.Summary.Failed < 0 {
			return false
		}
	}
	return true
}

// load reads the file. A line that cannot be read is lost alone.
func (r *Recorder) load() error {
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var s saved
		if json.Unmarshal(lines.Bytes(), &s) != nil || !s.valid() || !r.take(s) {
			r.lost++
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		r.lost++
	} else if err := lines.Err(); err != nil {
		_ = f.Close() // only read from
		return err
	}
	return f.Close()
}

// take adds a line if there is room for it.
func (r *Recorder) take(s saved) bool {
	n := 0
	for _, p := range s.Policies {
		n += p.rows()
	}
	k := Key{s.Domain, s.Day}
	if r.tallies[k] != nil || r.rows+n > r.opts.MaxRows {
		return false
	}
	r.tallies[k] = s.Policies
	r.rows += n
	return true
}

// Save writes the counts, if they have changed, so that after a power cut either they or their predecessors are there whole.
func (r *Recorder) Save() error {
	r.disk.Lock()
	defer r.disk.Unlock()
	keys, changes := r.keys()
	if changes == r.written {
		return nil
	}
	err := atomicfile.Replace(r.path, filepath.Base(r.path)+".tmp-*", func(w io.Writer) error { return r.write(w, keys) })
	if err != nil {
		return fmt.Errorf("writing TLS report counts: %w", err)
	}
	r.written = changes
	return nil
}

func (r *Recorder) keys() ([]Key, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]Key, 0, len(r.tallies))
	for k := range r.tallies {
		keys = append(keys, k)
	}
	return keys, r.changes
}

// write writes one line per key. Sessions are recorded meanwhile: each line is of one moment, the file as a whole is not, and need not be.
func (r *Recorder) write(out io.Writer, keys []Key) error {
	w := bufio.NewWriter(out)
	for _, k := range keys {
		line, err := r.line(k)
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (r *Recorder) line(k Key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.tallies[k]
	if len(list) == 0 {
		return nil, nil // forgotten meanwhile
	}
	b, err := json.Marshal(saved{k.Domain, k.Day, list})
	return append(b, '\n'), err
}

// removeTemps removes what a crash in the middle of Save has left.
func (r *Recorder) removeTemps() error {
	files, err := os.ReadDir(filepath.Dir(r.path))
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), filepath.Base(r.path)+".tmp-") {
			if err := os.Remove(filepath.Join(filepath.Dir(r.path), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
