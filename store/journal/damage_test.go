package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

const framesBegin = 12288 // of a segment, as the format says

func segmentPath(n uint64) string { return filepath.Join(testDir, fmt.Sprintf("%020d.seg", n)) }

// written is a record that a test stored, and where.
type written struct {
	ref     journal.Ref
	payload []byte
	commit  int64 // the offset after the commit frame of its group
}

// frameOf returns where the frame of w begins and ends.
func (w written) frameOf() (from, to int64) { return w.ref.Offset - 16, w.ref.Offset + w.ref.Length }

// writeSome appends records one by one.
func writeSome(t testing.TB, j *journal.Journal, sizes ...int) []written {
	t.Helper()
	var out []written
	for i, n := range sizes {
		p := filler(uint64(n), uint64(i), n)
		refs, _ := mustAppend(t, j, data(p))
		out = append(out, written{ref: refs[0], payload: p, commit: j.End().Offset})
	}
	return out
}

// replayed returns the payloads a replay shows and its error.
func replayed(j *journal.Journal) ([][]byte, error) {
	var got [][]byte
	err := j.Replay(context.Background(), journal.Position{}, func(e journal.Entry) error {
		got = append(got, bytes.Clone(e.Payload))
		return nil
	})
	return got, err
}

// checkPayloads compares a replay with the first n of what was written.
func checkPayloads(got [][]byte, want []written) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i].payload) {
			return fmt.Errorf("record %d has other bytes", i)
		}
	}
	return nil
}

// withFile returns a file system that has one segment with this content.
func withFile(content []byte) *faultfs.FS {
	fs := faultfs.New()
	fs.WriteFile(segmentPath(1), content)
	return fs
}

// TestTornTailAtEveryByte ends a journal at every byte, by truncation and with
// zeros: every group that is whole is there, and nothing is called damage.
func TestTornTailAtEveryByte(t *testing.T) {
	fs := faultfs.New()
	recs := writeSome(t, mustOpen(t, fs, smallOptions(fs)), 200, 0, 333, 90)
	content, err := fs.ReadFile(segmentPath(1))
	if err != nil {
		t.Fatal(err)
	}
	end := recs[len(recs)-1].commit
	for at := int64(framesBegin); at <= end; at++ {
		zeroed := append(bytes.Clone(content[:at]), make([]byte, 32<<10-at)...)
		for what, image := range map[string][]byte{"truncated": content[:at], "zeroed": zeroed} {
			whole := 0 // groups that lost nothing: the last byte of one may be zero anyway
			for whole < len(recs) && bytes.HasPrefix(image, content[:recs[whole].commit]) {
				whole++
			}
			if err := checkTail(withFile(image), recs[:whole]); err != nil {
				t.Fatalf("%s at %d: %v", what, at, err)
			}
		}
	}
}

// checkTail opens an image twice and writes in between.
func checkTail(fs *faultfs.FS, want []written) error {
	for round := range 2 {
		j, err := journal.Open(testDir, smallOptions(fs))
		if err != nil {
			return err
		}
		if d := j.Recovery().Damage; len(d) > 0 {
			return d[0]
		}
		got, err := replayed(j)
		if err != nil {
			return err
		}
		if err := checkPayloads(got, want); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		p := []byte("written after the cut")
		if _, _, err := j.Append(context.Background(), data(p)); err != nil {
			return err
		}
		want = append(want[:len(want):len(want)], written{payload: p})
		if err := j.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestFlippedByteAtEveryPosition damages every byte of a journal that was
// closed. Nothing was unacknowledged, so no record may be missing without a
// CorruptError that names the segment and the offset of the frame it lies in.
func TestFlippedByteAtEveryPosition(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 200, 0, 333, 90)
	mustClose(t, j)
	content, err := fs.ReadFile(segmentPath(1))
	if err != nil {
		t.Fatal(err)
	}
	lastCommit := recs[len(recs)-1].commit
	for at := range content {
		image := bytes.Clone(content)
		image[at] ^= 0x41
		if err := checkFlip(image, int64(at), lastCommit, recs); err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

// checkFlip checks what a journal says of one damaged byte.
func checkFlip(image []byte, at, lastCommit int64, recs []written) error {
	j, err := journal.Open(testDir, smallOptions(withFile(image)))
	if err != nil {
		return err
	}
	defer j.Close()
	damage := j.Recovery().Damage
	var got [][]byte
	err = j.Salvage(context.Background(), journal.Position{}, func(e journal.Entry) error {
		got = append(got, bytes.Clone(e.Payload))
		return nil
	}, func(d *journal.CorruptError) error { return nil })
	if err != nil {
		return err
	}
	hit := -1 // the record whose frame was hit
	for i, r := range recs {
		if from, to := r.frameOf(); at >= from && at < to {
			hit = i
		}
	}
	switch {
	case at >= framesBegin && at < lastCommit:
		if len(damage) != 1 || damage[0].Segment != 1 {
			return fmt.Errorf("damage reported: %v", damage)
		}
		if err := checkOffset(damage[0].Offset, at, hit, recs); err != nil {
			return err
		}
	case at < 68: // the header proper; its copy is good
		if len(damage) != 1 || damage[0].Offset != 0 {
			return fmt.Errorf("damage reported: %v", damage)
		}
	default: // padding, the header's copy, the seal block, the mark
		if len(damage) != 0 {
			return fmt.Errorf("damage reported: %v", damage)
		}
	}
	want := recs
	if hit >= 0 {
		want = append(append([]written(nil), recs[:hit]...), recs[hit+1:]...)
	}
	return checkPayloads(got, want)
}

// checkOffset compares a reported offset with the beginning of the frame that was hit.
func checkOffset(reported, at int64, hit int, recs []written) error {
	want := int64(-1)
	if hit >= 0 {
		want, _ = recs[hit].frameOf()
	} else {
		for _, r := range recs { // a commit frame, which follows its only record
			if _, to := r.frameOf(); at >= to && at < r.commit {
				want = to
			}
		}
	}
	if reported != want {
		return fmt.Errorf("reported at %d, the frame begins at %d", reported, want)
	}
	return nil
}

// TestFlippedByteInSealedSegment damages every byte of the frames in a sealed
// segment: Open does not read those, but Replay and Verify find it and name it.
func TestFlippedByteInSealedSegment(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 120, 40, 19000, 10000)
	mustClose(t, j)
	content, err := fs.ReadFile(segmentPath(1))
	if err != nil {
		t.Fatal(err)
	}
	_, second := recs[1].frameOf()
	for at := int64(framesBegin); at < second; at++ {
		image := fs.Crash(faultfs.KeepAll, 0)
		bad := bytes.Clone(content)
		bad[at] ^= 1
		image.WriteFile(segmentPath(1), bad)
		if err := checkSealedFlip(image, at, recs); err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

func checkSealedFlip(image *faultfs.FS, at int64, recs []written) error {
	j, err := journal.Open(testDir, smallOptions(image))
	if err != nil {
		return err
	}
	defer j.Close()
	_, err = replayed(j)
	var damage *journal.CorruptError
	if !errors.As(err, &damage) || damage.Segment != 1 || damage.Path != segmentPath(1) {
		return fmt.Errorf("replay returned %v", err)
	}
	hit := -1
	for i, r := range recs {
		if from, to := r.frameOf(); r.ref.Segment == 1 && at >= from && at < to {
			hit = i
		}
	}
	if err := checkOffset(damage.Offset, at, hit, recs); err != nil {
		return err
	}
	all, err := j.Verify(context.Background())
	if err != nil || len(all) != 1 || all[0].Offset != damage.Offset {
		return fmt.Errorf("verify found %v, %v", all, err)
	}
	if err := j.Release(1); !errors.Is(err, journal.ErrInUse) {
		return fmt.Errorf("releasing a quarantined segment: %v", err)
	}
	return nil
}

// TestDamagedLastSegmentIsQuarantined: the journal goes on in a new segment,
// keeps the old one as it is, and says so in every later Open.
func TestDamagedLastSegmentIsQuarantined(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 100, 200, 300)
	mustClose(t, j)
	content, err := fs.ReadFile(segmentPath(1))
	if err != nil {
		t.Fatal(err)
	}
	content[recs[1].ref.Offset+7] ^= 0xFF
	fs.WriteFile(segmentPath(1), content)
	for round := range 2 {
		j := mustOpen(t, fs, smallOptions(fs))
		info := j.Segments()[0]
		if !info.Quarantined || info.Active {
			t.Fatalf("round %d: %+v", round, info)
		}
		if d := j.Recovery().Damage; len(d) != 1 || d[0].Offset != recs[1].ref.Offset-16 {
			t.Fatalf("round %d: reported: %v", round, d)
		}
		refs, _ := mustAppend(t, j, data([]byte("after")))
		if refs[0].Segment == 1 {
			t.Fatal("the damaged segment was written")
		}
		if got, err := j.Read(recs[2].ref); err != nil || !bytes.Equal(got, recs[2].payload) {
			t.Fatalf("a good record of a quarantined segment: %v", err)
		}
		if _, err := j.Read(recs[1].ref); !errors.As(err, new(*journal.CorruptError)) {
			t.Fatalf("the damaged record: %v", err)
		}
		mustClose(t, j)
	}
	if now, _ := fs.ReadFile(segmentPath(1)); !bytes.Equal(now, content) {
		t.Fatal("the damaged segment was changed")
	}
}

// TestLostFileEnd: a sealed segment that became shorter is damage.
func TestLostFileEnd(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	writeSome(t, j, 8000, 8000, 8000)
	mustClose(t, j)
	content, _ := fs.ReadFile(segmentPath(1))
	fs.WriteFile(segmentPath(1), content[:framesBegin+9000])
	j = mustOpen(t, fs, smallOptions(fs))
	if d := j.Recovery().Damage; len(d) != 1 || d[0].Segment != 1 || d[0].Offset != framesBegin+9000 {
		t.Fatalf("damage: %v", d)
	}
	if _, err := replayed(j); !errors.As(err, new(*journal.CorruptError)) {
		t.Fatalf("replay: %v", err)
	}
}

// TestNewerFormatIsRefused: an older program must not call a newer journal damaged.
func TestNewerFormatIsRefused(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	writeSome(t, j, 10)
	mustClose(t, j)
	content, _ := fs.ReadFile(segmentPath(1))
	fs.WriteFile(segmentPath(1), journal.WithFormatVersion(content, 2))
	if _, err := journal.Open(testDir, smallOptions(fs)); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("open: %v", err)
	}
}

// TestGhostsOfARecycledSegment writes frames of equal lengths into a recycled
// file and crashes: what the file holds of its earlier life must not appear.
func TestGhostsOfARecycledSegment(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	j := mustOpen(t, fs, opts)
	var recs []written
	add := func() uint64 {
		p := filler(7, uint64(len(recs)), 1000)
		refs, _ := mustAppend(t, j, data(p))
		recs = append(recs, written{ref: refs[0], payload: p})
		return refs[0].Segment
	}
	const released, recycled = 2, 4
	add()
	waitFor(t, "a spare", func() bool { return spareCount(fs) == 1 })
	for add() < released { // becomes segment 2, with the full size
	}
	waitFor(t, "a spare", func() bool { return spareCount(fs) == 1 })
	fs.SetFault(noNewFiles) // the only spare from now on is the one released below
	for add() <= released {
	}
	recycle(t, fs, j, released)
	for add() < recycled {
	}
	number := uint64(recycled)
	content, err := fs.ReadFile(segmentPath(number))
	if err != nil {
		t.Fatal(err)
	}
	var left []written
	ghosts := 0
	for _, r := range recs {
		if r.ref.Segment != released {
			left = append(left, r)
		} else if bytes.Contains(content, r.payload) {
			ghosts++
		}
	}
	if ghosts < 5 {
		t.Fatalf("the test is void: %d records of the file's earlier life are left in it", ghosts)
	}
	for _, loss := range faultfs.Losses() {
		j := mustOpen(t, fs.Crash(loss, 1), opts)
		if d := j.Recovery().Damage; len(d) > 0 {
			t.Fatal(d[0])
		}
		got, err := replayed(j)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkPayloads(got, left); err != nil {
			t.Fatalf("%v: %v", loss, err)
		}
	}
}

// noNewFiles refuses to create files.
func noNewFiles(op faultfs.Op) (int64, error) {
	if op.Kind == faultfs.Create {
		return 0, syscall.ENOSPC
	}
	return 0, nil
}

// recycle releases a segment and makes sure that its file was kept as a spare.
func recycle(t *testing.T, fs *faultfs.FS, j *journal.Journal, number uint64) {
	t.Helper()
	fs.Record()
	if err := j.Release(number); err != nil {
		t.Fatal(err)
	}
	for _, op := range fs.Ops() {
		if op.Kind == faultfs.Rename && op.Name == segmentPath(number) {
			return
		}
	}
	t.Fatal("the segment was not recycled")
}

func spareCount(fs *faultfs.FS) int {
	names, _ := fs.ReadDir(testDir)
	n := 0
	for _, name := range names {
		if strings.HasPrefix(name, "spare-") && strings.HasSuffix(name, ".free") {
			n++
		}
	}
	return n
}

// TestPayloadThatContainsAJournal stores a copy of the segment as a payload,
// which an attacker could mail, and tears the group: it is still a tail.
func TestPayloadThatContainsAJournal(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 100, 200, 50)
	copied, _ := fs.ReadFile(segmentPath(1))
	copied = copied[framesBegin:recs[2].commit]
	refs, _ := mustAppend(t, j, data(bytes.Repeat(copied, 4)), data([]byte("end")))
	content, _ := fs.ReadFile(segmentPath(1))
	for _, at := range []int64{refs[0].Offset - 16, refs[0].Offset + 5, refs[1].Offset} {
		image := bytes.Clone(content)
		image[at] ^= 1
		if err := checkTail(withFile(image), recs); err != nil {
			t.Fatalf("torn at %d: %v", at, err)
		}
	}
}

// TestDumpOfADamagedJournal shows the damage where it is and what lies behind it.
func TestDumpOfADamagedJournal(t *testing.T) {
	fs := faultfs.New()
	j := mustOpen(t, fs, smallOptions(fs))
	recs := writeSome(t, j, 100, 200, 300)
	mustClose(t, j)
	content, _ := fs.ReadFile(segmentPath(1))
	content[recs[1].ref.Offset] ^= 1
	fs.WriteFile(segmentPath(1), content)
	before := fs.Count()
	fs.Record()
	var text bytes.Buffer
	if err := journal.Dump(&text, testDir, journal.DumpOptions{FS: fs, Payload: true}); err != nil {
		t.Fatal(err)
	}
	for _, op := range fs.Ops() {
		if op.Kind.Changes() {
			t.Errorf("dump changed something: %v (after %d)", op, before)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("1:%d damage: payload checksum\n", recs[1].ref.Offset-16),
		fmt.Sprintf("1:%d record type=1 length=300 last\n", recs[2].ref.Offset-16),
		"commit start=", "00000000  ",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no line %q in\n%s", want, text.String())
		}
	}
	text.Reset()
	if err := journal.Dump(&text, testDir, journal.DumpOptions{FS: fs, JSON: true, Segment: 1}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), fmt.Sprintf(`{"segment":1,"offset":%d,"kind":"damage"`, recs[1].ref.Offset-16)) {
		t.Errorf("no damage in\n%s", text.String())
	}
}

// TestVerifyCoversStagedRecords: a body whose message was committed only after
// a rotation lies within its segment's end, and is verified.
func TestVerifyCoversStagedRecords(t *testing.T) {
	fs := faultfs.New()
	opts := smallOptions(fs)
	opts.NoPrewrite = true
	j := mustOpen(t, fs, opts)
	ref, err := j.Stage(context.Background(), data(make([]byte, 15000)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.AppendDepending(context.Background(), []journal.Ref{ref}, data(make([]byte, 9000))); err != nil {
		t.Fatal(err)
	}
	if first := j.Segments()[0]; ref.Segment != 1 || first.Active || first.Last.Offset < ref.Offset+ref.Length {
		t.Fatalf("the staged record %v lies outside of its segment: %+v", ref, first)
	}
	mustClose(t, j)
	content, _ := fs.ReadFile(segmentPath(1))
	content[ref.Offset+99] ^= 1
	fs.WriteFile(segmentPath(1), content)
	all, err := mustOpen(t, fs, opts).Verify(context.Background())
	if err != nil || len(all) != 1 || all[0].Offset != ref.Offset-16 {
		t.Fatalf("verify: %v, %v", all, err)
	}
}
