package relay_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// smarthosts returns routes to hosts that follow scripts.
func smarthosts(t *testing.T, scripts ...testmx.Script) ([]store.Route, []*testmx.Server) {
	t.Helper()
	var routes []store.Route
	var servers []*testmx.Server
	for _, s := range scripts {
		mx := testmx.New(t, s)
		servers = append(servers, mx)
		routes = append(routes, store.Route{Host: "127.0.0.1", Port: mx.Port(), TLS: store.TLSNone})
	}
	return routes, servers
}

func routesOptions() relay.Options {
	o := newWorld().options()
	o.Dial = nil
	return o
}

// TestRoutes_Failover is what the first of two routes does, and whether the second is used.
func TestRoutes_Failover(t *testing.T) {
	drop := testmx.Step{Drop: true, Always: true}
	for _, c := range []struct {
		name   string
		first  testmx.Script
		want   string
		second int
	}{
		{"works", testmx.Script{}, "delivered 250 dot", 0},
		{"banner 421", at(testmx.Connect, reply("421 busy")), "delivered 250 dot", 1},
		{"banner 554", at(testmx.Connect, reply("554 not you")), "delivered 250 dot", 1},
		{"EHLO 550", at(testmx.Hello, reply("550 not you")), "delivered 250 dot", 1},
		{"MAIL drops", at(testmx.Mail, drop), "delivered 250 dot", 1},
		{"DATA drops", at(testmx.Data, drop), "delivered 250 dot", 1},
		{"RCPT 450 is an answer", at(testmx.Rcpt, reply("450 greylisted")), "temporary 450 rcpt", 0},
		{"RCPT 550 is an answer", at(testmx.Rcpt, reply("550 unknown")), "permanent 550 rcpt", 0},
		{"dot 451 is an answer", at(testmx.Dot, reply("451 later")), "temporary 451 dot", 0},
		{"lost answer to the dot", at(testmx.Dot, testmx.Step{Drop: true, Take: true}), "uncertain 0 dot", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			routes, servers := smarthosts(t, c.first, testmx.Script{})
			j := job()
			j.Route, j.Alternates = routes[0], routes[1:]
			got := transport(t, routesOptions()).Send(context.Background(), j)[0]
			if fate(got) != c.want || len(servers[1].Messages()) != c.second {
				t.Errorf("Send = %s with %d messages at the second, want %s and %d", fate(got), len(servers[1].Messages()), c.want, c.second)
			}
			used := routes[c.second]
			if want := fmt.Sprintf("127.0.0.1:%d", used.Port); got.Route != want {
				t.Errorf("Route = %q, want %q", got.Route, want)
			}
			if c.second == 1 && !strings.Contains(got.Detail, fmt.Sprintf("before that by 127.0.0.1:%d: ", routes[0].Port)) {
				t.Errorf("Detail = %q does not tell of the first route", got.Detail)
			}
		})
	}
}

// TestRoutes_OnlyWhoIsLeft: the second route gets only the recipients that the first could not take.
func TestRoutes_OnlyWhoIsLeft(t *testing.T) {
	first := testmx.Script{Lack: []string{"PIPELINING"}, Rcpt: map[string][]testmx.Step{"b@example.test": {{Reply: "550 unknown"}}, "c@example.test": {{Drop: true}}}}
	routes, servers := smarthosts(t, first, testmx.Script{})
	j := job("b@example.test", "c@example.test", "d@example.test")
	j.Route, j.Alternates = routes[0], routes[1:]
	got := transport(t, routesOptions()).Send(context.Background(), j)
	if f := fates(got); f != "permanent 550 rcpt, delivered 250 dot, delivered 250 dot" {
		t.Errorf("Send = %s", f)
	}
	if m := servers[1].Messages(); len(m) != 1 || len(m[0].To) != 2 {
		t.Errorf("second host has %+v, want one message for c and d", m)
	}
}

func TestRoutes_Pinned(t *testing.T) {
	routes, servers := smarthosts(t, testmx.Script{}, at(testmx.Connect, reply("421 busy")))
	j := job()
	j.Route, j.Alternates = routes[0], routes[1:]
	j.Pinned = fmt.Sprintf("127.0.0.1:%d", routes[1].Port)
	got := transport(t, routesOptions()).Send(context.Background(), j)[0]
	if fate(got) != "temporary 421 connect" || servers[0].Connections() != 0 {
		t.Errorf("Send = %s with %d connections to the other route, want it to stay with its own", fate(got), servers[0].Connections())
	}
	j.Pinned = "gone.test:25"
	if got := transport(t, routesOptions()).Send(context.Background(), j)[0]; got.Verdict() != relay.Delivered {
		t.Errorf("Send = %s by a stream whose pinned route is gone, want delivered by another", fate(got))
	}
}

// TestRoutes_ByMXThenSmarthost spreads one delivery over two domains and then hands both to the smarthost.
func TestRoutes_ByMXThenSmarthost(t *testing.T) {
	routes, servers := smarthosts(t, testmx.Script{})
	w := newWorld()
	w.host("one.test", 1, nil)
	w.host("two.test", 2, nil)
	w.at[fmt.Sprintf("127.0.0.1:%d", routes[0].Port)] = servers[0].Addr()
	j := job("a@one.test", "b@two.test")
	j.Alternates = routes
	if f := fates(transport(t, w.options()).Send(context.Background(), j)); f != "delivered 250 dot, delivered 250 dot" {
		t.Errorf("Send = %s", f)
	}
	if m := servers[0].Messages(); len(m) != 1 || len(m[0].To) != 2 {
		t.Errorf("smarthost has %+v, want one message for both", m)
	}
}

// TestRoutes_Rest is a route that fails, rests, is probed by one message, fails again, and recovers.
func TestRoutes_Rest(t *testing.T) {
	bad := testmx.Step{Reply: "421 busy"}
	routes, servers := smarthosts(t, at(testmx.Connect, bad, bad, bad, bad), testmx.Script{})
	o := routesOptions()
	now := time.Now()
	o.Now = func() time.Time { return now }
	o.Pool.Messages = 1
	tr := transport(t, o)
	for i, step := range []struct {
		after time.Duration
		first int // connections to the first route so far
	}{
		{0, 1}, {0, 2}, {0, 3}, {0, 3}, {59 * time.Second, 3}, {time.Second, 4}, {time.Second, 4}, {time.Minute, 4}, {time.Minute, 5}, {0, 6},
	} {
		now = now.Add(step.after)
		j := job()
		j.Route, j.Alternates = routes[0], routes[1:]
		if got := tr.Send(context.Background(), j)[0]; got.Verdict() != relay.Delivered {
			t.Fatalf("message %d: %s", i+1, fate(got))
		}
		if n := servers[0].Connections(); n != step.first {
			t.Fatalf("message %d: %d connections to the first route, want %d", i+1, n, step.first)
		}
	}
}

// TestRoutes_OneProbe is a route whose rest is over and that does not answer: only one message waits for it.
func TestRoutes_OneProbe(t *testing.T) {
	bad := testmx.Step{Reply: "421 busy"}
	routes, servers := smarthosts(t, at(testmx.Connect, bad, bad, bad, testmx.Step{Stall: true}), testmx.Script{})
	o := routesOptions()
	var later atomic.Int64
	began := time.Now()
	o.Now = func() time.Time { return began.Add(time.Duration(later.Load())) }
	tr := transport(t, o)
	send := func() relay.Result {
		j := job()
		j.Route, j.Alternates = routes[0], routes[1:]
		return tr.Send(context.Background(), j)[0]
	}
	for range 3 {
		send()
	}
	later.Store(int64(time.Minute))
	probe := make(chan relay.Result)
	go func() { probe <- send() }()
	servers[0].WaitStalled(testmx.Connect, 1)
	if got := send(); got.Verdict() != relay.Delivered || servers[0].Connections() != 4 {
		t.Errorf("Send = %s with %d connections to the first route, want the second route at once", fate(got), servers[0].Connections())
	}
	servers[0].Release()
	if got := <-probe; got.Verdict() != relay.Delivered {
		t.Errorf("the probe = %s", fate(got))
	}
	if send(); len(servers[0].Messages()) != 2 {
		t.Errorf("the first route has %d messages, want the probe's and the next", len(servers[0].Messages()))
	}
}

func TestRoutes_AllAtRestAreTried(t *testing.T) {
	routes, servers := smarthosts(t, at(testmx.Connect, reply("421 a")), at(testmx.Connect, reply("421 b")))
	tr := transport(t, routesOptions())
	for range 4 {
		j := job()
		j.Route, j.Alternates = routes[0], routes[1:]
		if got := tr.Send(context.Background(), j)[0]; fate(got) != "temporary 421 connect" {
			t.Errorf("Send = %s", fate(got))
		}
	}
	if a, b := servers[0].Connections(), servers[1].Connections(); a != 4 || b != 4 {
		t.Errorf("%d and %d connections, want 4 and 4", a, b)
	}
}

func TestRoutes_Weights(t *testing.T) {
	routes, servers := smarthosts(t, testmx.Script{}, testmx.Script{}, testmx.Script{})
	routes[1].Weight, routes[2].Weight = 1, 3
	o, i := routesOptions(), 0
	o.Rand = func() float64 { return float64(i%4)/4 + 0.1 }
	tr := transport(t, o)
	for i = range 32 {
		j := job()
		j.Route, j.Alternates = routes[0], routes[1:]
		tr.Send(context.Background(), j)
	}
	if a, b, c := len(servers[0].Messages()), len(servers[1].Messages()), len(servers[2].Messages()); a != 0 || b != 8 || c != 24 {
		t.Errorf("%d, %d and %d messages, want 0, 8 and 24", a, b, c)
	}
}

// TestPolicy_UncertainStaysWithItsRoute also after attempts that came to nothing.
func TestPolicy_UncertainStaysWithItsRoute(t *testing.T) {
	c := claimed(1, 1)
	for i, step := range []struct {
		result relay.Result
		want   string
	}{
		{relay.Result{Reply: store.Reply{Code: 450, Command: "rcpt"}, Route: "a:25"}, ""},
		{relay.Result{Uncertain: true, Reply: store.Reply{Command: "dot"}, Route: "b:25"}, "b:25"},
		{relay.Result{Reply: store.Reply{Code: 421, Command: "connect"}, Route: "b:25"}, "b:25"},
	} {
		c.Delivery = policy().Next(relay.Attempt{Claimed: c, Open: []int{0}, Results: []relay.Result{step.result}, Now: day0, Rand: 0.5}).Resolution.Delivery
		if c.Delivery.Route != step.want {
			t.Errorf("after attempt %d the route is %q, want %q", i+1, c.Delivery.Route, step.want)
		}
	}
}
