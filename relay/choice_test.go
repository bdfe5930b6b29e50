package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// fakeNotes is relay.Notes in memory.
type fakeNotes struct {
	mu     sync.Mutex
	texts  map[string]string
	writes int
	fail   error
}

func (f *fakeNotes) Note(_ context.Context, name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text, ok := f.texts[name]; ok {
		return []byte(text), nil
	}
	return nil, f.fail
}

func (f *fakeNotes) SetNote(_ context.Context, name string, value []byte) error {
	time.Sleep(5 * time.Millisecond) // a synced write
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if f.texts == nil {
		f.texts = map[string]string{}
	}
	f.texts[name] = string(value)
	f.writes++
	return nil
}

// copy is what a crash leaves.
func (f *fakeNotes) copy() *fakeNotes {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &fakeNotes{texts: maps.Clone(f.texts)}
}

// byRoute is a transport that counts what it is given by route, and behaves as the network does about its routes.
type byRoute struct {
	mu    sync.Mutex
	count map[string]int // recipients taken, by host
	times map[string][]time.Time
	now   map[string]int // under way
	most  map[string]int
	takes map[string]time.Duration
	fails map[string]relay.Result
}

func newByRoute() *byRoute {
	return &byRoute{count: map[string]int{}, times: map[string][]time.Time{}, now: map[string]int{}, most: map[string]int{},
		takes: map[string]time.Duration{}, fails: map[string]relay.Result{}}
}

func (b *byRoute) Close() error { return nil }

func (b *byRoute) Send(_ context.Context, j relay.Job) []relay.Result {
	for i, r := range append([]store.Route{j.Route}, j.Alternates...) {
		if i > 0 && !j.Board(r, len(j.Recipients)) {
			continue
		}
		results, failed := b.by(r, j)
		j.Left(r, results, false)
		if !failed || results[0].Uncertain {
			return results
		}
	}
	return all(j, silent())
}

func (b *byRoute) by(r store.Route, j relay.Job) (results []relay.Result, failed bool) {
	b.mu.Lock()
	b.now[r.Host]++
	b.most[r.Host] = max(b.most[r.Host], b.now[r.Host])
	b.times[r.Host] = append(b.times[r.Host], time.Now())
	takes := b.takes[r.Host]
	fail, failed := b.fails[r.Host]
	if !failed {
		b.count[r.Host] += len(j.Recipients)
	}
	b.mu.Unlock()
	time.Sleep(takes)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now[r.Host]--
	result := delivered()
	if failed {
		result = fail
	}
	result.Route = r.Key()
	return all(j, result), failed
}

func (b *byRoute) set(host string, r *relay.Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.fails, host); r != nil {
		b.fails[host] = *r
	}
}

func (b *byRoute) counts() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(b.count), "map["), "]")
}

func silent() relay.Result {
	return relay.Result{Err: errors.New("no answer"), Reply: store.Reply{Command: "connect", Enhanced: [3]int{4, 4, 1}, Text: "no answer"}}
}

func routeTo(host string, change ...func(*store.Route)) store.Route {
	r := store.Route{Host: host, Port: 25}
	for _, c := range change {
		c(&r)
	}
	return r
}

func quota(n int) func(*store.Route) { return func(r *store.Route) { r.DailyQuota = n } }

func rate(n int, per time.Duration) func(*store.Route) {
	return func(r *store.Route) { r.Rate = store.Rate{Count: n, Per: per} }
}

func weight(n int) func(*store.Route) { return func(r *store.Route) { r.Weight = n } }

func withRoutes(id string, routes ...store.Route) store.Stream {
	return store.Stream{ID: id, Route: routes[0], Alternates: routes[1:]}
}

func submitMany(q *fakeQueue, stream string, n, recipients int) (ids []store.ID) {
	for i := range n {
		var to []string
		for r := range recipients {
			to = append(to, fmt.Sprintf("b%d-%d@example.test", i, r))
		}
		ids = append(ids, q.submit(stream, time.Now(), to...))
	}
	return ids
}

// TestRoutes_Quota uses up the day of the first route, goes on by the second, and by the first again when the next day begins.
func TestRoutes_Quota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := time.FixedZone("test", 3*3600)
		notes, tr, q := &fakeNotes{}, newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", quota(25)), routeTo("b.test", quota(40))), withRoutes("other", routeTo("a.test", quota(25))))
		disp, stop := start(t, q, d, relay.Options{Transport: tr, Notes: notes, QuotaZone: zone})
		submitMany(q, "outbound", 11, 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:25 b.test:8" || q.unfinished() != 0 {
			t.Errorf("recipients by route: %s with %d left, want 25 and then the other", got, q.unfinished())
		}
		id := q.submit("other", time.Now(), "b@example.test")
		synctest.Wait()
		w, _ := disp.Waiting(store.DeliveryID{Message: id})
		midnight := time.Date(2000, 1, 1, 21, 0, 0, 0, time.UTC)
		why := fmt.Sprint(relay.Reasons(q.delivery(id), d.Snapshot(), &w, time.Now()))
		if w.Place != relay.PlaceRoute || !strings.Contains(why, "route a.test:25 takes nothing: its 25 recipients of the day are used up") || !w.Routes[0].Until.Equal(midnight) {
			t.Errorf("waiting = %+v because %s, want the quota, shared by both streams, until %v", w, why, midnight)
		}
		crashed := notes.copy()
		stop()
		for name, n := range map[string]*fakeNotes{"stop": notes, "crash": crashed} {
			_, end := start(t, q, d, relay.Options{Transport: tr, Notes: n, QuotaZone: zone})
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := tr.counts(); got != "a.test:25 b.test:8" {
				t.Errorf("after a %s: %s, want what was counted to be kept", name, got)
			}
			end()
		}
		start(t, q, d, relay.Options{Transport: tr, Notes: notes, QuotaZone: zone})
		time.Sleep(time.Until(midnight) + time.Second)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:26 b.test:8" || q.unfinished() != 0 {
			t.Errorf("when the next day has begun: %s with %d left", got, q.unfinished())
		}
	})
}

// TestRoutes_QuotaIsRefunded: what the host refuses is not counted, and a crash never makes the count lower than it was.
func TestRoutes_QuotaIsRefunded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notes, tr, q := &fakeNotes{}, newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", quota(100))))
		no := refused(450, "rcpt")
		tr.set("a.test", &no)
		disp, _ := start(t, q, d, relay.Options{Transport: tr, Notes: notes})
		key := store.StreamKey{Server: 1, Stream: "outbound"}
		submitMany(q, "outbound", 60, 1)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := disp.Routes(key); len(s) != 1 || s[0].Used != 0 {
			t.Errorf("Routes = %+v, want nothing counted", s)
		}
		tr.set("a.test", nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := disp.Routes(key); s[0].Used != 60 || s[0].Resets.IsZero() {
			t.Errorf("Routes = %+v, want 60 counted", s)
		}
		if notes.writes > 20 {
			t.Errorf("%d writes for 60 recipients", notes.writes)
		}
	})
}

// TestRoutes_CountIsWrittenBefore crashes at every moment: what was handed over is never more than what is written down.
func TestRoutes_CountIsWrittenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notes, tr, q := &fakeNotes{}, newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", quota(1000))))
		start(t, q, d, relay.Options{Transport: tr, Notes: notes, Limits: relay.Limits{PerSmarthost: 4}})
		submitMany(q, "outbound", 300, 3)
		for q.unfinished() > 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			notes.mu.Lock()
			text := notes.texts["route quotas"]
			notes.mu.Unlock()
			var day string
			var written int
			if n, _ := fmt.Sscanf(text, `{"day":%12q,"used":{"a.test:25":%d}}`, &day, &written); text != "" && n != 2 {
				t.Fatalf("note = %s", text)
			}
			tr.mu.Lock()
			if handed := tr.count["a.test"]; handed > written {
				t.Fatalf("%d recipients were handed over while %d are written down", handed, written)
			}
			tr.mu.Unlock()
		}
	})
}

// TestRoutes_QuotaOfWhatNobodyBegan: attempts that may begin when Run ends are none, and their recipients are not counted.
func TestRoutes_QuotaOfWhatNobodyBegan(t *testing.T) {
	for range 5 { // whether somebody takes an attempt up or sees the end first is chance
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			notes := &endingNotes{}
			now := func() time.Time { // is asked for right before attempts begin
				if notes.written.Load() {
					cancel()
				}
				return time.Now()
			}
			q := newQueue()
			var streams []store.Stream
			for i := range 20 {
				id := fmt.Sprintf("s%d", i)
				streams = append(streams, withRoutes(id, routeTo(id+".test", quota(25))))
				submitMany(q, id, 4, 1)
			}
			d := newDirectory(t, streams...)
			disp, err := relay.New(q, d, relay.Options{Transport: newByRoute(), Notes: notes, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			if err := disp.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
			if got := notes.texts["route quotas"]; q.claims != 0 || strings.Count(got, `.test:25":0`) != len(streams) {
				t.Errorf("%d claims, and the note of the day is %s, want no recipients", q.claims, got)
			}
		})
	}
}

// endingNotes tells when something has been written.
type endingNotes struct {
	fakeNotes
	written atomic.Bool
}

func (n *endingNotes) SetNote(ctx context.Context, name string, value []byte) error {
	defer n.written.Store(true)
	return n.fakeNotes.SetNote(ctx, name, value)
}

// TestRoutes_NotesFail: mail does not wait for a count that cannot be written.
func TestRoutes_NotesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", quota(15))))
		start(t, q, d, relay.Options{Transport: tr, Notes: &fakeNotes{fail: errors.New("disk")}})
		submitMany(q, "outbound", 20, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:15" {
			t.Errorf("recipients by route: %s, want the quota to hold all the same", got)
		}
	})
}

// TestRoutes_Rate sends no faster than the first route may be given, holds up no other stream, and tells why.
func TestRoutes_Rate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", rate(10, time.Second))), withRoutes("other", routeTo("b.test")))
		disp, _ := start(t, q, d, relay.Options{Transport: tr})
		began := time.Now()
		ids := submitMany(q, "outbound", 100, 1)
		submitMany(q, "other", 100, 1)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:2 b.test:100" && got != "a.test:10 b.test:100" {
			t.Errorf("at once: %s, want all of the other stream", got)
		}
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		for _, id := range ids {
			if q.messagesDone(id) {
				continue
			}
			w, _ := disp.Waiting(store.DeliveryID{Message: id})
			if why := fmt.Sprint(relay.Reasons(q.delivery(id), d.Snapshot(), &w, time.Now())); w.Place != relay.PlaceRoute || !strings.Contains(why, "its rate of 10/s is reached") {
				t.Errorf("waiting = %+v because %s", w, why)
			}
		}
		for q.unfinished() > 0 {
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
		}
		took := time.Since(began)
		if took < 9*time.Second || took > 10*time.Second {
			t.Errorf("100 messages took %v at 10/s, 10 of them at once: want 9s", took)
		}
		for i := 20; i < len(tr.times["a.test"]); i++ {
			if gap := tr.times["a.test"][i].Sub(tr.times["a.test"][i-20]); gap < time.Second {
				t.Errorf("20 within %v", gap)
			}
		}
	})
}

// TestRoutes_RateCountsRecipients lets a message for many wait for none, and what follows it the longer.
func TestRoutes_RateCountsRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", rate(60, time.Minute))))
		start(t, q, d, relay.Options{Transport: tr})
		submitMany(q, "outbound", 3, 30)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		first := tr.times["a.test"][0]
		if second, third := tr.times["a.test"][1].Sub(first), tr.times["a.test"][2].Sub(first); second < 29*time.Second || third < 59*time.Second || third > 62*time.Second {
			t.Errorf("the second after %v, the third after %v, want 30s and 60s", second, third)
		}
	})
}

// TestRoutes_RateOverflows gives the next route what the first may not be given.
func TestRoutes_RateOverflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test", rate(1, time.Second)), routeTo("b.test")))
		start(t, q, d, relay.Options{Transport: tr})
		submitMany(q, "outbound", 50, 1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:1 b.test:49" {
			t.Errorf("recipients by route: %s", got)
		}
	})
}

// TestRoutes_Weights takes turns exactly, and leaves the one without a weight for later.
func TestRoutes_Weights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("none.test"), routeTo("one.test", weight(1)), routeTo("three.test", weight(3))))
		start(t, q, d, relay.Options{Transport: tr})
		for range 40 {
			submitMany(q, "outbound", 1, 1)
			synctest.Wait()
		}
		if got := tr.counts(); got != "one.test:10 three.test:30" {
			t.Errorf("recipients by route: %s, want 10 and 30", got)
		}
		down := silent()
		tr.set("three.test", &down)
		tr.set("one.test", &down)
		submitMany(q, "outbound", 4, 1)
		time.Sleep(30 * time.Second) // those that find no place on it at once come back in ten
		synctest.Wait()
		if got := tr.counts(); got != "none.test:4 one.test:10 three.test:30" {
			t.Errorf("when those with a weight are down: %s", got)
		}
	})
}

// TestRoutes_RestAndProbe is a route that fails at AUTH, which says nothing of its site, rests, and comes back.
func TestRoutes_RestAndProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		var mu sync.Mutex
		var log bytes.Buffer
		disp, stop := start(t, q, d, relay.Options{Transport: tr, Logger: slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))})
		bad := relay.Result{Reply: store.Reply{Code: 535, Text: "no", Command: "auth", Host: "a.test"}}
		tr.set("a.test", &bad)
		for i, step := range []struct {
			after time.Duration
			first int // attempts at the first route so far
		}{
			{0, 1}, {0, 2}, {0, 3}, {0, 3}, {59 * time.Second, 3}, {time.Second, 4}, {time.Second, 4}, {time.Minute, 4}, {time.Minute, 5}, {0, 6},
		} {
			time.Sleep(step.after)
			if i == 8 {
				tr.set("a.test", nil)
			}
			id := submitMany(q, "outbound", 1, 1)[0]
			synctest.Wait()
			if n := len(tr.times["a.test"]); n != step.first || q.delivery(id).Recipients[0].State != store.Sent {
				t.Fatalf("message %d is %s after %d attempts at the first route, want sent after %d", i+1, q.delivery(id).Recipients[0].State, n, step.first)
			}
			if i == 3 {
				if s := disp.Routes(store.StreamKey{Server: 1, Stream: "outbound"}); !strings.Contains(s[0].Why, "it failed several times, the last with: 535 no") {
					t.Errorf("Routes = %+v", s)
				}
			}
		}
		stop()
		for words, want := range map[string]int{`level=WARN msg="route failed several times in a row and rests" route=a.test:25`: 2, `why="535 no"`: 2, `level=INFO msg="route is of use again" route=a.test:25`: 1} {
			if n := strings.Count(log.String(), words); n != want {
				t.Errorf("the log has %s %d times, want %d:\n%s", words, n, want, log.String())
			}
		}
	})
}

// TestRoutes_OneProbe: while one message asks a route that was at rest, the others go by the next.
func TestRoutes_OneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		start(t, q, d, relay.Options{Transport: tr})
		bad := relay.Result{Reply: store.Reply{Code: 535, Text: "no", Command: "auth", Host: "a.test"}}
		tr.set("a.test", &bad)
		for range 3 {
			submitMany(q, "outbound", 1, 1)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		tr.mu.Lock()
		tr.takes["a.test"] = time.Minute
		tr.mu.Unlock()
		tr.set("a.test", nil)
		submitMany(q, "outbound", 10, 1)
		synctest.Wait()
		if n, got := len(tr.times["a.test"]), tr.count["b.test"]; n != 4 || got != 12 {
			t.Errorf("%d attempts at the route that was at rest, %d recipients by the other, want 4 and 12", n, got)
		}
	})
}

// TestRoutes_AllAtRestAreTried: a rest is a preference, not a ban.
func TestRoutes_AllAtRestAreTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		start(t, q, d, relay.Options{Transport: tr})
		bad := relay.Result{Reply: store.Reply{Code: 535, Text: "no", Command: "auth", Host: "x"}}
		tr.set("a.test", &bad)
		tr.set("b.test", &bad)
		for range 5 {
			submitMany(q, "outbound", 1, 1)
			synctest.Wait()
		}
		if a := len(tr.times["a.test"]); a < 5 {
			t.Errorf("%d attempts at the first route, want one a message", a)
		}
	})
}

// TestRoutes_RestingSiteHoldsNothing asks for fifteen minutes of peace at the first route.
func TestRoutes_RestingSiteHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")), withRoutes("alone", routeTo("a.test")))
		disp, _ := start(t, q, d, relay.Options{Transport: tr})
		busy := relay.Result{Reply: store.Reply{Code: 421, Text: "try again in 15 minutes", Command: "connect", Host: "a.test"}}
		tr.set("a.test", &busy)
		submitMany(q, "outbound", 20, 1)
		alone := submitMany(q, "alone", 1, 1)[0]
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := tr.counts(); got != "b.test:20" {
			t.Errorf("recipients by route: %s, want all by the second", got)
		}
		if w, _ := disp.Waiting(store.DeliveryID{Message: alone}); w.Place != relay.PlaceSite && w.Place != relay.PlaceLater {
			t.Errorf("the stream without another route: %+v, want it to wait for the site", w)
		}
		sites := map[string]relay.SiteStatus{}
		for _, s := range disp.Sites() {
			sites[s.Key] = s
		}
		if a, b := sites["a.test:25"], sites["b.test:25"]; a.Until.IsZero() || a.Limit != 1 || !b.Until.IsZero() || b.Limit < 3 {
			t.Errorf("sites %+v and %+v, want each to have learned its own", a, b)
		}
	})
}

// TestRoutes_AlternateHasItsOwnLimit sends a burst while the first route is down.
func TestRoutes_AlternateHasItsOwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		tr.takes["b.test"] = time.Second
		start(t, q, d, relay.Options{Transport: tr, Limits: relay.Limits{PerSmarthost: 8}})
		submitMany(q, "outbound", 50, 1) // widens the windows
		time.Sleep(time.Minute)
		bad := relay.Result{Reply: store.Reply{Code: 535, Text: "no", Command: "auth", Host: "a.test"}}
		tr.set("a.test", &bad)
		submitMany(q, "outbound", 200, 1)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if tr.most["b.test"] > 8 || tr.most["b.test"] < 4 || q.unfinished() != 0 {
			t.Errorf("%d at once by the second route, %d left, want at most 8 and none", tr.most["b.test"], q.unfinished())
		}
	})
}

// TestRoutes_Paused leaves out a route that is paused in its stream, or whose host is, and waits where it is the only one.
func TestRoutes_Paused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		a, b := routeTo("a.test"), routeTo("b.test")
		d := newDirectory(t, withRoutes("outbound", a, b), withRoutes("alone", a))
		disp, _ := start(t, q, d, relay.Options{Transport: tr})
		d.alter(t, "outbound", func(s *store.Stream) { s.Route.Paused, s.Route.PausedWhy = time.Now(), "invoice" })
		submitMany(q, "outbound", 5, 1)
		submitMany(q, "alone", 5, 1)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:5 b.test:5" {
			t.Errorf("with the route paused in one stream: %s", got)
		}
		d.alter(t, "outbound", func(s *store.Stream) { s.Route.Paused = time.Time{} })
		pause(t, d, store.Pause{Destination: "a.test:25", Since: time.Now(), Why: "they move"})
		submitMany(q, "outbound", 5, 1)
		id := submitMany(q, "alone", 5, 1)[0]
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:5 b.test:10" {
			t.Errorf("with the host paused: %s", got)
		}
		w, _ := disp.Waiting(store.DeliveryID{Message: id})
		why := fmt.Sprint(relay.Reasons(q.delivery(id), d.Snapshot(), &w, time.Now()))
		if w.Place != relay.PlacePaused || !strings.Contains(why, "a.test:25 is paused: they move") || !strings.Contains(why, "mailchute queue resume a.test:25") {
			t.Errorf("waiting = %+v because %s", w, why)
		}
		pause(t, d)
		synctest.Wait()
		if n := q.unfinished(); n != 0 {
			t.Errorf("%d deliveries are left after resuming", n)
		}
	})
}

func pause(t *testing.T, d *fakeDirectory, pauses ...store.Pause) {
	t.Helper()
	if _, err := store.Update(t.Context(), d, func(*store.Snapshot) ([]store.Change, error) {
		return []store.Change{{Account: &store.Account{Pauses: pauses}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestRoutes_UncertainStays with its route, also while that takes nothing; what is not uncertain goes on.
func TestRoutes_UncertainStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		disp, _ := start(t, q, d, relay.Options{Transport: tr})
		lost := relay.Result{Uncertain: true, Reply: store.Reply{Command: "dot", Text: "lost"}}
		tr.set("a.test", &lost)
		id := q.submit("outbound", time.Now(), "b@example.test")
		synctest.Wait()
		tr.set("a.test", nil)
		d.alter(t, "outbound", func(s *store.Stream) { s.Route.Paused = time.Now() })
		other := q.submit("outbound", time.Now(), "c@example.test")
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := q.delivery(id); got.Recipients[0].State != store.Queued || got.Route != "a.test:25" || !strings.Contains(got.Recipients[0].Last.Text, "it stays with route a.test:25") {
			t.Errorf("delivery = %+v, want it to wait for its route", got)
		}
		if got := q.delivery(other).Recipients[0].State; got != store.Sent {
			t.Errorf("another message is %s", got)
		}
		w, _ := disp.Waiting(store.DeliveryID{Message: id})
		if why := fmt.Sprint(relay.Reasons(q.delivery(id), d.Snapshot(), &w, time.Now())); !strings.Contains(why, "it goes by route a.test:25 only") {
			t.Errorf("reasons = %s", why)
		}
		d.alter(t, "outbound", func(s *store.Stream) { s.Route.Paused = time.Time{} })
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if got := tr.counts(); got != "a.test:1 b.test:1" {
			t.Errorf("recipients by route: %s, want each message by its own", got)
		}
	})
}

// TestRoutes_PinnedRouteIsGone: then any may be taken.
func TestRoutes_PinnedRouteIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		lost := relay.Result{Uncertain: true, Reply: store.Reply{Command: "dot", Text: "lost"}}
		tr.set("a.test", &lost)
		start(t, q, d, relay.Options{Transport: tr})
		q.submit("outbound", time.Now(), "b@example.test")
		synctest.Wait()
		d.alter(t, "outbound", func(s *store.Stream) { s.Route, s.Alternates = s.Alternates[0], nil })
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := tr.counts(); got != "b.test:1" {
			t.Errorf("recipients by route: %s", got)
		}
	})
}

// TestSites_AreRememberedOverARestart keeps what a site answered, and the limit that came of it.
func TestSites_AreRememberedOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notes, tr, q := &fakeNotes{}, newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test")))
		_, stop := start(t, q, d, relay.Options{Transport: tr, Notes: notes})
		for range 9 {
			submitMany(q, "outbound", 1, 1)
			synctest.Wait()
		}
		less := relay.Result{Reply: store.Reply{Code: 450, Enhanced: [3]int{4, 7, 1}, Text: "slower", Command: "rcpt", Host: "a.test"}}
		tr.set("a.test", &less)
		submitMany(q, "outbound", 1, 1)
		time.Sleep(6*time.Minute + time.Second) // a look each minute, whose write takes a moment
		synctest.Wait()
		if notes.writes == 0 || notes.writes > 3 {
			t.Errorf("%d writes in six minutes", notes.writes)
		}
		stop()
		disp, _ := start(t, newQueue(), d, relay.Options{Transport: tr, Notes: notes})
		synctest.Wait()
		s := disp.Sites()
		if len(s) != 1 || s[0].Key != "a.test:25" || s[0].Limit >= 11 || !strings.Contains(s[0].Changes[len(s[0].Changes)-1].Why, "450 4.7.1 slower") {
			t.Errorf("Sites after a restart = %+v", s)
		}
	})
}

// TestRoutes_ManyLanesOfARatedStream: ten thousand destinations that wait for a rate cost nothing while they wait.
func TestRoutes_ManyLanesOfARatedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, store.Stream{ID: "outbound", Route: store.Route{Rate: store.Rate{Count: 100, Per: time.Second}}}, store.Stream{ID: "other"})
		var looks atomic.Int64
		now := func() time.Time { looks.Add(1); return time.Now() }
		for i := range 10_000 {
			q.submit("outbound", time.Now(), fmt.Sprintf("b@d%d.test", i))
		}
		start(t, q, d, relay.Options{Transport: tr, Now: now, Limits: relay.Limits{Total: 1000}})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if sent := tr.count[""]; sent < 1050 || sent > 1150 {
			t.Errorf("%d sent in ten seconds at 100/s, want 1100", sent)
		}
		if n := looks.Load(); n > 40_000 {
			t.Errorf("the clock was looked at %d times, want a few times a start", n)
		}
	})
}
