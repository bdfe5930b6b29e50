package local

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// segmentsOf returns the numbers of the journal's segments.
func segmentsOf(s *Store) (numbers []uint64) {
	for _, i := range s.jour.Segments() {
		numbers = append(numbers, i.Number)
	}
	return numbers
}

func pruneT(t testing.TB, s *Store, want int) {
	t.Helper()
	if n, err := s.Prune(context.Background(), time.Now().Add(time.Hour)); n != want || err != nil {
		t.Fatalf("Prune = %d, %v, want %d", n, err, want)
	}
}

func TestRetention_ReleasesSegmentsWithoutMail(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	for range 40 {
		deliverT(t, s, acceptT(t, s, 100<<10)) // ten to a segment
	}
	if n := len(segmentsOf(s)); n < 4 {
		t.Fatalf("%d segments, want at least 4", n)
	}
	pruneT(t, s, 40)
	if got := segmentsOf(s); len(got) > 1 {
		t.Errorf("segments %v are left", got)
	}
	last := acceptT(t, s, 10)
	checkT(t, s)
	again := openT(t, s.root, smallOptions())
	wantBody(t, again, last, 10)
}

func TestRetention_CopiesStragglersForward(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	small, large := acceptT(t, s, 1000), acceptT(t, s, 600<<10)
	n := 0
	for ; len(segmentsOf(s)) < 7; n++ {
		deliverT(t, s, acceptT(t, s, 100<<10))
	}
	oldest := segmentsOf(s)[0]
	reader, err := s.Body(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	pruneT(t, s, n)
	for _, number := range segmentsOf(s) {
		if number == oldest && !s.jour.Segments()[0].Released {
			t.Errorf("segment %d is held back by two messages: %v", oldest, segmentsOf(s))
		}
	}
	buf := make([]byte, 1)
	if _, err := reader.Read(buf); err != nil {
		t.Errorf("reading a body that was copied meanwhile: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	for i, id := range []store.ID{small, large} {
		wantBody(t, s, id, []int64{1000, 600 << 10}[i])
		deliverT(t, s, id)
	}
	checkT(t, s)
	again := openT(t, s.root, smallOptions())
	wantBody(t, again, large, 600<<10)
	pruneT(t, again, 2)
	checkT(t, again)
}

func TestRetention_RebuildAfterCopying(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	keep := acceptT(t, s, 1000)
	if _, err := s.Amend(t.Context(), store.Hold, "ada", moment, keep); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; len(segmentsOf(s)) < 5; n++ {
		deliverT(t, s, acceptT(t, s, 100<<10))
	}
	pruneT(t, s, n)
	want, err := s.Record(t.Context(), keep)
	if err != nil {
		t.Fatal(err)
	}
	checkT(t, s)
	r, err := Rebuild(t.Context(), s.root, smallOptions())
	if err != nil || r.Messages != 1 || r.Unfinished != 1 {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	again := openT(t, s.root, smallOptions())
	got, err := again.Record(t.Context(), keep)
	if err != nil || len(got.Events) != len(want.Events) || !got.Deliveries[0].Held.Equal(moment) {
		t.Errorf("Record = %+v, %v, want %+v", got, err, want)
	}
	wantBody(t, again, keep, 1000)
	checkT(t, again)
}

// TestRetention_SetsADamagedSegmentAside: damage in one segment must not keep the journal
// from being recycled for ever.
func TestRetention_SetsADamagedSegmentAside(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	first := acceptT(t, s, 100<<10)
	deliverT(t, s, first)
	n := 1
	for ; len(segmentsOf(s)) < 4; n++ {
		deliverT(t, s, acceptT(t, s, 100<<10))
	}
	kept := acceptT(t, s, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.root, journalName, "00000000000000000001.seg")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[50<<10] ^= 1 // in the body of first
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openT(t, s.root, smallOptions())
	if r, err := s.Check(t.Context(), CheckOptions{Full: true}); err != nil || r.OK() {
		t.Fatalf("Check = %+v, %v, want the damage", r, err)
	}
	if !s.jour.Segments()[0].Quarantined {
		t.Fatal("the segment is not quarantined")
	}
	pruneT(t, s, n)
	if got := segmentsOf(s); got[0] == 1 || len(got) > 2 {
		t.Errorf("segments %v are left, want the newest alone", got)
	}
	aside, err := os.ReadFile(path + ".aside")
	if err != nil || !bytes.Equal(aside, content) {
		t.Errorf("the damaged segment: %d bytes, %v, want it as it was", len(aside), err)
	}
	wantBody(t, s, kept, 1000)
	checkT(t, s)
	again := openT(t, s.root, smallOptions())
	wantBody(t, again, kept, 1000)
	checkT(t, again)
}

// pruningJournal has a retention run between the moment when a message with a
// staged body is durable and that when it is in the overlay.
type pruningJournal struct {
	journalFile
	prune func()
}

func (j *pruningJournal) AppendDepending(ctx context.Context, deps []journal.Ref, recs ...journal.Record) ([]journal.Ref, journal.Position, error) {
	refs, pos, err := j.journalFile.AppendDepending(ctx, deps, recs...)
	if len(deps) > 0 {
		j.prune()
	}
	return refs, pos, err
}

// TestRetention_KeepsABodyThatIsJustAccepted: the pieces of a large body may lie
// in an old segment that nothing else needs.
func TestRetention_KeepsABodyThatIsJustAccepted(t *testing.T) {
	const size = 600 << 10
	s := openT(t, t.TempDir(), smallOptions())
	draft, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Discard()
	if _, err := draft.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; len(segmentsOf(s)) < 4; n++ {
		deliverT(t, s, acceptT(t, s, 100<<10))
	}
	pruneT(t, s, n)
	s.jour = &pruningJournal{s.jour, func() { pruneT(t, s, 0) }}
	m, deliveries := sampleMessage(store.NewID(), "example.org")
	if err := draft.Commit(t.Context(), m, deliveries); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s, m.ID, size)
	deliverT(t, s, m.ID)
	pruneT(t, s, 1)
	if got := segmentsOf(s); len(got) > 1 {
		t.Errorf("segments %v are left", got)
	}
	checkT(t, s)
}
