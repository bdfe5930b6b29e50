package relay

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

// leg is an attempt's use of one route: a place at its site, and what it took off the route's quota.
type leg struct {
	route   store.Route
	meter   *meter
	site    *site
	domain  string // whose site this is, "" where it does not depend on look-ups
	began   int64
	charged int

	tried   bool // the transport has said what became of it
	fared   fare
	contact contact
}

// fare is what became of the recipients on one route.
type fare struct {
	ok, idle bool   // it was of use to somebody; it was cut short and tells nothing
	why      string // the first failure, where nobody was served
	handed   int    // recipients that the next hop may have taken
}

// trip is one attempt on its way over one or several routes.
type trip struct {
	d           *Dispatcher
	key         store.StreamKey
	destination string
	legs        []leg
	until       int64  // when a route that could not be taken can be, 0: not known
	why         string // it could not
}

// embark decides by which route an attempt begins, and for how many of its recipients. A delivery that may have been
// accepted on one route stays with it: another could only deliver it twice. refused is set where that one takes nothing now.
func (d *Dispatcher) embark(c store.Claimed, st start, stream store.Stream, n int) (t *trip, route store.Route, allowed int, refused *Result) {
	t = &trip{d: d, key: st.stream.key, destination: c.Delivery.Destination, legs: []leg{st.leg}}
	if pinned, ok := routeNamed(stream, c.Delivery.Route); ok && !same(pinned, st.leg.route) {
		t.legs[0].tried, t.legs[0].fared.idle = true, true
		if allowed = t.board(pinned, n, false); allowed == 0 {
			return t, pinned, 0, t.refusal(pinned)
		}
		return t, pinned, allowed, nil
	}
	route, ok := stream.Route, same(stream.Route, st.leg.route)
	if !ok {
		route, ok = routeNamed(stream, st.leg.route.Key())
	}
	if !ok {
		return t, stream.Route, n, nil // the routes have changed since; the schedule hears of it at this moment
	}
	return t, route, t.charge(route, n), nil
}

func routeNamed(stream store.Stream, key string) (store.Route, bool) {
	if key == "" {
		return store.Route{}, false
	}
	routes := stream.Routes()
	i := slices.IndexFunc(routes, func(r store.Route) bool { return r.Key() == key })
	if i < 0 {
		return store.Route{}, false
	}
	return routes[i], true
}

func (t *trip) refusal(r store.Route) *Result {
	text := fmt.Sprintf("it stays with route %s, which may have delivered it or was chosen for it, and which takes nothing now: %s", r.Key(), t.why)
	out := Result{Err: errRouteShut, Reply: store.Reply{Command: phaseRoute, Enhanced: [3]int{4, 4, 4}, Text: escape(text)}}
	t.hasten(&out, t.d.opts.Now())
	return &out
}

// charge takes the recipients beyond the first, whom the schedule has counted, off the first route.
func (t *trip) charge(r store.Route, n int) (allowed int) {
	if n <= 1 || r.DailyQuota == 0 && r.Rate.IsZero() {
		return n
	}
	return 1 + t.more(r, n-1)
}

func (t *trip) more(r store.Route, n int) (allowed int) {
	g := &t.legs[0]
	t.d.ask(func(*schedule) { allowed = g.meter.charge(r, n) }) // 0 where nobody keeps the count any more
	g.charged += allowed
	return allowed
}

// board asks the schedule for a place on another route. It returns for how many of the recipients there is one; with whole set
// that is all or none.
func (t *trip) board(r store.Route, n int, whole bool) (allowed int) {
	t.d.ask(func(s *schedule) {
		now := unixNano(t.d.opts.Now())
		g, until, why := s.board(t.key, r, t.destination, n, whole, now)
		if allowed = g.charged; allowed > 0 {
			t.legs = append(t.legs, g)
			return
		}
		if t.why = why; until != 0 && (t.until == 0 || until < t.until) {
			t.until = until
		}
	})
	return allowed
}

// shortWait is when a place at a full site is asked for again.
const shortWait = 10 * time.Second

// board gives an attempt that is under way a place on a further route.
func (s *schedule) board(key store.StreamKey, r store.Route, destination string, n int, whole bool, now int64) (g leg, until int64, why string) {
	ways := s.waysOf(s.snapshot, key)
	i := slices.IndexFunc(ways, func(w way) bool { return same(w.route, r) && !w.rule.free })
	if i < 0 {
		return g, 0, "it is no route of the stream any more"
	}
	w := &ways[i]
	at, domain := s.site(w.rule, destination)
	defer s.dropSite(at)
	st := s.routeStatus(w, at, now)
	switch {
	case st.Why != "" && (whole || w.route.Draining.IsZero() || st.Why != whyDraining):
		return g, st.until, st.Why
	case s.sitePaused(at):
		return g, 0, "its destination is paused"
	case at.full():
		return g, now + int64(shortWait), fmt.Sprintf("it has all of its %d attempts under way", at.window)
	case whole && w.meter.left(w.route) < n && w.route.DailyQuota-w.meter.used < n:
		return g, s.day.ends, fmt.Sprintf("%d recipients of its day are left", w.route.DailyQuota-w.meter.used)
	case whole && w.meter.left(w.route) < n:
		w.meter.reserve(w.route)
		return g, now + int64(shortWait), "the count of its day is being written"
	case w.meter.left(w.route) == 0: // a drained route says first that it is drained
		until, why = w.meter.waits(w.route, &s.day, now)
		return g, until, why
	}
	if w.meter.until != 0 {
		w.meter.probing = true
	}
	at.flying++
	w.meter.flying++
	return leg{route: w.route, meter: w.meter, site: at, domain: domain, began: now, charged: w.meter.charge(w.route, n)}, 0, ""
}

// left takes in what became of recipients on a route.
func (t *trip) left(r store.Route, results []Result, idle bool) {
	for i := range t.legs {
		g := &t.legs[i]
		if g.tried || !same(g.route, r) {
			continue
		}
		g.tried, g.contact = true, contactOf(results)
		g.fared = fareOf(results, idle)
		return
	}
}

func fareOf(results []Result, idle bool) fare {
	f := fare{idle: true}
	for _, r := range results {
		switch v := r.Verdict(); {
		case v == Delivered || v == Uncertain:
			f.handed++
			f.ok = true
		case r.Reply.Host != "" && !r.elsewhere():
			f.ok = true
		case r.elsewhere():
			if f.idle = false; f.why == "" {
				f.why = r.Reply.Line()
			}
		}
	}
	f.idle = !f.ok && (f.idle || idle)
	return f
}

// end completes the legs from the results of a transport that did not tell of each route.
func (t *trip) end(ctx context.Context, results []Result, hosts []string) []leg {
	for i := range t.legs {
		g := &t.legs[i]
		if !g.tried && i == len(t.legs)-1 {
			g.contact, g.fared = contactOf(results), fareOf(results, ctx.Err() != nil)
			g.tried = true
		}
		if !g.route.Smarthost() {
			g.contact.hosts = hosts
		}
	}
	return t.legs
}

// hasten lets a recipient come back when a route that could not be taken can be, where that is before its retry.
func (t *trip) hasten(r *Result, now time.Time) {
	if t.until == 0 || t.until == math.MaxInt64 {
		return
	}
	r.Again = max(time.Duration(t.until-unixNano(now)), time.Second)
	r.AgainWhy = "another route: " + t.why
}

// hurry tells those whose route failed while another could not be taken.
func (t *trip) hurry(results []Result) []Result {
	for i := range results {
		if r := &results[i]; r.elsewhere() && t.until != 0 {
			t.hasten(r, t.d.opts.Now())
			r.Detail = joinDetail(r.Detail, "and by another route not at once: "+t.why)
		}
	}
	return results
}

// land gives back the place of a leg and learns from it.
func (s *schedule) land(g leg, now int64) {
	g.site.flying--
	s.learned(g, g.contact, now)
	if g.meter == nil {
		return
	}
	g.meter.flying--
	if unused := g.charged - g.fared.handed; unused < 0 || g.began >= s.day.begun { // what a day that is over gave is gone
		g.meter.used = max(0, g.meter.used-unused)
	}
	if g.tried && g.route.Smarthost() {
		s.fared(g.meter, g.fared, now)
	} else {
		g.meter.probing = false
	}
}

// routeNews is that a smarthost rests, until a time and with the last failure, or is of use again.
type routeNews struct {
	route, why string
	until      time.Time
}

// fared lets a route learn from an attempt, and has it told where a rest begins or ends.
func (s *schedule) fared(m *meter, f fare, now int64) {
	before := m.until
	m.fared(f.ok, f.idle, f.why, now)
	switch {
	case m.until > before:
		m.told = true
		s.news = append(s.news, routeNews{m.key, m.why, time.Unix(0, m.until).UTC()})
	case m.told && f.ok:
		m.told = false
		s.news = append(s.news, routeNews{route: m.key})
	}
}

// job is the message on its way by the first route, with the others behind it where it need not stay with that one.
func (t *trip) job(c store.Claimed, stream store.Stream, route store.Route, open func(context.Context) (io.ReadCloser, error)) Job {
	job := Job{Message: c.Message, Route: route, Sources: stream.Sources, Open: open, Left: t.left}
	if c.Delivery.Route == "" || c.Delivery.Route != route.Key() {
		job.Alternates = alternatesOf(stream, route)
		job.Board = func(r store.Route, recipients int) bool { return t.board(r, recipients, true) > 0 }
	}
	return job
}

// lost counts all of what was charged as handed over: nobody knows how far an attempt came that did not come back.
func (t *trip) lost() {
	if t == nil {
		return
	}
	for i := range t.legs {
		if g := &t.legs[i]; !g.tried {
			g.fared.handed = g.charged
		}
	}
}
