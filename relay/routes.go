package relay

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Health of a route: how many failures in a row put it to rest, and for how long.
const (
	restAfter = 3
	firstRest = time.Minute
	longRest  = 30 * time.Minute
)

// routeBook knows how the smarthosts of this process do. Direct delivery has no health: its hosts are those of the
// recipients' domains.
type routeBook struct {
	mu     sync.Mutex // guards health
	health map[string]*routeHealth
}

type routeHealth struct {
	failures int       // in a row
	until    time.Time // at rest before it
	rest     time.Duration
	probing  bool // one attempt finds out whether the rest can end
}

// routeKey names a route for people and for store.Delivery.Route. It holds no secret.
func routeKey(r store.Route) string {
	if !r.Smarthost() {
		return "mx"
	}
	key := routeAddress(r)
	if r.Username != "" {
		key = r.Username + "@" + key
	}
	return key
}

// order returns the routes to try for a job, best first: those with a weight in turns, the others after them as listed. One
// at rest is left out while another is not; one whose rest is over takes a single attempt first. A message that may have
// been accepted on one route stays with it: another could only deliver it twice.
func (b *routeBook) order(job Job, rand func() float64, now time.Time) []store.Route {
	routes := append([]store.Route{job.Route}, job.Alternates...)
	if i := slices.IndexFunc(routes, func(r store.Route) bool { return routeKey(r) == job.Pinned }); i >= 0 {
		return routes[i : i+1]
	}
	if len(routes) == 1 {
		return routes
	}
	routes = shuffle(routes, rand)
	b.mu.Lock()
	defer b.mu.Unlock()
	fit := slices.DeleteFunc(slices.Clone(routes), func(r store.Route) bool { return b.resting(r, now) })
	if len(fit) == 0 {
		return routes
	}
	// Only the first is sure to be used, so only it can be the probe.
	if h := b.health[routeKey(fit[0])]; h != nil && !h.until.IsZero() {
		h.probing = true
	}
	return fit
}

// shuffle draws the routes with a weight by it, and leaves the others as listed behind them.
func shuffle(routes []store.Route, rand func() float64) []store.Route {
	var weighted, out []store.Route
	total := 0
	for _, r := range routes {
		if r.Weight > 0 {
			weighted = append(weighted, r)
			total += r.Weight
		}
	}
	for len(weighted) > 0 {
		at, i := int(rand()*float64(total)), 0
		for at >= weighted[i].Weight && i < len(weighted)-1 {
			at -= weighted[i].Weight
			i++
		}
		out = append(out, weighted[i])
		total -= weighted[i].Weight
		weighted = slices.Delete(weighted, i, i+1)
	}
	for _, r := range routes {
		if r.Weight == 0 {
			out = append(out, r)
		}
	}
	return out
}

// resting tells whether a route must not be tried. b.mu is held.
func (b *routeBook) resting(r store.Route, now time.Time) bool {
	h := b.health[routeKey(r)]
	return h != nil && !h.until.IsZero() && (now.Before(h.until) || h.probing)
}

// used learns from an attempt on a route; idle says that it was cut short and tells nothing.
func (b *routeBook) used(r store.Route, ok, idle bool, now time.Time) {
	if !r.Smarthost() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := routeKey(r)
	h := b.health[key]
	switch {
	case h == nil && (ok || idle):
		return
	case ok:
		delete(b.health, key)
		return
	case idle:
		h.probing = false
		return
	case h == nil:
		h = &routeHealth{}
		b.health[key] = h
	}
	h.failures++
	if h.failures < restAfter || now.Before(h.until) {
		return // below the limit, or an attempt that began before the rest
	}
	h.rest = min(max(2*h.rest, firstRest), longRest)
	h.until, h.probing = now.Add(h.rest), false
}

// elsewhere tells whether another route may be tried for a recipient at once: nothing was handed over, and what failed was
// the route and not the message.
func (r Result) elsewhere() bool {
	if r.Reply.Host == "" && (r.Reply.Enhanced == [3]int{5, 7, 10} || r.Reply.Enhanced == [3]int{5, 7, 30}) {
		return true // another route may meet what the message demands
	}
	if r.Verdict() != Temporary {
		return false
	}
	if local := [3]int{4, detailLocal[0], detailLocal[1]}; r.Reply.Enhanced == local && r.Reply.Command != phaseAuth && r.Reply.Host == "" {
		return false // no route is better off
	}
	switch r.Reply.Command {
	case phaseDNS, phaseConnect, phaseHello, phaseTLS, phaseAuth:
		return true
	}
	return r.Err != nil
}

// retract takes back the results that another route may better, and tells of one of them.
func retract(results map[int]Result) (sample Result, any bool) {
	for i, r := range results {
		if r.elsewhere() {
			delete(results, i)
			sample, any = r, true
		}
	}
	return sample, any
}

// stamp marks the results that a route has just given.
// ok says that the route was of use to somebody, bad that it was not to somebody else.
func stamp(results, earlier map[int]Result, key, before string) (ok, bad bool) {
	for i, r := range results {
		if _, old := earlier[i]; old {
			continue
		}
		r.Route = key
		r.Detail = joinDetail(r.Detail, before)
		results[i] = r
		ok = ok || r.Reply.Host != "" && !r.elsewhere()
		bad = bad || r.elsewhere()
	}
	return ok, bad
}

// words for people about the route that was left.
func leftRoute(key string, r Result) string {
	return strings.TrimSpace("before that by " + key + ": " + r.Reply.Text)
}
