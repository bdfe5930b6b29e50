package local

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/store"
)

// TestInterventions_SurviveARebuild: the journal does not have them, so they are taken over from the old file.
func TestInterventions_SurviveARebuild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openT(t, dir, smallOptions())
	for _, what := range []string{"pause", "resume"} {
		if err := s.Intervened(t.Context(), store.Intervention{At: moment, By: "ada", What: what}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetNote(t.Context(), "sites", []byte("[]")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Rebuild(t.Context(), dir, smallOptions()); err != nil || len(r.Lost) != 0 {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	s = openT(t, dir, smallOptions())
	if err := s.Intervened(t.Context(), store.Intervention{At: moment, By: "ada", What: "drain"}); err != nil {
		t.Fatal(err)
	}
	got, err := s.ListInterventions(t.Context(), 10)
	if err != nil || len(got) != 3 || got[0].What != "drain" || got[2].What != "pause" {
		t.Errorf("ListInterventions = %+v, %v", got, err)
	}
	if note, err := s.Note(t.Context(), "sites"); err != nil || string(note) != "[]" {
		t.Errorf("Note = %q, %v", note, err)
	}
}

// TestInterventions_OneDamagedBucketCostsNoOther: what can be read is kept, and what
// cannot is named.
func TestInterventions_OneDamagedBucketCostsNoOther(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openT(t, dir, smallOptions())
	for range 30 { // more than lies within the page of all buckets
		if err := s.Intervened(t.Context(), store.Intervention{At: moment, By: "ada", What: "pause"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetNote(t.Context(), "sites", []byte("[]")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	breakPage(t, filepath.Join(dir, dbName), bucketIntervention)
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || len(r.Lost) != 1 || !strings.Contains(r.Lost[0], "intervention") {
		t.Errorf("Rebuild = %+v, %v, want the log lost", r, err)
	}
	s = openT(t, dir, smallOptions())
	if note, err := s.Note(t.Context(), "sites"); err != nil || string(note) != "[]" {
		t.Errorf("Note = %q, %v", note, err)
	}
}
