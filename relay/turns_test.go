package relay

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// crowd is a schedule whose streams all have more than they can send, each to destinations of its own.
func crowd(limits Limits, tickets int, streams ...store.Stream) *schedule {
	snap := &store.Snapshot{Servers: map[int64]store.Server{}, Streams: map[store.StreamKey]store.Stream{}}
	for _, v := range streams {
		v.Mode = store.ModeLive
		snap.Servers[v.Server] = store.Server{ID: v.Server, DeliveryType: store.Live, Weight: int(v.Server)}
		snap.Streams[store.StreamKey{Server: v.Server, Stream: v.ID}] = v
	}
	s := newSchedule(limits.withDefaults(), snap)
	n := 0
	for i := range tickets {
		for _, v := range streams {
			n++
			k := testTicket(n, v.ID, fmt.Sprintf("%d-%s-%d.test", v.Server, v.ID, i), time.Unix(0, 1))
			k.Server = v.Server
			s.add(k, 1)
		}
	}
	return s
}

// turnover starts and ends n deliveries, with as many under way as may be, and counts the starts after the first filling.
func turnover(t *testing.T, s *schedule, n int) map[string]int {
	t.Helper()
	counts := map[string]int{}
	var flying []start
	for range n {
		for st, ok := s.next(1); ok; st, ok = s.next(1) {
			flying = append(flying, st)
			counts[fmt.Sprint(st.stream.key.Server, st.stream.key.Stream)]++
		}
		if len(flying) == 0 {
			t.Fatal("nothing starts")
		}
		s.done(flying[0], outcome{final: true}, 1)
		flying = flying[1:]
	}
	return counts
}

// TestTurns_Shares is who starts how often, in parts of a thousand starts.
func TestTurns_Shares(t *testing.T) {
	stream := func(server int64, id string, kind store.StreamKind, weight int) store.Stream {
		return store.Stream{Server: server, ID: id, Kind: kind, Weight: weight}
	}
	for _, c := range []struct {
		name    string
		streams []store.Stream
		want    map[string]int
	}{
		{"servers by weight, however many streams they have", []store.Stream{
			stream(10, "a", store.Transactional, 0), stream(10, "b", store.Transactional, 0), stream(10, "c", store.Transactional, 0), stream(30, "a", store.Transactional, 0),
		}, map[string]int{"10a": 83, "10b": 83, "10c": 83, "30a": 750}},
		{"streams of a server by weight", []store.Stream{
			stream(1, "a", store.Transactional, 5), stream(1, "b", store.Transactional, 15), stream(1, "c", store.Transactional, 80),
		}, map[string]int{"1a": 50, "1b": 150, "1c": 800}},
		{"transactional ahead of broadcast, which does not starve", []store.Stream{
			stream(1, "a", store.Transactional, 1), stream(1, "b", store.Broadcast, 100),
		}, map[string]int{"1a": 900, "1b": 100}},
		{"the broadcast of one server goes behind the transactional mail of another", []store.Stream{
			stream(1, "a", store.Transactional, 1), stream(100, "b", store.Broadcast, 100),
		}, map[string]int{"1a": 900, "100b": 100}},
		{"broadcast alone", []store.Stream{stream(1, "a", store.Broadcast, 3), stream(1, "b", store.Broadcast, 1)}, map[string]int{"1a": 750, "1b": 250}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n = 6000
			s := crowd(Limits{Total: 200}, n, c.streams...)
			got := turnover(t, s, n)
			for name, want := range c.want {
				if share := got[name] * 1000 / n; math.Abs(float64(share-want)) > 40 {
					t.Errorf("%s starts %d of a thousand, want %d: %v", name, share, want, got)
				}
			}
		})
	}
}

// TestTurns_SomePlacesStayFree is how many attempts get under way when none of them ever ends.
func TestTurns_SomePlacesStayFree(t *testing.T) {
	bulk := func(server int64, n int) (out []store.Stream) {
		for i := range n {
			out = append(out, store.Stream{Server: server, ID: fmt.Sprint("b", i), Kind: store.Broadcast})
		}
		return out
	}
	urgent := func(server int64) store.Stream {
		return store.Stream{Server: server, ID: "a", Kind: store.Transactional}
	}
	for _, c := range []struct {
		name    string
		total   int
		streams []store.Stream
		free    int
	}{
		{"one broadcast stream", 200, bulk(1, 1), 66},
		{"five of one server", 200, bulk(1, 5), 66},
		{"one transactional stream", 200, []store.Stream{urgent(1)}, 20},
		{"ten servers with both", 200, slices.Concat(bulk(1, 1), bulk(2, 1), bulk(3, 1), bulk(4, 1), bulk(5, 1), []store.Stream{urgent(6), urgent(7), urgent(8)}), 20},
		{"one place is not kept back", 1, bulk(1, 1), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := crowd(Limits{Total: c.total, PerDestination: c.total}, c.total, c.streams...)
			flying := 0
			var last start
			for st, ok := s.next(1); ok; st, ok = s.next(1) {
				flying, last = flying+1, st
			}
			if free := c.total - flying; free < c.free || free > c.free+2 {
				t.Errorf("%d places are free, want %d", free, c.free)
			}
			newcomer := testTicket(1_000_000, "new", "new.test", time.Unix(0, 1))
			newcomer.Server = 99
			s.add(newcomer, 1)
			st, ok := s.next(1)
			if c.free > 0 && (!ok || st.stream.key.Server != 99) {
				t.Fatalf("a newcomer does not start: %+v", s.status())
			}
			if ok {
				s.done(st, outcome{final: true}, 1)
			}
			s.done(last, outcome{final: true}, 1)
			if _, ok := s.next(1); !ok {
				t.Errorf("nothing starts when a place becomes free: %+v", s.status())
			}
		})
	}
}
