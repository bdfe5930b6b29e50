package journal_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// FuzzRecover patches a good segment with arbitrary bytes, or replaces it, and
// opens it. Recovery never fails on content, what it found is found
// again by the next Open, and the journal can be used.
func FuzzRecover(f *testing.F) {
	fs := faultfs.New()
	j := mustOpen(f, fs, smallOptions(fs))
	writeSome(f, j, 20, 300, 0, 40)
	mustClose(f, j)
	good, err := fs.ReadFile(segmentPath(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(framesBegin), []byte{1, 2, 3}, true)
	f.Add(uint16(0), []byte("mcjourn\n"), true)
	f.Add(uint16(8192), []byte("mcjseal\n"), true)
	f.Add(uint16(framesBegin), bytes.Clone(good[framesBegin:]), true)
	f.Add(uint16(framesBegin+100), bytes.Clone(good[framesBegin:]), false)
	f.Add(uint16(0), good[:framesBegin+10], false)
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, keepRest bool) {
		image := patched(good, int(at), patch, keepRest)
		fs := faultfs.New()
		fs.WriteFile(segmentPath(1), image)
		first := openAndList(t, fs)
		second := openAndList(t, fs)
		if len(second) != len(first)+1 {
			t.Fatalf("%d records, then %d", len(first), len(second))
		}
		for i := range first {
			if !bytes.Equal(first[i], second[i]) {
				t.Fatalf("record %d changed between two opens", i)
			}
		}
		var dump bytes.Buffer
		if err := journal.Dump(&dump, testDir, journal.DumpOptions{FS: fs}); err != nil {
			t.Fatal(err)
		}
	})
}

func patched(good []byte, at int, patch []byte, keepRest bool) []byte {
	at = min(at, len(good))
	patch = patch[:min(len(patch), 8<<10)]
	image := append(bytes.Clone(good[:at]), patch...)
	if keepRest && len(image) < len(good) {
		image = append(image, good[len(image):]...)
	}
	return image
}

// openAndList opens a journal, lists its records, appends one and closes it.
func openAndList(t *testing.T, fs *faultfs.FS) [][]byte {
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j, err := journal.Open(testDir, opts)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	err = j.Salvage(context.Background(), journal.Position{}, func(e journal.Entry) error {
		got = append(got, bytes.Clone(e.Payload))
		return nil
	}, func(*journal.CorruptError) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, data([]byte("one more")))
	mustClose(t, j)
	return got
}
