package relay

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mailchute/mailchute/store"
)

// way is one route of a stream as the schedule sees it.
type way struct {
	route  store.Route
	rule   siteRule
	meter  *meter
	credit int  // saved up share, for those with a weight
	fit    bool // not found to be shut in this choice
}

// waysOf lists the routes of a stream. What leaves nothing has one that is free.
func (s *schedule) waysOf(snap *store.Snapshot, key store.StreamKey) []way {
	act, stream := actionOf(snap, key)
	if act == actCapture || act == actOrphan {
		return []way{{rule: siteRule{free: true}, meter: &meter{}}}
	}
	var out []way
	for _, r := range stream.Routes() {
		w := way{route: r, meter: s.meter(r, key)}
		switch {
		case r.Smarthost():
			w.rule = siteRule{fixed: routeAddress(r), smarthost: true}
		case act == actRedirect:
			w.rule = siteRule{fixed: destinationOf(stream.RedirectTo)}
		}
		out = append(out, w)
	}
	return out
}

// meter finds the meter of a route. They are as many as routes were ever configured while the process ran.
func (s *schedule) meter(r store.Route, key store.StreamKey) *meter {
	name := r.Key()
	if !r.Smarthost() {
		name = fmt.Sprintf("mx of stream %d/%s", key.Server, key.Stream)
	}
	m := s.meters[name]
	if m == nil {
		m = &meter{key: name}
		s.meters[name] = m
	}
	return m
}

func sameWays(a, b []way) bool {
	return slices.EqualFunc(a, b, func(a, b way) bool { return a.rule == b.rule && a.meter == b.meter })
}

// choice is what the delivery at the head of a lane can do: go, or else wait.
type choice struct {
	way    *way // goes by it; nil: waits
	site   *site
	domain string
	memo   string // put off without asking, since the site is dead
	block  *site  // waits for a place, or for the end of a rest
	until  int64  // looks again then; 0: when the operator has done something
	shut   bool   // for all of the stream, whatever the destination
}

// choose finds the way for a lane: the first in order of preference that is neither shut nor its site unwilling. A site that
// has as many attempts as it may is waited for: the next in the list is for what a route cannot take, not for what it cannot
// take at once.
func (s *schedule) choose(l *lane, now int64) choice {
	q := l.stream
	if _, held := s.pauses[l.destination]; held && !isHostPort(l.destination) {
		return choice{}
	}
	order := q.preferred()
	c := chooser{s: s, l: l, now: now, out: choice{shut: true}}
	if c.pass(order, false) || c.rested && c.pass(order, true) {
		return c.out
	}
	if c.deadWay != nil && (c.out.until == 0 || c.deadUntil <= c.out.until) {
		return c.putOff()
	}
	if c.rests != nil && c.rests.rest <= c.out.until {
		c.out.block = c.rests
	}
	return c.out
}

// isHostPort tells a smarthost from a domain, address literals included.
func isHostPort(destination string) bool {
	return strings.Contains(destination, ":") && (!strings.HasSuffix(destination, "]"))
}

// preferred orders the ways: those with a weight by what they have saved up, the others behind them as listed.
func (q *streamQueue) preferred() []*way {
	if cap(q.order) < len(q.ways) {
		q.order = make([]*way, 0, len(q.ways))
	}
	out := q.order[:0]
	for i := range q.ways {
		q.ways[i].fit = true
		out = append(out, &q.ways[i])
	}
	if len(out) > 1 {
		slices.SortStableFunc(out, func(a, b *way) int { return b.claim() - a.claim() })
	}
	return out
}

// shares tells whether the stream's routes take turns.
func (q *streamQueue) shares() bool {
	n := 0
	for i := range q.ways {
		if q.ways[i].route.Weight > 0 {
			n++
		}
	}
	return n > 1
}

// claim is how much it is a way's turn.
func (w *way) claim() int {
	if w.route.Weight == 0 {
		return math.MinInt32
	}
	return w.credit + w.route.Weight
}

// chosen lets a way pay for its turn with what all that were fit get for theirs, so that each comes as often as its weight
// says and as evenly spread as can be.
func (q *streamQueue) chosen(w *way) {
	if w.route.Weight == 0 {
		return
	}
	total := 0
	for i := range q.ways {
		if v := &q.ways[i]; v.fit && v.route.Weight > 0 {
			v.credit += v.route.Weight
			total += v.route.Weight
		}
	}
	w.credit -= total
}

// chooser walks the ways for one lane.
type chooser struct {
	s         *schedule
	l         *lane
	now       int64
	out       choice
	rested    bool // a way was left out because it failed lately
	rests     *site
	deadWay   *way
	deadSite  *site
	deadUntil int64
}

// pass returns whether it has found what to do.
func (c *chooser) pass(order []*way, all bool) bool {
	for _, w := range order {
		w.fit = false
		if _, paused := c.s.wayPaused(w); paused {
			continue
		}
		if until, _ := w.meter.waits(w.route, &c.s.day, c.now); until == math.MaxInt64 {
			c.out = choice{shut: true} // for the moment that the writing takes
			return true
		} else if until > c.now {
			c.wait(until)
			continue
		}
		if !all && len(order) > 1 && w.meter.resting(c.now) {
			c.rested = true
			c.wait(max(w.meter.until, c.now+1))
			continue
		}
		c.out.shut = false
		if w.fit = c.visit(w); w.fit {
			return true
		}
	}
	return false
}

func (c *chooser) wait(until int64) {
	if c.out.until == 0 || until < c.out.until {
		c.out.until = until
	}
}

// visit looks at the site that a way leads to.
func (c *chooser) visit(w *way) bool {
	at, domain := c.s.site(w.rule, c.l.destination)
	switch {
	case c.s.sitePaused(at):
		c.s.dropSite(at)
		return false
	case at.rest > c.now:
		if c.wait(at.rest); c.rests == nil || at.rest < c.rests.rest {
			c.rests = at
		}
		return false
	case at.dead > c.now:
		if c.deadWay == nil || at.dead < c.deadUntil {
			c.deadWay, c.deadSite, c.deadUntil = w, at, at.dead
		}
		return false
	case at.full():
		c.out.block = at
		return true
	}
	c.out.way, c.out.site, c.out.domain = w, at, domain
	return true
}

// putOff lets the delivery end at once with what the dead site said last.
func (c *chooser) putOff() choice {
	at := c.deadSite
	if at.closed(c.now) {
		return choice{block: at}
	}
	_, domain := c.s.site(c.deadWay.rule, c.l.destination)
	return choice{way: c.deadWay, site: at, domain: domain, memo: at.memo}
}

// wayPaused finds the pause of a route: in the stream itself, or of its host for all streams.
func (s *schedule) wayPaused(w *way) (store.Pause, bool) {
	if !w.route.Paused.IsZero() {
		return store.Pause{Destination: w.route.Key(), Since: w.route.Paused, Why: w.route.PausedWhy}, true
	}
	if !w.route.Draining.IsZero() {
		return store.Pause{Destination: w.route.Key(), Since: w.route.Draining, Drain: true}, true
	}
	if len(s.pauses) == 0 || w.rule.free || w.rule.fixed == "" {
		return store.Pause{}, false
	}
	p, ok := s.pauses[w.rule.fixed]
	if !ok {
		p, ok = s.pauses[strings.ToLower(w.route.Key())]
	}
	return p, ok
}

// shutStream takes a stream out of its turns until a time, or until the operator has done something.
func (s *schedule) shutStream(q *streamQueue, until int64) {
	q.shut = true
	if q.until = until; until != 0 {
		s.shutUntil.push(q)
	}
}

// openStreams lets the streams go on whose time has come, and returns when the next one's comes.
func (s *schedule) openStreams(now int64) (next int64) {
	for s.shutUntil.len() > 0 {
		q := s.shutUntil.items[0]
		if q.until > now {
			return q.until
		}
		s.shutUntil.pop()
		s.openStream(q)
	}
	return 0
}

func (s *schedule) openStream(q *streamQueue) {
	q.shut, q.until = false, 0
	s.activate(q)
	s.dropStream(q)
}

// openAll lets everything be looked at again that waits for a route.
func (s *schedule) openAll() {
	s.shutUntil.items = nil
	for _, q := range s.streams {
		for _, l := range q.lanes {
			if l.notBefore != 0 {
				s.unwait(l)
				l.notBefore = 0
				s.ready(l)
			}
		}
		if q.shut {
			s.openStream(q)
		}
	}
}

// shutStreams is a heap of streams by the time at which they open.
type shutStreams struct{ items []*streamQueue }

func (h *shutStreams) len() int { return len(h.items) }

func (h *shutStreams) push(q *streamQueue) {
	h.items = append(h.items, q)
	for i := len(h.items) - 1; i > 0; {
		up := (i - 1) / 2
		if h.items[up].until <= h.items[i].until {
			return
		}
		h.items[up], h.items[i] = h.items[i], h.items[up]
		i = up
	}
}

func (h *shutStreams) pop() {
	last := len(h.items) - 1
	h.items[0], h.items[last] = h.items[last], nil
	h.items = h.items[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h.items[child].until < h.items[least].until {
				least = child
			}
		}
		if least == i {
			return
		}
		h.items[i], h.items[least] = h.items[least], h.items[i]
		i = least
	}
}
