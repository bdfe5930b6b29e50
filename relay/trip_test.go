package relay

import (
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// boarding is a schedule with one stream and one route, whose day has begun.
func boarding(r store.Route, now time.Time) (*schedule, store.StreamKey, *meter) {
	s, key := testSchedule(Limits{}, "outbound"), store.StreamKey{Server: 1, Stream: "outbound"}
	stream := s.snapshot.Streams[key]
	stream.Route = r
	s.snapshot.Streams[key] = stream
	s.day.turn(unixNano(now))
	return s, key, s.meter(r, key)
}

// TestBoard_DrainedAndUsedUp: mail that must go by a drained route finds no room where its day is used up, and takes no place.
func TestBoard_DrainedAndUsedUp(t *testing.T) {
	now := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	route := store.Route{Host: "a.test", Port: 25, DailyQuota: 5, Draining: now}
	s, key, m := boarding(route, now)
	m.used, m.reserved = 5, 5
	g, until, why := s.board(key, route, "example.test", 1, false, unixNano(now))
	if g.charged != 0 || m.flying != 0 || len(s.sites) != 0 {
		t.Errorf("%d charged, %d under way, %d sites in use: want no place taken", g.charged, m.flying, len(s.sites))
	}
	if until != s.day.ends || why != "its 5 recipients of the day are used up" {
		t.Errorf("until %d because %q, want the end of the day", until, why)
	}
	m.used = 4
	if g, _, why = s.board(key, route, "example.test", 3, false, unixNano(now)); g.charged != 1 || m.flying != 1 {
		t.Errorf("%d charged, %d under way (%s), want the one that is left", g.charged, m.flying, why)
	}
}

// TestLand_AfterMidnight: what was taken off yesterday's quota and not used is not given back to today's.
func TestLand_AfterMidnight(t *testing.T) {
	now := time.Date(2000, 1, 1, 23, 59, 0, 0, time.UTC)
	route := store.Route{Host: "a.test", Port: 25, DailyQuota: 50}
	s, key, m := boarding(route, now)
	m.reserved = 50
	g, _, _ := s.board(key, route, "example.test", 30, false, unixNano(now))
	midnight := unixNano(now.Add(time.Minute))
	s.newDay(midnight)
	m.reserved, m.used = 50, 40
	if s.land(g, midnight+1); m.used != 40 || g.charged != 30 {
		t.Errorf("%d were charged, %d are used of the new day, want 40", g.charged, m.used)
	}
}

// TestTrip_ChargeAtTheEnd: an attempt that asks when nobody keeps the count any more has been charged for one, and goes with one.
func TestTrip_ChargeAtTheEnd(t *testing.T) {
	tr := &trip{d: &Dispatcher{}, legs: []leg{{meter: &meter{}, charged: 1}}}
	if n := tr.charge(store.Route{Host: "a.test", Port: 25, DailyQuota: 100}, 40); n != 1 || tr.legs[0].charged != 1 {
		t.Errorf("%d recipients allowed, %d charged, want the first only", n, tr.legs[0].charged)
	}
}
