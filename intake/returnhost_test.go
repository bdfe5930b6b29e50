package intake_test

import (
	"strings"
	"testing"

	"github.com/mailchute/mailchute/store"
)

// TestSubmit_ReturnHost: the author's domain decides, not the envelope.
func TestSubmit_ReturnHost(t *testing.T) {
	s := account(t)
	own := store.Domain{ID: 50, Name: "own.example", ReturnPath: "back.own.example", ReturnPathVerified: now}
	waiting := store.Domain{ID: 51, Name: "waiting.example", ReturnPath: "back.waiting.example"}
	snap, err := s.snap.With(store.Change{Domain: &own}, store.Change{Domain: &waiting})
	if err != nil {
		t.Fatal(err)
	}
	for author, want := range map[string]string{
		"a@own.example": "back.own.example", "a@News.Own.Example": "back.own.example", "a@waiting.example": "", "a@verified.example": "",
	} {
		s := &spool{snap: snap}
		if _, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader("From: <"+author+">\r\n\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
		if got := s.message.ReturnHost; got != want {
			t.Errorf("From %s: %q, want %q", author, got, want)
		}
	}
}
