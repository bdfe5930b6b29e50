package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// fated returns the first letter over SMTP with a fate.
func fated(seed uint64, f fate) letter {
	for l := newLedger(seed); ; {
		if got := l.take(false); got.fate == f {
			return got
		}
	}
}

func TestLedger_Judge(t *testing.T) {
	const seed = 1
	one := fated(seed, taken)
	gone := fated(seed, refused)
	kills := func() []kill {
		return []kill{{Life: 1, open: map[string]bool{"in flight": true}}, {Life: 2, open: map[string]bool{}}}
	}
	for _, tc := range []struct {
		name string
		do   func(l *ledger)
		want verdict
	}{
		{"arrived once", func(l *ledger) { l.arrived("a", one.to(), "x", one.sum()) }, verdict{Acknowledged: 1, Arrived: 1}},
		{"lost", func(*ledger) {}, verdict{Acknowledged: 1, Lost: 1}},
		{"webhook lost", func(l *ledger) {
			l.arrived("a", one.to(), "x", one.sum())
			clear(l.events)
		}, verdict{Acknowledged: 1, Arrived: 1, Untold: []string{""}}},
		{"webhook again", func(l *ledger) {
			l.arrived("a", one.to(), "x", one.sum())
			l.told("Delivery", one.to(), "an event")
		}, verdict{Acknowledged: 1, Arrived: 1, EventsAgain: 1}},
		{"webhook again with another ID", func(l *ledger) {
			l.arrived("a", one.to(), "x", one.sum())
			l.told("Delivery", one.to(), "another event")
		}, verdict{Acknowledged: 1, Arrived: 1, Renamed: []string{""}}},
		{"not acknowledged", func(l *ledger) {
			l.arrived("a", one.to(), "x", one.sum())
			l.arrived("", gone.from(), "b", gone.sum())
		}, verdict{Acknowledged: 1, Arrived: 2, Unacknowledged: 1}},
		{"twice, in flight at the kill", func(l *ledger) {
			l.arrived("a", one.to(), "in flight", one.sum())
			l.begin(2)
			l.arrived("a", one.to(), "in flight", one.sum())
		}, verdict{Acknowledged: 1, Arrived: 2, Duplicates: 1}},
		{"twice, not in flight", func(l *ledger) {
			l.arrived("a", one.to(), "x", one.sum())
			l.begin(2)
			l.arrived("a", one.to(), "x", one.sum())
		}, verdict{Acknowledged: 1, Arrived: 2, Duplicates: 1, Unexplained: []string{""}}},
		{"stored twice", func(l *ledger) {
			l.arrived("a", one.to(), "in flight", one.sum())
			l.begin(2)
			l.arrived("a", one.to(), "another", one.sum())
		}, verdict{Acknowledged: 1, Arrived: 2, Duplicates: 1, Unexplained: []string{""}, StoredTwice: []string{""}}},
		{"twice without a kill", func(l *ledger) {
			l.arrived("a", one.to(), "in flight", one.sum())
			l.arrived("a", one.to(), "in flight", one.sum())
		}, verdict{Acknowledged: 1, Arrived: 2, Duplicates: 1, Unexplained: []string{""}}},
		{"altered", func(l *ledger) { l.arrived("a", one.to(), "x", gone.sum()) }, verdict{Acknowledged: 1, Arrived: 1, Forged: []string{""}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLedger(seed)
			l.begin(1)
			l.promised(one.n, "x", false)
			l.told("Delivery", one.to(), "an event")
			tc.do(l)
			v := l.judge(kills())
			if v.Acknowledged != tc.want.Acknowledged || v.Arrived != tc.want.Arrived || v.Lost != tc.want.Lost ||
				v.Duplicates != tc.want.Duplicates || v.Unacknowledged != tc.want.Unacknowledged ||
				len(v.Unexplained) != len(tc.want.Unexplained) || len(v.Untold) != len(tc.want.Untold) || len(v.StoredTwice) != len(tc.want.StoredTwice) || len(v.Forged) != len(tc.want.Forged) || len(v.Renamed) != len(tc.want.Renamed) || v.EventsAgain != tc.want.EventsAgain || l.repeated() != tc.want.Duplicates {
				t.Errorf("judge = %+v, want %+v", v, tc.want)
			}
			if bad := v.Lost+len(v.Untold)+len(v.Renamed)+len(v.Unexplained)+len(v.Forged) > 0; v.ok() == bad {
				t.Errorf("ok = %v", v.ok())
			}
		})
	}
}

// TestCompare: an operator must see what the journal calls uncertain, and nothing else.
func TestCompare(t *testing.T) {
	set := func(ids ...string) map[string]bool {
		out := map[string]bool{}
		for _, id := range ids {
			out[id] = true
		}
		return out
	}
	for _, tc := range []struct {
		name                 string
		ended, shown, before map[string]bool
		want                 int
	}{
		{"nothing", nil, nil, nil, 0},
		{"all of it", set("a", "b"), set("a", "b"), nil, 0},
		{"and what was so before", set("a"), set("a", "b"), set("b", "c"), 0},
		{"hidden", set("a", "b"), set("a"), set("b"), 1},
		{"shown for nothing", set("a"), set("a", "b"), nil, 1},
	} {
		if got := compare(tc.ended, tc.shown, tc.before); len(got) != tc.want {
			t.Errorf("%s: %v, want %d problems", tc.name, got, tc.want)
		}
	}
}

func TestLedger_LettersAreNotSharedBetweenProtocols(t *testing.T) {
	l := newLedger(1)
	seen := map[int]bool{}
	for i := range 100 {
		overHTTP := i%3 == 0
		n := l.take(overHTTP).n
		if n == 0 || seen[n] || (n%httpShare == 0) != overHTTP {
			t.Errorf("letter %d over HTTP: %v", n, overHTTP)
		}
		seen[n] = true
	}
}

func TestPlan_ComesToEveryPointAndIsMadeByItsSeed(t *testing.T) {
	for _, kills := range []int{1, 50, 200} {
		steps := plan(rand.New(rand.NewPCG(3, 0)), kills, "")
		again := plan(rand.New(rand.NewPCG(3, 0)), kills, "")
		points := map[failpoint.Point]bool{}
		for i, s := range steps {
			points[s.point] = true
			if s != again[i] {
				t.Errorf("step %d differs: %+v, %+v", i, s, again[i])
			}
		}
		delete(points, "")
		if len(points) != len(failpoint.Points()) || len(steps) < kills {
			t.Errorf("%d kills: %d steps at %d points", kills, len(steps), len(points))
		}
	}
}

func TestIDIn(t *testing.T) {
	const id = "0195620d-0000-7000-8000-000000000001"
	for _, content := range []string{
		"Received: from [127.0.0.1] ([127.0.0.1]) by relay.example with HTTP\n\tid " + id + "; Mon, 1 Jan 2024 00:00:00 +0000\n\nid 1\n",
		"From: a\nMessage-ID: <" + id + "@relay.example>\n\nbody\n",
	} {
		if got := idIn([]byte(content)); got != id {
			t.Errorf("idIn(%q) = %q", content, got)
		}
	}
	if got := idIn([]byte(strings.Repeat("X: y\n", 3) + "\nMessage-ID: none\n")); got != "" {
		t.Errorf("idIn = %q", got)
	}
}

func TestLedger_RepeatsWhatWasNotAnswered(t *testing.T) {
	l := newLedger(1)
	l.lost(true, letter{n: 4}, letter{n: 8})
	if again := l.repeat(false); again != nil {
		t.Errorf("over SMTP: %v, want nothing", again)
	}
	if again := l.repeat(true); len(again) != 2 || again[0].n != 4 {
		t.Errorf("over HTTP: %v, want both letters", again)
	}
	l.lost(true, letter{n: 12})
	l.unsure[1][0].lost = time.Now().Add(-retention)
	if again := l.repeat(true); again != nil {
		t.Errorf("after the retention: %v, want nothing", again)
	}
}
