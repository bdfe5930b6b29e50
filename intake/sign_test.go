package intake_test

import (
	"io"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

func TestSubmit_TakesTheBodyHashWhereSomebodySigns(t *testing.T) {
	s := account(t)
	key := store.DomainKey{Selector: "s1", Algorithm: store.KeyRSA, Sealed: []byte{1}, Record: "v=DKIM1; p=", Created: now}
	snap, err := s.snap.With(store.Change{Domain: &store.Domain{ID: 4, Name: "verified.example", Verified: now, Keys: []store.DomainKey{key}}})
	if err != nil {
		t.Fatal(err)
	}
	s.snap = snap
	const body = "Hello  world \r\n\r\n\r\n"
	hash := dkim.NewBodyHasher()
	io.WriteString(hash, body)
	for author, want := range map[string][32]byte{
		"app@verified.example": hash.Sum(), "app@News.Verified.Example": hash.Sum(),
		"app@pending.example": {}, "app@other.example": {},
	} {
		content := strings.Replace(strings.TrimSuffix(simple, "body\r\n"), "app@verified.example", author, 1) + body
		if _, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if s.message.DKIMBody != want || !strings.HasSuffix(string(s.body), body) {
			t.Errorf("%s: hash %x, want %x; stored %q", author, s.message.DKIMBody, want, s.body)
		}
	}
	empty := "From: app@verified.example\r\nSubject: x\r\n"
	if _, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(empty)); err != nil || s.message.DKIMBody != dkim.NewBodyHasher().Sum() {
		t.Errorf("message without a body: %v, hash %x", err, s.message.DKIMBody)
	}
}
