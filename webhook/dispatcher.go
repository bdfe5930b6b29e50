package webhook

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mailchute/mailchute/store"
)

// dispatcher decides which notification is sent when. One goroutine owns it;
// tries run in goroutines of their own, and everybody else speaks to it by
// channels.
//
// An endpoint has at most PerEndpoint tries under way, and only one until a try
// has succeeded, and while the newest has failed or was slow. Those that fail
// have together at most half of all places, so that any number of dead endpoints
// leaves the other half to those that work. All together have so many tries in a
// second, and one that fails 20 of them.
type dispatcher struct {
	sender  *Sender
	settled *settler
	hints   chan []int64
	done    chan ended

	endpoints map[int64]*endpoint
	order     []*endpoint // those with something waiting; whose turn it is next comes first
	running   int
	failing   int           // of running, at endpoints that fail
	newest    time.Time     // that the clock has shown
	rate      *rate.Limiter // keeps a backlog from taking the machine from mail
	workers   sync.WaitGroup
}

// endpoint is a webhook that has or had something waiting.
type endpoint struct {
	id      int64
	ready   []store.Notification // claimed and not begun
	lease   time.Time            // of ready
	running int
	check   time.Time // when to claim again; zero: after a hint
	good    bool      // a try has succeeded
	bad     bool      // the newest did not, or took long
	resting time.Time // no try begins before
	active  bool      // in order
}

// ended is the end of a try.
type ended struct {
	endpoint *endpoint
	bad      bool // the endpoint was when the try began
	result   store.NotificationResult
	took     time.Duration
	ok       bool // there is a result
}

const (
	claimAtOnce  = 32
	leaseFor     = 10 * time.Minute
	slow         = 5 * time.Second
	claimRetry   = time.Second
	backPressure = 100 * time.Millisecond
	rateWait     = 20 * time.Millisecond
	clockBack    = time.Minute           // more than that, and the clock was ahead before
	maxSleep     = time.Minute           // so long at most a jump of the clock goes unnoticed
	rest         = 50 * time.Millisecond // of an endpoint that failed: a backlog of one that is down costs little
)

func newDispatcher(s *Sender, settled *settler) *dispatcher {
	return &dispatcher{
		sender: s, settled: settled, hints: make(chan []int64), done: make(chan ended),
		endpoints: map[int64]*endpoint{}, rate: rate.NewLimiter(rate.Limit(s.opts.Rate), max(s.opts.Rate/10, 1)),
	}
}

// run dispatches until ctx ends and every try has.
func (d *dispatcher) run(ctx context.Context) {
	trying, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	for ctx.Err() == nil {
		next := d.fill(ctx, trying)
		d.wait(ctx, next)
	}
	grace := time.AfterFunc(d.sender.opts.Grace, cut)
	defer grace.Stop()
	for d.running > 0 {
		d.finish(<-d.done)
	}
	d.workers.Wait()
}

// wait handles one thing that happens, or returns at the time given.
func (d *dispatcher) wait(ctx context.Context, until time.Time) {
	var alarm <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(min(until.Sub(d.sender.opts.Now()), maxSleep))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-ctx.Done():
	case <-alarm:
	case e := <-d.done:
		d.finish(e)
	case webhooks := <-d.hints:
		for _, id := range webhooks {
			d.hint(id)
		}
	}
}

func (d *dispatcher) hint(id int64) {
	e := d.endpoints[id]
	if e == nil {
		e = &endpoint{id: id}
		d.endpoints[id] = e
	}
	if !e.active {
		e.active = true
		d.order = append(d.order, e)
	}
	e.check = d.sender.opts.Now()
}

func (d *dispatcher) finish(f ended) {
	e := f.endpoint
	e.running--
	d.running--
	if f.bad {
		d.failing--
	}
	if f.ok {
		done := f.result.Outcome == store.NotificationDone
		e.good, e.bad = e.good || done, !done || f.took > slow
		if !done {
			e.resting = d.sender.opts.Now().Add(rest)
		}
		d.settled.add(f.result)
	}
}

// fill begins what can be begun and returns when to look again, zero for never.
func (d *dispatcher) fill(ctx, trying context.Context) (next time.Time) {
	now := d.clock()
	if d.settled.full() {
		return now.Add(backPressure)
	}
	for progress := true; progress && d.running < d.sender.opts.Total; {
		progress = false
		for _, e := range d.order {
			if d.rate.TokensAt(now) < 1 {
				return now.Add(rateWait)
			}
			if d.claim(ctx, e, now) && d.begin(trying, e) {
				d.rate.AllowN(now, 1)
				progress = true
			}
		}
		d.rotate()
	}
	d.retire()
	for _, e := range d.order {
		at := e.wake()
		if !at.IsZero() && (next.IsZero() || at.Before(next)) && d.places(e) > 0 {
			next = at
		}
	}
	return next
}

// clock returns the time. Where it went back, every endpoint is asked for again, since what it waits for was near under
// the clock before.
func (d *dispatcher) clock() time.Time {
	now := d.sender.opts.Now()
	if now.Round(0).Before(d.newest.Add(-clockBack)) {
		for _, e := range d.endpoints {
			e.resting = time.Time{}
			if !e.check.IsZero() {
				e.check = now
			}
		}
	}
	d.newest = now.Round(0)
	return now
}

// wake is when the endpoint could have a try again, zero for after a hint.
func (e *endpoint) wake() time.Time {
	at := e.check
	if len(e.ready) > 0 {
		at = e.resting
	}
	if !at.IsZero() && at.Before(e.resting) {
		at = e.resting
	}
	return at
}

// rotate gives the first turn to the next one.
func (d *dispatcher) rotate() {
	if len(d.order) > 1 {
		d.order = append(d.order[1:], d.order[0])
	}
}

// retire takes endpoints out of the order for which nothing is known to wait. How
// they behaved is remembered as long as their webhook is there.
func (d *dispatcher) retire() {
	kept := d.order[:0]
	for _, e := range d.order {
		if e.running == 0 && len(e.ready) == 0 && e.check.IsZero() {
			e.active = false
			if _, there := d.sender.store.Snapshot().Webhooks[e.id]; !there {
				delete(d.endpoints, e.id)
			}
			continue
		}
		kept = append(kept, e)
	}
	clear(d.order[len(kept):])
	d.order = kept
}

// places is how many more tries the endpoint may have now.
func (d *dispatcher) places(e *endpoint) int {
	o := &d.sender.opts
	free := o.Total - d.running
	switch {
	case e.bad:
		return min(free, 1-e.running, max(o.Total/2, 1)-d.failing)
	case !e.good:
		return min(free, 1-e.running)
	}
	return min(free, o.PerEndpoint-e.running)
}

// claim makes sure that something is ready, and tells whether there is and may
// begin.
func (d *dispatcher) claim(ctx context.Context, e *endpoint, now time.Time) bool {
	if d.places(e) <= 0 || e.resting.After(now) {
		return false
	}
	if len(e.ready) > 0 && now.Add(d.sender.opts.Timeout).After(e.lease) {
		e.ready, e.check = nil, e.lease // when they can be claimed again
	}
	if len(e.ready) > 0 {
		return true
	}
	if e.check.IsZero() || e.check.After(now) {
		return false
	}
	limit, lease := claimAtOnce, now.Add(leaseFor+d.sender.opts.Timeout)
	if e.bad {
		limit = 1
	}
	got, next, err := d.sender.store.ClaimNotifications(ctx, e.id, now, lease, limit)
	if err != nil {
		if ctx.Err() == nil {
			d.sender.opts.Log.Error("events for a webhook not read", "webhook", e.id, "err", err)
		}
		e.check = now.Add(claimRetry)
		return false
	}
	e.ready, e.lease, e.check = got, lease, next
	return len(got) > 0
}

// begin starts one try.
func (d *dispatcher) begin(trying context.Context, e *endpoint) bool {
	if d.places(e) <= 0 {
		return false
	}
	n := e.ready[0]
	e.ready = e.ready[1:]
	e.running++
	d.running++
	f := ended{endpoint: e, bad: e.bad}
	if f.bad {
		d.failing++
	}
	d.workers.Go(func() {
		start := d.sender.opts.Now()
		f.result, f.ok = d.sender.try(trying, &n)
		f.took = d.sender.opts.Now().Sub(start)
		d.done <- f
	})
	return true
}
