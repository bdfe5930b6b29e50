package relay

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// These tests are inside the package: the schedule is plain data and has no exported face.

func testSnapshot(streams ...string) *store.Snapshot {
	snap := &store.Snapshot{Servers: map[int64]store.Server{1: {ID: 1, DeliveryType: store.Live}}, Streams: map[store.StreamKey]store.Stream{}}
	for _, id := range streams {
		snap.Streams[store.StreamKey{Server: 1, Stream: id}] = store.Stream{Server: 1, ID: id, Kind: store.Transactional, Mode: store.ModeLive}
	}
	return snap
}

func testTicket(n int, stream, destination string, due time.Time) store.Ticket {
	var id store.ID
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return store.Ticket{ID: store.DeliveryID{Message: id}, Server: 1, Stream: stream, Destination: destination, Due: due}
}

func testSchedule(limits Limits, streams ...string) *schedule {
	return newSchedule(limits.withDefaults(), testSnapshot(streams...))
}

// TestSchedule_Tickets is what a ticket does to one that is known.
func TestSchedule_Tickets(t *testing.T) {
	base := time.Unix(1_000_000, 0)
	at := func(attempt int, due time.Duration) store.Ticket {
		k := testTicket(1, "a", "d", base.Add(due))
		k.Attempt = attempt
		return k
	}
	for _, c := range []struct {
		name    string
		tickets []store.Ticket
		due     time.Duration // -1: nothing is left
		attempt int
	}{
		{"one", []store.Ticket{at(0, 5)}, 5, 0},
		{"repeated", []store.Ticket{at(0, 5), at(0, 5)}, 5, 0},
		{"later due of the same attempt", []store.Ticket{at(1, 5), at(1, 9)}, 9, 1},
		{"earlier due of the same attempt", []store.Ticket{at(1, 9), at(1, 5)}, 5, 1},
		{"newer attempt", []store.Ticket{at(0, 5), at(1, 30)}, 30, 1},
		{"older attempt", []store.Ticket{at(1, 30), at(0, 5)}, 30, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSchedule(Limits{}, "a")
			for _, k := range c.tickets {
				s.add(k, base.UnixNano())
			}
			if n := s.tickets.len(); n != 1 {
				t.Fatalf("%d tickets, want 1", n)
			}
			if _, ok := s.next(base.Add(c.due - 1).UnixNano()); ok {
				t.Errorf("started too early")
			}
			now := base.Add(c.due).UnixNano()
			s.wake(now)
			st, ok := s.next(now)
			if !ok || st.attempt != c.attempt {
				t.Errorf("next = %+v %v, want attempt %d", st, ok, c.attempt)
			}
		})
	}
}

// TestSchedule_Flight is what becomes of a delivery that ended, with the tickets that came meanwhile.
func TestSchedule_Flight(t *testing.T) {
	const lease, retry = 1000, 100
	leaseTicket, retryTicket := testTicket(1, "a", "d", time.Unix(0, lease)), testTicket(1, "a", "d", time.Unix(0, retry))
	leaseTicket.Attempt, retryTicket.Attempt = 1, 1
	for _, c := range []struct {
		name   string
		during []store.Ticket
		end    outcome
		after  []store.Ticket
		due    int64 // 0: forgotten
	}{
		{"final", []store.Ticket{leaseTicket}, outcome{attempt: 1, final: true}, nil, 0},
		{"final, the lease's ticket comes late", nil, outcome{attempt: 1, final: true}, []store.Ticket{leaseTicket}, 0},
		{"deferred", []store.Ticket{leaseTicket, retryTicket}, outcome{attempt: 1}, nil, retry},
		{"deferred, the ticket comes late", []store.Ticket{leaseTicket}, outcome{attempt: 1}, []store.Ticket{retryTicket}, retry},
		{"deferred, both come late", nil, outcome{attempt: 1}, []store.Ticket{leaseTicket, retryTicket}, retry},
		{"result lost", []store.Ticket{leaseTicket}, outcome{attempt: 1}, nil, lease},
		{"claim failed for a moment", nil, outcome{again: 50}, nil, 50},
		{"claim failed, a ticket came", []store.Ticket{leaseTicket}, outcome{again: 50}, nil, lease},
		{"claim in vain", nil, outcome{}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSchedule(Limits{}, "a")
			s.add(testTicket(1, "a", "d", time.Unix(0, 1)), 1)
			st, ok := s.next(1)
			if !ok {
				t.Fatal("nothing starts")
			}
			for _, k := range c.during {
				s.add(k, 1)
			}
			if _, ok := s.next(lease + 1); ok {
				t.Fatal("started twice")
			}
			s.done(st, c.end, 1)
			for _, k := range c.after {
				s.add(k, 1)
			}
			due, any := s.wake(1)
			if any != (c.due != 0) || due != c.due {
				t.Errorf("due %d, want %d", due, c.due)
			}
			if c.due == 0 && (s.tickets.len() != 0 || len(s.streams) != 0 || len(s.sites) != 0) {
				t.Errorf("something is kept: %+v", s.status())
			}
		})
	}
}

// TestSchedule_Model runs random operations against what must always hold: nothing is lost, nothing starts early or twice,
// and no limit is exceeded.
func TestSchedule_Model(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		limits := Limits{Total: 5, PerDestination: 2, PerStream: 3, PerSmarthost: 2}
		s := testSchedule(limits, "a", "b", "c")
		due, flying := map[ticketKey]int64{}, map[ticketKey]start{}
		perSite, perStream := map[string]int{}, map[string]int{}
		now, n := int64(1), 0
		for range 3000 {
			switch r.IntN(5) {
			case 0:
				n++
				k := testTicket(n, string(rune('a'+r.IntN(3))), fmt.Sprint("d", r.IntN(4)), time.Unix(0, now+r.Int64N(50)))
				s.add(k, now)
				due[keyOf(k.ID)] = k.Due.UnixNano()
			case 1:
				now += r.Int64N(20)
			case 2:
				for key, st := range flying {
					perSite[st.leg.site.key]--
					perStream[st.stream.key.Stream]--
					delete(flying, key)
					if r.IntN(2) == 0 {
						s.done(st, outcome{attempt: st.attempt, final: true}, now)
						break
					}
					due[key] = now + 1 + r.Int64N(30)
					s.done(st, outcome{again: due[key]}, now)
					break
				}
			case 3:
				snap := testSnapshot("a", "b", "c")
				b := snap.Streams[store.StreamKey{Server: 1, Stream: "b"}]
				b.Paused, b.Weight = r.IntN(2) == 0, r.IntN(20)
				if r.IntN(3) == 0 {
					b.Route = store.Route{Host: "smart", Port: 25}
				}
				snap.Streams[store.StreamKey{Server: 1, Stream: "b"}] = b
				s.directory(snap)
			default:
				s.wake(now)
				st, ok := s.next(now)
				if !ok {
					continue
				}
				key := keyOf(st.id)
				when, known := due[key]
				if _, twice := flying[key]; twice || !known || when > now || st.stream.paused {
					t.Fatalf("seed %d: %+v started wrongly", seed, st)
				}
				delete(due, key)
				flying[key] = st
				perSite[st.leg.site.key]++
				perStream[st.stream.key.Stream]++
				if len(flying) > 5 || perSite[st.leg.site.key] > 2 || perStream[st.stream.key.Stream] > 3 {
					t.Fatalf("seed %d: limit exceeded", seed)
				}
			}
			if s.tickets.len() != len(due)+len(flying) {
				t.Fatalf("seed %d: %d tickets, want %d", seed, s.tickets.len(), len(due)+len(flying))
			}
		}
		drain(t, s, due, flying)
	}
}

// drain lets everything go, and finds the schedule empty.
func drain(t *testing.T, s *schedule, due map[ticketKey]int64, flying map[ticketKey]start) {
	t.Helper()
	s.directory(testSnapshot("a", "b", "c"))
	now := int64(1) << 60
	for len(due)+len(flying) > 0 {
		for key, st := range flying {
			s.done(st, outcome{final: true}, now)
			delete(flying, key)
		}
		s.wake(now)
		before := len(due)
		for st, ok := s.next(now); ok; st, ok = s.next(now) {
			flying[keyOf(st.id)] = st
			delete(due, keyOf(st.id))
		}
		if before > 0 && len(due) == before && len(flying) == 0 {
			t.Fatalf("%d deliveries never start: %+v", len(due), s.status())
		}
	}
	if s.tickets.len()+s.flying+len(s.sites)+len(s.streams)+len(s.waiting) != 0 {
		t.Errorf("drained schedule keeps something: %+v", s.status())
	}
}

// TestSchedule_Memory keeps a million tickets in the memory that was promised for them.
func TestSchedule_Memory(t *testing.T) {
	const n, limit = 1_000_000, 150 << 20
	used := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := used()
	s := testSchedule(Limits{}, "a")
	now := time.Unix(1_000_000, 0)
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("destination-%d.example.test", i)
	}
	for i := range n {
		s.add(testTicket(i, "a", names[i%len(names)], now.Add(time.Duration(i))), now.UnixNano())
	}
	got := used() - before
	t.Logf("%d tickets to %d destinations: %d MiB", n, len(names), got>>20)
	if got > limit || s.tickets.len() != n {
		t.Errorf("%d tickets take %d MiB, want at most %d", s.tickets.len(), got>>20, limit>>20)
	}
	runtime.KeepAlive(s)
}

// BenchmarkSchedule is the cost of one delivery's whole way through the schedule. It must not depend on the number of
// destinations.
func BenchmarkSchedule(b *testing.B) {
	for _, destinations := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("destinations=%d", destinations), func(b *testing.B) {
			const backlog = 100_000
			s := testSchedule(Limits{PerDestination: 50}, "a", "b")
			names := make([]string, destinations)
			for i := range names {
				names[i] = fmt.Sprintf("d%d.test", i)
			}
			n := 0
			push := func() {
				n++
				s.add(testTicket(n, []string{"a", "b"}[n%2], names[n%destinations], time.Unix(0, int64(n))), int64(n))
			}
			for range backlog {
				push()
			}
			b.ReportAllocs()
			for b.Loop() {
				push()
				st, ok := s.next(int64(n))
				if !ok {
					b.Fatal("nothing is ready")
				}
				s.done(st, outcome{final: true}, int64(n))
			}
		})
	}
}

// What cannot be signed says nothing about its destination, which silence would narrow to one attempt at a time.
func TestContact_OfWhatWasNeverSent(t *testing.T) {
	failed := func(phase string) Result { return broken(phase, detailLost, errNoResult, time.Time{}).result("") }
	for phase, want := range map[string]contactKind{phaseSign: noContact, phaseConnect: silent} {
		if got := contactOf([]Result{failed(phase), failed(phase)}).kind; got != want {
			t.Errorf("contact of a failure at %s = %d, want %d", phase, got, want)
		}
	}
}
