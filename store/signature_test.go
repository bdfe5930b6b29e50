package store_test

import (
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

func TestSnapshot_UnconfirmedSender(t *testing.T) {
	now := time.Now()
	s, err := (&store.Snapshot{}).With(
		store.Change{Signature: &store.Signature{ID: 1, Email: "Waiting@a.example"}},
		store.Change{Signature: &store.Signature{ID: 2, Email: "done@a.example", Verified: now}},
		store.Change{Signature: &store.Signature{ID: 3, Email: "twice@a.example"}},
		store.Change{Signature: &store.Signature{ID: 4, Email: "Twice@a.example", Verified: now}},
		store.Change{Signature: &store.Signature{ID: 5, Email: "waiting@verified.example"}},
		store.Change{Domain: &store.Domain{ID: 6, Name: "verified.example", Verified: now}},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		local, domain string
		id            int64
		unconfirmed   bool
	}{
		{"waiting", "a.example", 1, true}, {"WAITING", "a.example", 1, true}, {"done", "a.example", 2, false}, {"twice", "a.example", 4, false},
		{"waiting", "verified.example", 5, false}, {"nobody", "a.example", 0, false}, {"waiting@", ".example", 0, false}, {"", "", 0, false}, {"waitin", "g@a.example", 0, false},
	} {
		g, ok := s.SignatureOf(tt.local, tt.domain)
		if g.ID != tt.id || ok != (tt.id != 0) {
			t.Errorf("SignatureOf(%s, %s) = %d, %t, want %d", tt.local, tt.domain, g.ID, ok, tt.id)
		}
		if got := s.UnconfirmedSender(tt.local, tt.domain); got != tt.unconfirmed {
			t.Errorf("UnconfirmedSender(%s, %s) = %t", tt.local, tt.domain, got)
		}
	}
}
