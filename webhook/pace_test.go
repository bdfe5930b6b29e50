package webhook

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/store"
)

// changes makes so many events due, each of another address.
func (r *rig) changes(stream string, n int) {
	r.Helper()
	var all []store.Suppression
	for i := range n {
		all = append(all, store.Suppression{Server: 1, Stream: stream, Address: fmt.Sprintf("%d@example.org", i), Reason: store.SuppressedManually,
			Origin: store.OriginCustomer, Created: time.Now()})
	}
	if _, err := r.Suppress(r.Context(), all...); err != nil {
		r.Fatal(err)
	}
}

// on runs a test on a clock of its own, with a transport in place of the network.
func on(t *testing.T, transport transportFunc, o Options, hooks []store.Webhook, run func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRigEvery(t, time.Minute, hooks...)
		o.transport, o.settleEvery = transport, time.Second
		stop := r.run(o)
		run(t, r)
		stop()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func reply(req *http.Request, status int) (*http.Response, error) {
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: req}, nil
}

// TestSender_PaceOfTheFailing: a backlog of an endpoint that fails at once costs
// 20 tries a second, and goes fast when it answers again.
func TestSender_PaceOfTheFailing(t *testing.T) {
	var tries atomic.Int64
	var healed atomic.Bool
	transport := func(req *http.Request) (*http.Response, error) {
		tries.Add(1)
		if healed.Load() {
			return reply(req, 200)
		}
		return reply(req, 500)
	}
	on(t, transport, Options{Rate: 1_000_000}, []store.Webhook{{ID: 1, URL: "https://8.8.8.8/", Triggers: allTriggers}}, func(t *testing.T, r *rig) {
		r.changes("s0", 2000)
		time.Sleep(10 * time.Second)
		if n := tries.Load(); n < 150 || n > 201 {
			t.Errorf("%d tries in 10 s, want about 200", n)
		}
		healed.Store(true)
		time.Sleep(20 * time.Minute)
		if q := r.queue(1); q.Waiting != 0 || q.Dead != 0 {
			t.Errorf("queue = %+v", q)
		}
	})
}

// TestSender_RateOfAll: all webhooks together keep to the rate.
func TestSender_RateOfAll(t *testing.T) {
	var first, second atomic.Int64 // tries
	transport := func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "8.8.8.8" {
			first.Add(1)
		} else {
			second.Add(1)
		}
		return reply(req, 200)
	}
	hooks := []store.Webhook{{ID: 1, URL: "https://8.8.8.8/", Triggers: allTriggers}, {ID: 2, URL: "https://8.8.4.4/", Triggers: allTriggers}}
	on(t, transport, Options{Rate: 100}, hooks, func(t *testing.T, r *rig) {
		r.changes("s0", 1000)
		time.Sleep(10 * time.Second)
		a, b := first.Load(), second.Load()
		if n := a + b; n < 900 || n > 1011 {
			t.Errorf("%d tries in 10 s, want about 1,000", n)
		}
		if a-b > 20 || b-a > 20 {
			t.Errorf("%d and %d tries: one had more turns", a, b)
		}
	})
}

// TestSender_HalfForThoseThatWork: of 8 places, 20 endpoints that answer nothing
// take at most 4 once they are known, and one that works has its events at once.
func TestSender_HalfForThoseThatWork(t *testing.T) {
	var stuck, most, good atomic.Int64
	var known atomic.Bool
	transport := func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "8.8.4.4" {
			good.Add(1)
			return reply(req, 200)
		}
		n := stuck.Add(1)
		defer stuck.Add(-1)
		if known.Load() && n > most.Load() {
			most.Store(n)
		}
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	var hooks []store.Webhook
	for i := range 20 {
		hooks = append(hooks, store.Webhook{ID: int64(i + 1), URL: "https://8.8.8.8/", Triggers: allTriggers})
	}
	hooks = append(hooks, store.Webhook{ID: 21, URL: "https://8.8.4.4/", Triggers: allTriggers})
	on(t, transport, Options{Total: 8, Rate: 1_000_000}, hooks, func(t *testing.T, r *rig) {
		r.changes("s0", 50)
		r.changes("s1", 50)
		r.changes("s2", 5)
		time.Sleep(5 * time.Minute) // each has failed once
		known.Store(true)
		before := good.Load()
		time.Sleep(time.Minute)
		r.changes("s2", 50) // the first five are there already
		time.Sleep(time.Second)
		if n := good.Load() - before; n != 45 {
			t.Errorf("%d of 45 events came within a second", n)
		}
		time.Sleep(5 * time.Minute)
		if n := most.Load(); n == 0 || n > 4 {
			t.Errorf("endpoints that fail took %d of 8 places", n)
		}
	})
}
