package journal_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

var updateGolden = flag.Bool("update", false, "write testdata/v1.seg anew; only ever right before the format is released")

// TestFormatV1 opens a segment written by the first version of the format, for ever.
func TestFormatV1(t *testing.T) {
	golden := filepath.Join("testdata", "v1.seg")
	if *updateGolden {
		fs := faultfs.New()
		opts := smallOptions(fs)
		opts.NoPrewrite = true
		j := mustOpen(t, fs, opts)
		mustAppend(t, j, data([]byte("one")), journal.Record{Type: typeMessage, Payload: [][]byte{[]byte("two")}})
		mustAppend(t, j, data(nil))
		mustClose(t, j)
		content, err := fs.ReadFile(segmentPath(1))
		if err == nil {
			err = os.WriteFile(golden, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	fs := withFile(content)
	j := mustOpen(t, fs, smallOptions(fs))
	if r := j.Recovery(); len(r.Damage) > 0 || r.CutAt != (journal.Position{}) {
		t.Fatalf("recovery: %+v", r)
	}
	got, err := replayed(j)
	if err != nil || fmt.Sprintf("%q", got) != `["one" "two" ""]` {
		t.Fatalf("%q, %v", got, err)
	}
}
