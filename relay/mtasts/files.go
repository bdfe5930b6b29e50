package mtasts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailchute/mailchute/relay/atomicfile"
)

const (
	fileSuffix = ".json"
	tempPrefix = "tmp-"
	// maxFile is the largest file that is read back.
	maxFile = 256 << 10
)

// saved is one policy as it lies in its file.
type saved struct {
	Domain string    `json:"domain"`
	Used   time.Time `json:"used"` // when it was last asked for
	Policy Policy    `json:"policy"`
}

func (s saved) valid(name string) bool {
	p := s.Policy
	known := p.Mode == None || ((p.Mode == Testing || p.Mode == Enforce) && len(p.MX) > 0)
	return known && s.Domain+fileSuffix == name && askable(s.Domain) && p.MaxAge >= 0 && p.MaxAge <= MaxAge
}

// load reads the directory. Files that are not whole policies are removed: they are no loss that another fetch could not repair.
func load(dir string) ([]saved, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []saved
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if !f.Type().IsRegular() || !(strings.HasSuffix(f.Name(), fileSuffix) || strings.HasPrefix(f.Name(), tempPrefix)) {
			continue // not ours
		}
		s, ok, err := loadFile(path)
		switch {
		case err != nil:
			return nil, err
		case ok:
			out = append(out, s)
			continue
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func loadFile(path string) (s saved, ok bool, err error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxFile {
		return saved{}, false, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return saved{}, false, err
	}
	if json.Unmarshal(b, &s) != nil || !s.valid(filepath.Base(path)) {
		return saved{}, false, nil
	}
	return s, true, nil
}

// store writes a policy so that after a power cut either it or its predecessor is there whole.
func store(dir string, s saved) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("storing MTA-STS policy: %w", err)
	}
	err = atomicfile.Replace(filepath.Join(dir, s.Domain+fileSuffix), tempPrefix+"*", func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("storing MTA-STS policy: %w", err)
	}
	return nil
}

// remove deletes the policy of a domain. That need not be durable: what comes back is checked again.
func remove(dir, domain string) error {
	err := os.Remove(filepath.Join(dir, domain+fileSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing MTA-STS policy: %w", err)
	}
	return nil
}
