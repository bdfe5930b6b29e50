package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

func answerOf(code int, enhanced [3]int, phase, text string) []Result {
	return []Result{{Reply: store.Reply{Code: code, Enhanced: enhanced, Command: phase, Host: "mx", Text: text}}}
}

func noAnswer(phase string, detail [2]int) []Result {
	f := broken(phase, detail, errors.New("refused"), time.Time{})
	return []Result{f.result("")}
}

// TestSite_Learns is the window of a site after what it has answered, one attempt after the other, ten seconds each.
func TestSite_Learns(t *testing.T) {
	good := answerOf(250, [3]int{2, 0, 0}, phaseDot, "taken")
	full := answerOf(452, [3]int{4, 2, 2}, phaseRcpt, "mailbox full")
	grey := answerOf(450, [3]int{4, 7, 1}, phaseRcpt, "Greylisted, try again in 5 minutes")
	policy := answerOf(450, [3]int{4, 7, 1}, phaseRcpt, "too much")
	busy := answerOf(421, [3]int{4, 3, 2}, phaseMail, "busy")
	later := answerOf(421, [3]int{4, 7, 0}, phaseConnect, "try again in 2 minutes")
	refused := noAnswer(phaseConnect, detailNoAnswer)
	lost := noAnswer(phaseDot, detailLost)
	ours := []Result{own(phaseDNS, 556, detailNullMX, time.Time{}, "null MX").result("")}
	stopped := []Result{{Err: errInterrupted}}
	tls := noAnswer(phaseTLS, detailTLS)
	for _, c := range []struct {
		name    string
		results [][]Result
		want    string // windows, with r or d where it is left alone
	}{
		{"every answer widens it, up to the limit", [][]Result{good, full, grey, good, good, good, good}, "3 4 5 6 7 8 8"},
		{"what says nothing of it changes nothing", [][]Result{ours, stopped, tls, nil}, "2 2 2 2"},
		{"a policy halves it, and it rises slowly then", [][]Result{good, good, good, policy, good, good, good, good, good}, "3 4 5 2 2 3 3 3 4"},
		{"one that is at its least and refuses everybody rests, longer each time", [][]Result{busy, busy, busy, good}, "1 1r15s 1r30s 2"},
		{"a pause that it asks for is kept", [][]Result{good, later}, "3 1r2m0s"},
		{"one that never answered is dead, longer each time", [][]Result{refused, refused, refused, good}, "1d30s 1d1m0s 1d2m0s 2"},
		{"one that has answered is not dead at once", [][]Result{good, good, lost, refused, refused}, "3 4 2 1 1d30s"},
		{"the strongest of several results counts", [][]Result{append(refused[:1:1], good...), append(good[:1:1], busy...)}, "3 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := &site{limit: 8, first: firstWindow, window: firstWindow}
			now := int64(1)
			var got []string
			for _, r := range c.results {
				began := now + 1
				now += int64(10 * time.Minute)
				at.learn(contactOf(r), began, now)
				text := fmt.Sprint(at.window)
				if at.rest > now {
					text += "r" + time.Duration(at.rest-now).String()
				}
				if at.dead > now {
					text += "d" + time.Duration(at.dead-now).String()
				}
				got = append(got, text)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("windows %s, want %s", s, c.want)
			}
		})
	}
}

// TestSite_OneEventCountsOnce ends ten attempts that were under way when the host went away.
func TestSite_OneEventCountsOnce(t *testing.T) {
	at := &site{limit: 16, first: 16, window: 16, proven: true}
	for i := range 10 {
		at.learn(contactOf(noAnswer(phaseMail, detailLost)), int64(i+1), int64(100+i))
	}
	if at.window != 8 || len(at.changes) != 1 || !strings.Contains(at.changes[0].Why, "refused") {
		t.Errorf("window %d, changes %+v, want halved once", at.window, at.changes)
	}
}

func TestSite_ChangesAreBounded(t *testing.T) {
	at := &site{limit: 1000, first: 2, window: 2}
	for i := range 1000 {
		c := contact{kind: answered}
		if i%4 == 3 {
			c = contact{kind: slowDown, why: fmt.Sprint("slow ", i)}
		}
		at.learn(c, int64(2*i+1), int64(2*i+2))
	}
	if n := len(at.changes); n != maxChanges || at.changes[n-1].Why != "slow 999" {
		t.Errorf("%d changes, the last %+v", n, at.changes[n-1])
	}
}

// TestSchedule_DeadSiteCostsOneProbeAtATime queues ten thousand messages to a site that refuses.
func TestSchedule_DeadSiteCostsOneProbeAtATime(t *testing.T) {
	s := testSchedule(Limits{}, "a")
	dead := contactOf(noAnswer(phaseConnect, detailNoAnswer))
	now := int64(time.Hour)
	for i := range 10_000 {
		s.add(testTicket(i, "a", "dead.test", time.Unix(0, now)), now)
	}
	probes, puts, flying := 0, 0, []start(nil)
	for range 20_000 {
		s.wake(now)
		for st, ok := s.next(now); ok; st, ok = s.next(now) {
			flying = append(flying, st)
		}
		if len(flying) == 0 {
			break
		}
		if len(flying) > 10 {
			t.Fatalf("%d at once", len(flying))
		}
		st := flying[0]
		flying = flying[1:]
		now += int64(time.Millisecond)
		if st.memo != "" {
			puts++
			s.done(st, outcome{final: true}, now)
			continue
		}
		probes++
		s.done(st, outcome{final: true, contact: dead}, now)
	}
	if probes > 3 || probes+puts != 10_000 {
		t.Errorf("%d probes and %d put off in %v, want 3 at most, and 10,000 in all", probes, puts, time.Duration(now)-time.Hour)
	}
}

// TestSchedule_RestingSiteKeepsItsMail lets a site ask for a pause, and looks when its next delivery starts.
func TestSchedule_RestingSiteKeepsItsMail(t *testing.T) {
	s := testSchedule(Limits{}, "a")
	now := int64(time.Hour)
	for i := range 3 {
		s.add(testTicket(i, "a", "busy.test", time.Unix(0, now)), now)
	}
	st, _ := s.next(now)
	other, _ := s.next(now)
	later := contactOf(answerOf(421, [3]int{}, phaseConnect, "wait 90 seconds"))
	s.done(st, outcome{again: now, contact: later}, now+1)
	s.done(other, outcome{again: now, contact: later}, now+2)
	if _, ok := s.next(now + 3); ok {
		t.Fatal("a delivery starts while the site rests")
	}
	due, any := s.wake(now + 3)
	if !any || due != now+1+int64(90*time.Second) {
		t.Errorf("woken at %v, want after 90 seconds", time.Duration(due-now))
	}
	w := s.waitingFor(testTicket(2, "a", "busy.test", time.Time{}).ID, now+3)
	if w.Place != PlaceSite || !strings.Contains(w.Site.reason().What, "left alone after: 421 wait 90 seconds") {
		t.Errorf("waiting = %+v", w)
	}
	s.wake(due)
	if _, ok := s.next(due); !ok {
		t.Error("nothing starts after the rest")
	}
	if _, ok := s.next(due); ok {
		t.Error("two attempts start at a site that asked for less")
	}
}

// TestSchedule_Revive is what an operator's retry does to a site that is dead and to one that rests.
func TestSchedule_Revive(t *testing.T) {
	for _, results := range [][]Result{noAnswer(phaseConnect, detailNoAnswer), answerOf(421, [3]int{}, phaseConnect, "wait 90 seconds")} {
		s := testSchedule(Limits{PerDestination: 1}, "a")
		now := int64(time.Hour)
		for i := range 3 {
			s.add(testTicket(i, "a", "gone.test", time.Unix(0, now)), now)
		}
		st, _ := s.next(now)
		s.done(st, outcome{final: true, contact: contactOf(results)}, now+1)
		if st, ok := s.next(now + 2); ok && st.memo == "" {
			t.Fatal("the site is asked at once")
		} else if ok {
			s.done(st, outcome{again: now}, now+2)
		}
		s.revive()
		s.wake(now + 3)
		if st, ok := s.next(now + 3); !ok || st.memo != "" {
			t.Errorf("after a retry: %+v %t, want a probe", st, ok)
		}
	}
}

// TestSchedule_DomainsWithTheSameHostsShareASite also shows that a silent name server of one domain is not held against it.
func TestSchedule_DomainsWithTheSameHostsShareASite(t *testing.T) {
	s := testSchedule(Limits{}, "a")
	n := 0
	try := func(domain string, c contact) start {
		t.Helper()
		n++
		s.add(testTicket(n, "a", domain, time.Unix(0, 1)), int64(n))
		st, ok := s.next(int64(n))
		if !ok {
			t.Fatalf("nothing starts for %s", domain)
		}
		s.done(st, outcome{final: true, contact: c}, int64(n))
		return st
	}
	hosts := contact{kind: answered, hosts: []string{"mx2.host.test", "mx1.host.test"}}
	try("one.test", hosts)
	try("two.test", contact{kind: answered, hosts: []string{"mx1.host.test", "mx2.host.test"}})
	one, two := try("one.test", hosts), try("two.test", hosts)
	if one.leg.site != two.leg.site || one.leg.site.key != "mx1.host.test,mx2.host.test" || one.leg.site.window < 3 {
		t.Errorf("sites %+v and %+v", one.leg.site, two.leg.site)
	}
	lookup := contactOf([]Result{broken(phaseDNS, detailDirectory, errors.New("SERVFAIL"), time.Time{}).result("")})
	try("two.test", lookup)
	if alone := try("two.test", lookup); alone.leg.site == one.leg.site || alone.leg.site.key != "two.test" || one.leg.site.dead != 0 {
		t.Errorf("after a failed look-up: %+v beside %+v", alone.leg.site, one.leg.site)
	}
	big := try("three.test", contact{kind: answered, hosts: []string{"aspmx.l.google.com", "alt1.aspmx.l.google.com"}})
	if big = try("three.test", contact{}); big.leg.site.key != "receiver:google" || big.leg.site.window != 4 || big.leg.site.limit != 10 {
		t.Errorf("a large receiver: %+v", big.leg.site)
	}
}

// TestSchedule_SitesAreBounded learns of more sites than are remembered.
func TestSchedule_SitesAreBounded(t *testing.T) {
	s := testSchedule(Limits{}, "a")
	for i := range maxKnown + 5000 {
		domain := fmt.Sprintf("d%d.test", i)
		s.add(testTicket(i, "a", domain, time.Unix(0, 1)), 1)
		st, ok := s.next(1)
		if !ok {
			t.Fatal("nothing starts")
		}
		s.done(st, outcome{final: true, contact: contact{kind: answered, hosts: []string{"mx." + domain}}}, 1)
	}
	if len(s.sites) > maxSites || len(s.known.of) > maxKnown || s.known.order.len() != len(s.known.of) {
		t.Errorf("%d sites, %d domains", len(s.sites), len(s.known.of))
	}
}

func TestReceivers(t *testing.T) {
	seen := map[string]string{}
	for _, r := range Receivers() {
		if r.Name == "" || r.First < 1 || r.Most < r.First || len(r.Suffixes) == 0 {
			t.Errorf("%+v", r)
		}
		for _, s := range r.Suffixes {
			if old := seen[s]; old != "" || s != strings.ToLower(s) || strings.HasPrefix(s, ".") {
				t.Errorf("suffix %q of %s: %q", s, r.Name, old)
			}
			seen[s] = r.Name
		}
	}
	if _, err := time.Parse(time.DateOnly, ReceiversDated); err != nil {
		t.Error(err)
	}
	long := []string{strings.Repeat("a", 100) + ".test", "b.test", "c.test", "d.test", "e.test"}
	for _, c := range []struct {
		hosts []string
		want  string
	}{
		{[]string{"aspmx.l.google.com"}, "receiver:google"},
		{[]string{"x.mail.protection.outlook.com"}, "receiver:microsoft"},
		{[]string{"aspmx.l.google.com", "mx.example.org"}, "aspmx.l.google.com,mx.example.org"},
		{[]string{"notgoogle.com"}, "notgoogle.com"},
		{[]string{"google.com.evil.test"}, "google.com.evil.test"},
		{[]string{"b", "a", "b"}, "a,b"},
	} {
		if got := siteOf(c.hosts); got != c.want {
			t.Errorf("siteOf(%v) = %s, want %s", c.hosts, got, c.want)
		}
	}
	if got := siteOf(long); len(got) > maxSiteKey+40 || got == siteOf(long[1:]) {
		t.Errorf("siteOf many hosts = %s", got)
	}
}

func TestTryAgainIn(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"Greylisted, please try again in 300 seconds":               5 * time.Minute,
		"try again in 5 minutes":                                    5 * time.Minute,
		"Please retry after 10 min.":                                10 * time.Minute,
		"Greylisting in action, please come back in 00:04:59":       4*time.Minute + 59*time.Second,
		"come back in 01:00:00 (see http://x/30)":                   time.Hour,
		"Temporarily deferred, retry=300s":                          5 * time.Minute,
		"wait 2 hours":                                              2 * time.Hour,
		"Greylisted for 60 seconds":                                 time.Minute,
		"try again later, not before 90 sec have passed":            90 * time.Second,
		"TRY AGAIN IN 1H":                                           time.Hour,
		"try again in 30 days, or 9 hours":                          0,
		"try again in 999999 hours":                                 longestHint,
		"You have sent 100 messages in 60 minutes; try again later": 0,
		"try again later":                                           0,
		"try again in 0 minutes":                                    0,
		"try again in 99999999999999999999 seconds":                 0,
		"try again in -5 minutes":                                   5 * time.Minute,
		"retry 5":                                                   0,
		"4.7.1 too many connections from 192.0.2.1, 5 minutes":      0,
		"back in 1:2:3:4 seconds":                                   0,
		"Postgrey: try again in fünf minutes":                       0,
		"greylisted: https://example.org/60s":                       time.Minute,
		"":                                                          0,
	} {
		got, ok := tryAgainIn(text)
		if got != want || ok != (want > 0) {
			t.Errorf("tryAgainIn(%q) = %v %t, want %v", text, got, ok, want)
		}
	}
}

func FuzzTryAgainIn(f *testing.F) {
	for _, s := range []string{"try again in 5 minutes", "back 00:00:01", "wait 9s", "retry 1h2m", "again 999999 h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := tryAgainIn(s); ok != (d > 0) || d > longestHint {
			t.Errorf("tryAgainIn(%q) = %v %t", s, d, ok)
		}
	})
}

func TestPolicy_Asked(t *testing.T) {
	p := Policy{Schedule: []time.Duration{time.Minute, time.Hour}, Jitter: -1}.withDefaults()
	for _, c := range []struct {
		hint, scheduled time.Duration
		attempt         int
		want            time.Duration
	}{
		{5 * time.Minute, time.Minute, 1, 5*time.Minute + 15*time.Second},
		{time.Second, time.Minute, 1, time.Minute},
		{5 * time.Minute, time.Hour, 2, 5*time.Minute + 15*time.Second},
		{5 * time.Minute, time.Hour, 4, time.Hour},
		{2 * time.Hour, time.Hour, 9, 2*time.Hour + 6*time.Minute},
	} {
		if got := p.asked(c.hint, c.scheduled, c.attempt, 0.5); got != c.want {
			t.Errorf("asked(%v, %v, %d) = %v, want %v", c.hint, c.scheduled, c.attempt, got, c.want)
		}
	}
}

// TestSchedule_PausedDestination pauses by each name that a destination has.
func TestSchedule_PausedDestination(t *testing.T) {
	for _, name := range []string{"one.test", "google", "receiver:google"} {
		s := testSchedule(Limits{}, "a")
		s.known.put("one.test", "receiver:google")
		s.add(testTicket(1, "a", "one.test", time.Unix(0, 1)), 1)
		s.add(testTicket(2, "a", "two.test", time.Unix(0, 1)), 1)
		paused := testSnapshot("a")
		paused.Account.Pauses = []store.Pause{{Destination: name}}
		s.directory(paused)
		st, ok := s.next(1)
		if _, more := s.next(1); !ok || more || st.leg.domain != "two.test" {
			t.Errorf("%s paused: %+v started, and more: %t", name, st, more)
		}
		if w := s.waitingFor(testTicket(1, "a", "one.test", time.Time{}).ID, 1); w.Place != PlacePaused {
			t.Errorf("%s paused: waiting = %+v", name, w)
		}
		s.add(testTicket(3, "a", "one.test", time.Unix(0, 1)), 1)
		s.directory(testSnapshot("a"))
		for range 2 {
			if st, ok := s.next(1); !ok || st.leg.domain != "one.test" {
				t.Errorf("%s resumed: %+v %t", name, st, ok)
			}
		}
	}
}

// TestSchedule_SmarthostWithoutNameServers: there the look-up is of the site itself, which is dead then like one that refuses.
func TestSchedule_SmarthostWithoutNameServers(t *testing.T) {
	s := testSchedule(Limits{}, "a")
	s.streams = map[store.StreamKey]*streamQueue{}
	q := s.stream(store.StreamKey{Server: 1, Stream: "a"})
	q.ways[0].rule = siteRule{fixed: "smart.test:587", smarthost: true}
	now := int64(time.Hour)
	s.add(testTicket(1, "a", "smart.test:587", time.Unix(0, now)), now)
	st, ok := s.next(now)
	if !ok {
		t.Fatal("nothing starts")
	}
	s.done(st, outcome{contact: contactOf([]Result{broken(phaseDNS, detailDirectory, errors.New("SERVFAIL"), time.Time{}).result("")})}, now+1)
	if st.leg.site.dead <= now {
		t.Errorf("site = %+v, want it left alone", st.leg.site)
	}
}
