package bounce

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is what a sample means: what was read, and the class for the recipient that all samples are about.
type golden struct {
	Report Report
	Class  Class
}

// TestCorpus reads every sample of testdata. The golden file beside it is what a person who read the sample agreed to.
func TestCorpus(t *testing.T) {
	samples, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil || len(samples) < 60 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, file := range samples {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Parse(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(golden{r, Classify(r.Evidence("nobody@example.org"))}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			name := strings.TrimSuffix(file, ".eml") + ".json"
			if *update {
				if err := os.WriteFile(name, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
