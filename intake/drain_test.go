package intake_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// TestDrain refuses for now what is written to a domain that is drained, and nothing else.
func TestDrain(t *testing.T) {
	s := account(t)
	snap, err := s.snap.With(store.Change{Account: &store.Account{Pauses: []store.Pause{
		{Destination: "one.example", Drain: true}, {Destination: "two.example"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s.snap = snap
	in := newIntake(s)
	for to, busy := range map[string]bool{"a@one.example": true, "b@ONE.example": true, "a@two.example": false, "a@sub.one.example": false} {
		address, err := message.ParsePath(to, true)
		if err != nil {
			t.Fatal(err)
		}
		e := envelope(serverToken)
		e.Recipients = []intake.Recipient{{Address: "x@free.example"}, {Address: to}}
		_, submitted := in.Submit(t.Context(), e, strings.NewReader(simple))
		for doing, err := range map[string]error{"RCPT": in.CheckRecipient(serverToken, address), "Submit": submitted} {
			var r *intake.Refusal
			if got := errors.As(err, &r) && r.Kind == intake.KindBusy; got != busy {
				t.Errorf("%s for %s = %v, want it refused for now: %t", doing, to, err, busy)
			}
		}
	}
}
