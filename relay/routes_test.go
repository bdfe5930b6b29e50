package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

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
		before string // what the timeline says of the first
	}{
		{"works", testmx.Script{}, "delivered 250 dot", 0, ""},
		{"banner 421", at(testmx.Connect, reply("421 busy")), "delivered 250 dot", 1, "421 busy"},
		{"banner 554", at(testmx.Connect, reply("554 5.7.1 not you")), "delivered 250 dot", 1, "554 5.7.1 not you"},
		{"EHLO 550", at(testmx.Hello, reply("550 not you")), "delivered 250 dot", 1, "550 not you"},
		{"MAIL drops", at(testmx.Mail, drop), "delivered 250 dot", 1, "127.0.0.1: mail: connection closed by the host"},
		{"DATA drops", at(testmx.Data, drop), "delivered 250 dot", 1, "127.0.0.1: "},
		{"RCPT 450 is an answer", at(testmx.Rcpt, reply("450 greylisted")), "temporary 450 rcpt", 0, ""},
		{"RCPT 550 is an answer", at(testmx.Rcpt, reply("550 unknown")), "permanent 550 rcpt", 0, ""},
		{"dot 451 is an answer", at(testmx.Dot, reply("451 later")), "temporary 451 dot", 0, ""},
		{"lost answer to the dot", at(testmx.Dot, testmx.Step{Drop: true, Take: true}), "uncertain 0 dot", 0, ""},
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
			if want := fmt.Sprintf("before that by 127.0.0.1:%d: %s", routes[0].Port, c.before); c.second == 1 && !strings.Contains(got.Detail, want) {
				t.Errorf("Detail = %q does not tell of the first route: %q", got.Detail, want)
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
