package relay_test

import (
	"context"
	"errors"
	"fmt"
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

func TestDispatcher_SendsDeferredMailWhenItIsDueAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		var times []time.Duration
		began := time.Now()
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			times = append(times, time.Since(began))
			if len(times) < 4 {
				return all(j, refused(451, "rcpt"))
			}
			return all(j, delivered())
		}}
		start(t, q, d, relay.Options{Transport: tr, Policy: relay.Policy{Jitter: -1}})
		id := q.submit("outbound", time.Now(), "b@example.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 1 * time.Minute, 6 * time.Minute, 21 * time.Minute}
		if fmt.Sprint(times) != fmt.Sprint(want) {
			t.Errorf("attempts at %v, want %v", times, want)
		}
		if got := q.delivery(id); got.Recipients[0].State != store.Sent || got.Attempt != 4 {
			t.Errorf("delivery = %+v, want sent at the fourth attempt", got)
		}
	})
}

// TestDispatcher_FairBetweenStreams gives both streams more than the limit can carry; they must share by weight.
func TestDispatcher_FairBetweenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		d := newDirectory(t, store.Stream{ID: "outbound", Weight: 30}, store.Stream{ID: "receipts", Weight: 10})
		var mu sync.Mutex
		counts := map[string]int{}
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			time.Sleep(time.Second)
			mu.Lock()
			counts[j.Message.Stream]++
			mu.Unlock()
			return all(j, delivered())
		}}
		for i := range 4000 {
			q.submit("receipts", time.Now(), fmt.Sprintf("b@d%d.test", i))
			q.submit("outbound", time.Now(), fmt.Sprintf("b@d%d.test", i))
		}
		_, stop := start(t, q, d, relay.Options{Transport: tr, Limits: relay.Limits{Total: 20}})
		time.Sleep(100*time.Second + 500*time.Millisecond)
		synctest.Wait()
		mu.Lock()
		got := maps.Clone(counts)
		mu.Unlock()
		if got["outbound"] < 1300 || got["outbound"] > 1400 || got["outbound"]+got["receipts"] < 1800 || got["outbound"]+got["receipts"] > 1850 {
			t.Errorf("sent %v, want 1350 and 450 by weights 30 and 10: two of the 20 places are kept for a third", got)
		}
		stop()
	})
}

// TestDispatcher_StuckDestinationDelaysNobody queues a thousand messages to a site that answers nothing.
func TestDispatcher_StuckDestinationDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "other"})
		var mu sync.Mutex
		stuck, most := 0, 0
		tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
			if !strings.HasSuffix(j.Recipients[0].Address, "@stuck.test") {
				return all(j, delivered())
			}
			mu.Lock()
			stuck++
			most = max(most, stuck)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			stuck--
			mu.Unlock()
			return all(j, relay.Result{Err: context.Cause(ctx)})
		}}
		for i := range 1000 {
			q.submit([]string{"outbound", "other"}[i%2], time.Now(), "b@stuck.test")
		}
		_, stop := start(t, q, d, relay.Options{Transport: tr, Limits: relay.Limits{Total: 50, PerDestination: 7}})
		synctest.Wait()
		began := time.Now()
		id := q.submit("outbound", began, "b@quick.test")
		synctest.Wait()
		if got := q.delivery(id).Recipients[0].State; got != store.Sent || time.Since(began) > 0 {
			t.Errorf("mail to another destination is %s after %v, want sent at once", got, time.Since(began))
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if most != 2 {
			t.Errorf("up to %d attempts at once to a destination that never answers, want 2", most)
		}
		go stop() // waits for mu's holders
	})
}

// TestDispatcher_DeadSitesLeaveRoom queues to more dead sites than there are places in the limit of one site.
func TestDispatcher_DeadSitesLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
			if strings.HasPrefix(j.Recipients[0].Address, "dead") {
				<-ctx.Done()
				return all(j, relay.Result{Err: context.Cause(ctx)})
			}
			time.Sleep(time.Second)
			return all(j, delivered())
		}}
		start(t, q, d, relay.Options{Transport: tr, Limits: relay.Limits{Total: 100, PerDestination: 10}})
		for i := range 2000 {
			q.submit("outbound", time.Now(), fmt.Sprintf("dead@d%d.test", i%40))
		}
		synctest.Wait()
		began := time.Now()
		for range 200 {
			q.submit("outbound", began, "b@alive.test")
		}
		for done := false; !done; {
			time.Sleep(time.Second)
			synctest.Wait()
			if done = q.unfinished() == 2000; time.Since(began) > 40*time.Second {
				t.Fatalf("%d deliveries wait behind dead sites", q.unfinished()-2000)
			}
		}
	})
}

// TestDispatcher_SecondOfALaneIsOnTime has one delivery under way for minutes when the next of its lane comes due.
func TestDispatcher_SecondOfALaneIsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		began := time.Now()
		var mu sync.Mutex
		var times []time.Duration
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			mu.Lock()
			times = append(times, time.Since(began))
			mu.Unlock()
			time.Sleep(5 * time.Minute)
			return all(j, delivered())
		}}
		q.submit("outbound", began, "b@example.test")
		q.submit("outbound", began.Add(7*time.Second), "b@example.test")
		start(t, q, d, relay.Options{Transport: tr})
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(times) != "[0s 7s]" {
			t.Errorf("attempts at %v, want [0s 7s]", times)
		}
	})
}

// TestDispatcher_RouteChangeFreesTheQueue changes the route of a stream whose smarthost hangs.
func TestDispatcher_RouteChangeFreesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", Route: store.Route{Host: "old.test", Port: 25}})
		tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
			if j.Route.Host == "old.test" {
				<-ctx.Done()
				return all(j, relay.Result{Err: context.Cause(ctx)})
			}
			return all(j, delivered())
		}}
		start(t, q, d, relay.Options{Transport: tr})
		for range 100 {
			q.submit("outbound", time.Now(), "b@example.test")
		}
		synctest.Wait()
		d.alter(t, "outbound", func(s *store.Stream) { s.Route.Host = "new.test" })
		synctest.Wait()
		if n := q.unfinished(); n != 2 {
			t.Errorf("%d deliveries are left, want the 2 that hang", n)
		}
	})
}

func TestDispatcher_NeverExceedsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "other"})
		var mu sync.Mutex
		now, most := map[string]int{}, map[string]int{}
		count := func(key string, by int) {
			now[key] += by
			most[key] = max(most[key], now[key])
		}
		step := func(j relay.Job, by int) {
			mu.Lock()
			defer mu.Unlock()
			count("total", by)
			count(j.Message.Stream, by)
			count(domainOf(j.Recipients[0].Address), by)
		}
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			step(j, 1)
			time.Sleep(time.Duration(j.Message.ID[15]) * time.Millisecond)
			step(j, -1)
			return all(j, delivered())
		}}
		for i := range 2000 {
			q.submit([]string{"outbound", "other"}[i%2], time.Now(), fmt.Sprintf("b@d%d.test", i%9))
		}
		start(t, q, d, relay.Options{Transport: tr, Limits: relay.Limits{Total: 12, // one of them is kept for newcomers
			PerDestination: 2, PerStream: 8}})
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if n := q.unfinished(); n != 0 {
			t.Errorf("%d deliveries are left", n)
		}
		for key, n := range most {
			limit := 2
			if key == "total" {
				limit = 12
			} else if key == "outbound" || key == "other" {
				limit = 8
			}
			if n > limit || (key == "total" && n < limit-1) {
				t.Errorf("%d at once for %s, want %d", n, key, limit)
			}
		}
	})
}

func TestDispatcher_PauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", Paused: true}, store.Stream{ID: "other"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, delivered()) }}
		disp, _ := start(t, q, d, relay.Options{Transport: tr})
		id := q.submit("outbound", time.Now(), "b@example.test")
		other := q.submit("other", time.Now(), "b@example.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		if a, b := q.delivery(id), q.delivery(other); a.Attempt != 0 || b.Recipients[0].State != store.Sent {
			t.Errorf("paused stream: attempt %d, other stream: %s", a.Attempt, b.Recipients[0].State)
		}
		if s := disp.Status(); len(s.Streams) != 1 || !s.Streams[0].Paused || s.Streams[0].Ready != 1 || s.Tickets != 1 {
			t.Errorf("Status = %+v, want one paused stream with one ready lane", s)
		}
		d.alter(t, "outbound", func(s *store.Stream) { s.Paused = false })
		synctest.Wait()
		if got := q.delivery(id).Recipients[0].State; got != store.Sent {
			t.Errorf("after resuming: %s, want sent", got)
		}
		if s := disp.Status(); s.Tickets != 0 || s.InFlight != 0 || s.Sites != 0 || len(s.Streams) != 0 {
			t.Errorf("Status at rest = %+v, want nothing kept", s)
		}
	})
}

// TestDispatcher_StopCancelsAndKeepsTheAttempt stops while one attempt may be cancelled and another is in its final dot.
func TestDispatcher_StopCancelsAndKeepsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
			if j.Recipients[0].Address == "b@early.test" {
				<-ctx.Done()
				return all(j, relay.Result{Err: context.Cause(ctx)})
			}
			time.Sleep(9 * time.Minute) // the final dot
			return all(j, delivered())
		}}
		_, stop := start(t, q, d, relay.Options{Transport: tr})
		early, late := q.submit("outbound", time.Now(), "b@early.test"), q.submit("outbound", time.Now(), "b@late.test")
		synctest.Wait()
		time.Sleep(time.Second)
		stopped := time.Now()
		after := q.claims
		stop()
		q.submit("outbound", time.Now(), "b@never.test")
		synctest.Wait()
		if got := q.delivery(early); got.Recipients[0].State != store.Queued || got.Due.After(stopped) || !got.Lease.IsZero() {
			t.Errorf("cancelled delivery = %+v, want queued and due", got)
		}
		if got := q.delivery(late).Recipients[0].State; got != store.Sent {
			t.Errorf("delivery in its final dot = %s, want sent", got)
		}
		if q.claims != after {
			t.Errorf("%d claims after the stop", q.claims-after)
		}
	})
}

func TestDispatcher_ResultSurvivesAFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		sends := 0
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { sends++; return all(j, delivered()) }}
		for range 20 {
			q.resolveErr = append(q.resolveErr, fmt.Errorf("disk: %w", store.ErrUnknown))
		}
		q.claimErr = []error{errors.New("disk"), store.ErrFull}
		start(t, q, d, relay.Options{Transport: tr})
		id := q.submit("outbound", time.Now(), "b@example.test")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := q.delivery(id).Recipients[0].State; got != store.Sent || sends != 1 {
			t.Errorf("delivery is %s after %d transmissions, want sent after 1", got, sends)
		}
	})
}

func TestDispatcher_StopGivesUpOnAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, delivered()) }}
		for range 1_000_000 {
			q.resolveErr = append(q.resolveErr, errors.New("disk"))
		}
		_, stop := start(t, q, d, relay.Options{Transport: tr, StopGrace: 3 * time.Second})
		q.submit("outbound", time.Now(), "b@example.test")
		synctest.Wait()
		began := time.Now()
		stop()
		if took := time.Since(began); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("stop took %v, want the grace of 3s and little more", took)
		}
	})
}

func TestDispatcher_PanicsHoldTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			if j.Recipients[0].Address == "b@poison.test" {
				panic("poison")
			}
			return all(j, delivered())
		}}
		start(t, q, d, relay.Options{Transport: tr, Holder: q})
		bad, good := q.submit("outbound", time.Now(), "b@poison.test"), q.submit("outbound", time.Now(), "b@example.test")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := q.delivery(good).Recipients[0].State; got != store.Sent {
			t.Errorf("other message is %s, want sent", got)
		}
		if got := q.delivery(bad); got.Attempt != 3 || got.Held.IsZero() || len(q.holds) != 1 {
			t.Errorf("poison: attempt %d, held %v, want held after 3", got.Attempt, got.Held)
		}
	})
}

// TestDispatcher_PanicOutsideTheAttempt happens after the result was recorded, in code that is not ours.
func TestDispatcher_PanicOutsideTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, delivered()) }}
		disp, _ := start(t, q, d, relay.Options{Transport: tr, Limits: relay.Limits{Total: 1}, Observer: func(relay.Outcome) { panic("observer") }})
		for range 10 {
			q.submit("outbound", time.Now(), "b@example.test")
		}
		synctest.Wait()
		if n, s := q.unfinished(), disp.Status(); n != 0 || s.InFlight != 0 {
			t.Errorf("%d deliveries are left, %d places taken", n, s.InFlight)
		}
	})
}

// TestDispatcher_ClockJump moves the wall clock by hours, as a resumed machine does.
func TestDispatcher_ClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, delivered()) }}
		var jump atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
		start(t, q, d, relay.Options{Transport: tr, Now: now})
		later := q.submit("outbound", now().Add(3*time.Hour), "b@example.test")
		jump.Store(int64(4 * time.Hour))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := q.delivery(later).Recipients[0].State; got != store.Sent {
			t.Errorf("a minute after the jump: %s, want sent", got)
		}
		old := q.submit("outbound", now().Add(-365*24*time.Hour), "b@example.test")
		synctest.Wait()
		if got := q.delivery(old).Recipients[0].State; got != store.Sent {
			t.Errorf("mail that was never tried: %s, want sent, however old", got)
		}
	})
}

// TestDispatcher_ExpiresWithoutAnotherAttempt wakes a delivery at the end of its time only to give it up.
func TestDispatcher_ExpiresWithoutAnotherAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		var last time.Time
		attempts := 0
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			if j.Message.From != "" {
				attempts, last = attempts+1, time.Now()
			}
			return all(j, refused(450, "rcpt"))
		}}
		start(t, q, d, relay.Options{Transport: tr, Hostname: "relay.test"})
		began := time.Now()
		id := q.submit("outbound", began, "b@example.test")
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		events := q.timeline(id)
		end := events[len(events)-2]
		if got := q.delivery(id); got.Recipients[0].State != store.Expired || end.Kind != store.EventExpired || end.At.Sub(began) != 5*24*time.Hour {
			t.Errorf("delivery %s, last event %+v, want expired after five days", got.Recipients[0].State, end)
		}
		if attempts < 30 || attempts > 45 || last.Sub(began) > 5*24*time.Hour || len(q.notices(id)) != 1 {
			t.Errorf("%d attempts, the last after %v, %d notices", attempts, last.Sub(began), len(q.notices(id)))
		}
	})
}

func TestDispatcher_DamagedBodyIsHeld(t *testing.T) {
	w, mx := single(t, steadyScript())
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
	o := w.options()
	o.Holder = q
	id := store.NewID()
	now := time.Now()
	q.damaged[id] = true
	q.put(store.Message{ID: id, Server: 1, Stream: "outbound", From: "a@sender.test", Size: int64(len(body))}, body, store.Delivery{
		ID: store.DeliveryID{Message: id}, Server: 1, Stream: "outbound", Destination: "example.test", Due: now, Expires: now.Add(time.Hour),
		Recipients: []store.Recipient{{Address: "b@example.test", State: store.Queued}},
	})
	start(t, q, d, o)
	q.until(t, "a hold", func() bool { return len(q.timeline(id)) > 0 })
	if got := q.delivery(id); got.Held.IsZero() || got.Recipients[0].State != store.Queued {
		t.Errorf("damaged message: %+v, want held and queued", got)
	}
	mx.WaitClosed()
	if n := len(mx.Messages()); n != 0 {
		t.Errorf("host took %d messages, want none", n)
	}
	if e := q.timeline(id)[0]; !strings.Contains(e.Detail, "damaged") {
		t.Errorf("event = %+v, want it to speak of damage", e)
	}
}

func TestDispatcher_Modes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		d := newDirectory(t, store.Stream{ID: "outbound", Mode: store.ModeCapture}, store.Stream{ID: "redirected", Mode: store.ModeRedirect, RedirectTo: "dev@team.test"},
			store.Stream{ID: "deleted"}, store.Stream{ID: "archived", Archived: time.Now()})
		var jobs []string
		var mu sync.Mutex
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			mu.Lock()
			defer mu.Unlock()
			jobs = append(jobs, fmt.Sprint(j.Message.Stream, j.Recipients))
			return all(j, delivered())
		}}
		d.remove(t, "deleted")
		start(t, q, d, relay.Options{Transport: tr})
		captured := q.submit("outbound", time.Now(), "b@example.test", "c@example.test")
		redirected := q.submit("redirected", time.Now(), "b@example.test", "c@example.test")
		orphan := q.submit("deleted", time.Now(), "b@example.test")
		archived := q.submit("archived", time.Now(), "b@example.test")
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		for id, want := range map[store.ID]store.State{captured: store.Captured, redirected: store.Sent, orphan: store.Cancelled, archived: store.Sent} {
			for _, r := range q.delivery(id).Recipients {
				if r.State != want {
					t.Errorf("%s in stream %s: %s, want %s", r.Address, q.delivery(id).Stream, r.State, want)
				}
			}
		}
		if len(jobs) != 2 || !strings.Contains(strings.Join(jobs, " "), "redirected[{dev@team.test NEVER   []}]") {
			t.Errorf("jobs = %v, want one for the archived stream and one redirected", jobs)
		}
		if n := len(q.timeline(orphan)); n < 10 || n > 40 {
			t.Errorf("%d events about a stream that is gone, want one every four hours", n)
		}
	})
}

func TestDispatcher_StoreThatGoesAwayEndsRun(t *testing.T) {
	for _, c := range []struct{ given, want error }{{store.ErrClosed, nil}, {store.ErrDamaged, store.ErrDamaged}} {
		q := newQueue()
		q.watchErr = c.given
		disp, err := relay.New(q, newDirectory(t), relay.Options{Transport: &fakeTransport{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := disp.Run(context.Background()); !errors.Is(err, c.want) {
			t.Errorf("Run with a store that ends with %v = %v, want %v", c.given, err, c.want)
		}
		if s := disp.Status(); s.Running {
			t.Errorf("Status after Run = %+v", s)
		}
	}
}

func TestNew_RefusesContradictions(t *testing.T) {
	for name, o := range map[string]relay.Options{
		"lease shorter than attempt": {Lease: 10 * time.Minute},
		"negative limit":             {Limits: relay.Limits{Total: -1}},
		"empty schedule":             {Policy: relay.Policy{Schedule: []time.Duration{}}},
		"zero wait":                  {Policy: relay.Policy{Schedule: []time.Duration{0}}},
		"jitter of 1":                {Policy: relay.Policy{Jitter: 1}},
	} {
		if _, err := relay.New(newQueue(), newDirectory(t), o); err == nil {
			t.Errorf("New with %s succeeds", name)
		}
	}
}
