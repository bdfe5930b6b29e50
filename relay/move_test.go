package relay

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// TestSchedule_Moves reroutes deliveries from every place in the schedule, and lets each start once, in its new stream.
func TestSchedule_Moves(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := testSchedule(Limits{Total: 8, PerDestination: 2}, "a", "b")
		now := int64(time.Hour)
		var flying []start
		seen := map[int]string{}
		for i := range 60 {
			s.add(testTicket(i, "a", []string{"one.test", "two.test"}[i%2], time.Unix(0, now+r.Int64N(3)*int64(time.Minute))), now)
			seen[i] = "a"
		}
		step := func() {
			s.wake(now)
			for st, ok := s.next(now); ok; st, ok = s.next(now) {
				flying = append(flying, st)
			}
			for len(flying) > r.IntN(4) {
				st := flying[0]
				flying = flying[1:]
				n := int(st.id.Message[15])
				if want := seen[n]; want == "" || st.stream.key.Stream != want {
					t.Fatalf("delivery %d starts in stream %s, want %q", n, st.stream.key.Stream, want)
				}
				delete(seen, n)
				s.done(st, outcome{attempt: 1, final: true, contact: contact{kind: answered}}, now)
			}
		}
		for i := range 60 {
			if r.IntN(3) == 0 {
				step()
			}
			under := false
			for _, st := range flying {
				under = under || int(st.id.Message[15]) == i
			}
			if seen[i] != "" && !under && r.IntN(2) == 0 {
				s.add(testTicket(i, "b", []string{"one.test", "three.test"}[r.IntN(2)], time.Unix(0, now)), now)
				seen[i] = "b"
			}
		}
		for range 100 {
			now += int64(time.Minute)
			step()
		}
		for _, st := range flying {
			delete(seen, int(st.id.Message[15]))
			s.done(st, outcome{attempt: 1, final: true}, now)
		}
		if len(seen) != 0 || s.flying != 0 || s.tickets.len() != 0 || len(s.streams) != 0 {
			t.Fatalf("%d deliveries never started, %d fly, %d tickets, %d streams are left", len(seen), s.flying, s.tickets.len(), len(s.streams))
		}
	}
}

// TestSchedule_MovesWhileItFlies: the ticket of a rerouting may come before the end of the attempt is told.
func TestSchedule_MovesWhileItFlies(t *testing.T) {
	s := testSchedule(Limits{}, "a", "b")
	s.add(testTicket(1, "a", "one.test", time.Unix(0, 1)), 1)
	st, _ := s.next(1)
	again := testTicket(1, "b", "one.test", time.Unix(0, 1))
	again.Attempt = 1
	s.add(again, 1)
	s.done(st, outcome{attempt: 1}, 1)
	if st, ok := s.next(1); !ok || st.stream.key != (store.StreamKey{Server: 1, Stream: "b"}) || len(s.streams) != 1 {
		t.Errorf("next = %+v %t with %d streams, want it in the new stream alone", st, ok, len(s.streams))
	}
}
