package webhook

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/store"
)

var allTriggers = store.Triggers{Delivery: true, Bounce: true, BounceContent: true, SpamComplaint: true, ComplaintContent: true, SubscriptionChange: true}

func TestSender_Sends(t *testing.T) {
	e := newEndpoint(t, nil)
	r := newRig(t, store.Webhook{ID: 1, URL: e.URL + "/hook", Triggers: allTriggers})
	r.run(Options{})
	m := r.mail("s0", "ada@example.org")
	r.sent(m, 0)
	h := e.next(t)
	if h.path != "/hook" || h.body["RecordType"] != "Delivery" || h.body["MessageID"] != m.ID.String() || h.body["Recipient"] != "ada@example.org" {
		t.Errorf("event %+v", h)
	}
	r.drained(1)
	if q := r.queue(1); q.Dead != 0 {
		t.Errorf("queue = %+v", q)
	}
}

// TestSender_Order: the events of a message come in order although the first try
// of each fails, while those of other messages go ahead.
func TestSender_Order(t *testing.T) {
	var tries atomic.Int64
	failed := map[string]bool{}
	e := newEndpoint(t, nil)
	answer := make(chan struct{}, 1)
	answer <- struct{}{}
	picky := newEndpoint(t, func(h hit) int {
		<-answer
		defer func() { answer <- struct{}{} }()
		if tries.Add(1); !failed[h.id] {
			failed[h.id] = true
			return 500
		}
		return 200
	})
	r := newRig(t, store.Webhook{ID: 1, URL: picky.URL, Triggers: allTriggers}, store.Webhook{ID: 2, URL: e.URL, Triggers: allTriggers})
	r.run(Options{Schedule: []time.Duration{5 * time.Millisecond, 5 * time.Millisecond}})
	const messages, parts = 5, 4
	for range messages {
		m := r.mail("s0", "a@example.org", "b@example.org", "c@example.org", "d@example.org")
		for part := range parts {
			r.sent(m, part)
		}
	}
	order := map[string]string{}
	ids := map[string]bool{}
	for range 2 * messages * parts {
		h := picky.next(t)
		to, id := h.body["Recipient"].(string)[:1], h.body["MessageID"].(string)
		ids[h.id] = true
		if h.header.Get("X-PM-Retries-Remaining") == "1" {
			order[id] += to
		}
	}
	for id, got := range order {
		if got != "abcd" {
			t.Errorf("events of message %s in the order %s", id, got)
		}
	}
	if len(order) != messages || len(ids) != messages*parts {
		t.Errorf("%d messages, %d events", len(order), len(ids))
	}
	for range messages * parts {
		e.next(t)
	}
	r.drained(1)
}

func TestSender_DeadAndReplay(t *testing.T) {
	var healed atomic.Bool
	e := newEndpoint(t, func(hit) int {
		if healed.Load() {
			return 200
		}
		return 503
	})
	r := newRig(t, store.Webhook{ID: 1, URL: e.URL, Triggers: allTriggers})
	r.run(Options{Schedule: []time.Duration{time.Millisecond, time.Millisecond}})
	r.sent(r.mail("s0", "ada@example.org"), 0)
	first := e.next(t)
	for want := range 2 {
		if h := e.next(t); h.id != first.id || h.raw != first.raw || h.header.Get("X-PM-Retries-Remaining") != fmt.Sprint(1-want) {
			t.Errorf("retry %d is another event: %+v", want, h)
		}
	}
	eventually(t, "a dead event", func() bool { return r.queue(1).Dead == 1 })
	if q := r.queue(1); q.Last.Status != 503 || q.Last.Error != "503 Service Unavailable" {
		t.Errorf("queue = %+v", q)
	}
	healed.Store(true)
	if n, err := r.ReplayNotifications(t.Context(), 1, time.Now()); n != 1 || err != nil {
		t.Fatalf("replayed %d, %v", n, err)
	}
	if h := e.next(t); h.id != first.id || h.header.Get("X-PM-Retries-Remaining") != "2" {
		t.Errorf("replayed as %+v", h)
	}
	r.drained(1)
}

func TestSender_InternalIsDeadAtOnce(t *testing.T) {
	r := newRig(t, store.Webhook{ID: 1, URL: "http://localhost:8080/", Triggers: allTriggers})
	r.run(Options{Guard: Guard{Allow: loopback.Allow[:0:0]}})
	r.sent(r.mail("s0", "ada@example.org"), 0)
	eventually(t, "a dead event", func() bool { return r.queue(1).Dead == 1 })
	if q := r.queue(1); !strings.Contains(q.Last.Error, "127.0.0.1 is an internal address; webhooks.allow") {
		t.Errorf("queue = %+v", q)
	}
}

// TestSender_StuckEndpoints: of 60 endpoints 50 answer nothing, and the others
// get their events all the same.
func TestSender_StuckEndpoints(t *testing.T) {
	stuck := newEndpoint(t, nil)
	release := make(chan struct{})
	stuck.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-req.Context().Done():
		case <-release:
		}
	})
	defer close(release)
	e := newEndpoint(t, nil)
	var hooks []store.Webhook
	for i := range 60 {
		w := store.Webhook{ID: int64(i + 1), URL: stuck.URL, Triggers: allTriggers}
		if i%6 == 5 {
			w.URL = e.URL
		}
		hooks = append(hooks, w)
	}
	r := newRig(t, hooks...)
	r.run(Options{Timeout: time.Hour, Total: 64, Grace: time.Millisecond})
	for i := range 60 {
		if i%10 == 0 {
			for range 4 {
				r.sent(r.mail(streamOf(i), "ada@example.org"), 0)
			}
		}
	}
	for range 10 * 4 {
		e.next(t)
	}
}

// TestSender_CrashBetweenTryAndResult: what was sent and not recorded is sent
// again with its ID; what was recorded is not.
func TestSender_CrashBetweenTryAndResult(t *testing.T) {
	e := newEndpoint(t, nil)
	r := newRig(t, store.Webhook{ID: 1, URL: e.URL, Triggers: allTriggers})
	r.sent(r.mail("s0", "ada@example.org"), 0)
	eventually(t, "a notification", func() bool { return r.queue(1).Waiting == 1 })
	lost := &unrecorded{Store: r.Store}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := New(lost, plainKeys{}, Options{Guard: loopback})
	go func() { ended <- s.Run(ctx) }()
	first := e.next(t)
	stop()
	<-ended
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open()
	halt := r.run(Options{})
	if again := e.next(t); again.id != first.id || again.raw != first.raw {
		t.Errorf("sent again as %+v, first %+v", again, first)
	}
	r.drained(1)
	halt()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.run(Options{})
	r.sent(r.mail("s0", "bob@example.org"), 0)
	if h := e.next(t); h.id == first.id || h.body["Recipient"] != "bob@example.org" {
		t.Errorf("sent a third time: %+v", h)
	}
}

// unrecorded loses results, as a kill does.
type unrecorded struct{ Store }

func (unrecorded) SettleNotifications(context.Context, ...store.NotificationResult) error {
	return fmt.Errorf("killed: %w", store.ErrClosed)
}

// transportFunc answers without a network.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSender_ClockGoesBack: an event that failed under a clock that was a year ahead is not sent a year later.
func TestSender_ClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigEvery(t, 100*time.Millisecond, store.Webhook{ID: 1, URL: "https://8.8.8.8/", Triggers: allTriggers})
		var ahead atomic.Int64
		ahead.Store(int64(365 * 24 * time.Hour))
		tries := make(chan time.Time, 10)
		transport := transportFunc(func(req *http.Request) (*http.Response, error) {
			tries <- time.Now()
			return &http.Response{StatusCode: 500, Body: http.NoBody, Request: req}, nil
		})
		stop := r.run(Options{transport: transport, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).Round(0) }})
		r.sent(r.mail("s0", "ada@example.org"), 0)
		first := <-tries
		synctest.Wait() // when it is due again is decided
		ahead.Store(0)
		time.Sleep(3 * time.Minute)
		if len(tries) == 0 {
			t.Error("not tried again in three minutes")
		} else if wait := (<-tries).Sub(first); wait > 2*time.Minute {
			t.Errorf("tried again after %v", wait)
		}
		stop()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSender_Schedule is Postmark's, to the second, on a clock of its own.
func TestSender_Schedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigEvery(t, 100*time.Millisecond, store.Webhook{ID: 1, URL: "https://8.8.8.8/", Triggers: allTriggers})
		var at []time.Time
		transport := transportFunc(func(req *http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			return &http.Response{StatusCode: 500, Body: http.NoBody, Request: req}, nil
		})
		stop := r.run(Options{transport: transport})
		r.sent(r.mail("s0", "ada@example.org"), 0)
		time.Sleep(2 * time.Hour)
		var waits []time.Duration
		for i := 1; i < len(at); i++ {
			waits = append(waits, at[i].Sub(at[i-1]).Round(time.Second))
		}
		if fmt.Sprint(waits) != fmt.Sprint(DefaultSchedule()) {
			t.Errorf("tried again after %v, want %v", waits, DefaultSchedule())
		}
		if q := r.queue(1); q.Waiting != 0 || q.Dead != 1 {
			t.Errorf("queue = %+v", q)
		}
		stop()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
