package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// holdAfter is how many panics one message may cause before it is put aside.
const holdAfter = 3

// claimRetry is when a claim is repeated that failed for a reason of the store.
const claimRetry = 5 * time.Second

// attempt claims one delivery, tries it and records the result. It returns when there is nothing more to do about it
// now. Nothing above it recovers: a panic outside of the attempt itself leaves the delivery to the end of its
// lease.
func (d *Dispatcher) attempt(ctx context.Context, st start) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			d.log.panicked(store.Delivery{ID: st.id, Attempt: st.attempt}, p, 0)
			o = outcome{attempt: st.attempt, legs: o.legs} // their places are given back all the same
		}
	}()
	now := d.opts.Now()
	c, err := d.queue.Claim(ctx, st.id, st.attempt, now, now.Add(d.opts.Lease))
	if err != nil {
		return d.unclaimed(ctx, st, err)
	}
	d.log.claimed(c.Delivery)
	began := time.Now()
	decision := d.decide(ctx, c, st)
	o.legs = decision.legs
	if decision.Hold {
		d.hold(ctx, c.Message.ID)
	}
	d.suppress(ctx, c, decision)
	final, err := d.resolve(ctx, decision.Resolution)
	if err != nil {
		d.log.unresolved(c.Delivery, err)
		return outcome{attempt: c.Delivery.Attempt, contact: decision.contact, legs: decision.legs}
	}
	d.report(c, decision, time.Since(began))
	return outcome{attempt: c.Delivery.Attempt, final: final, contact: decision.contact, legs: decision.legs}
}

// unclaimed drops what another ticket will bring back, and comes back to what the store could not do.
func (d *Dispatcher) unclaimed(ctx context.Context, st start, err error) outcome {
	o := outcome{attempt: st.attempt}
	switch {
	case errors.Is(err, store.ErrNotDue) && st.early && d.opts.Holder != nil:
		o.again = d.hasten(ctx, st.id)
	case errors.Is(err, store.ErrNotDue), errors.Is(err, store.ErrStale), errors.Is(err, store.ErrNotFound):
	case ctx.Err() != nil, errors.Is(err, store.ErrClosed):
	default:
		d.log.claimFailed(st.id, err)
		o.again = unixNano(d.opts.Now().Add(claimRetry))
	}
	return o
}

// hasten makes a delivery due that waits for a time which was near before the clock went back. The store sends a new ticket.
func (d *Dispatcher) hasten(ctx context.Context, id store.DeliveryID) (again int64) {
	if _, err := d.opts.Holder.Amend(ctx, store.Retry, "delivery, since the clock went back", d.opts.Now(), id.Message); err != nil {
		d.log.claimFailed(id, err)
		return unixNano(d.opts.Now().Add(claimRetry))
	}
	return 0
}

// decide makes the attempt. A panic costs this attempt only: the delivery is put off as after a temporary failure.
func (d *Dispatcher) decide(ctx context.Context, c store.Claimed, st start) (decision Decision) {
	var events []store.Event
	var s sending
	defer func() {
		if len(events) > 0 {
			decision.Resolution.Events = append(events, decision.Resolution.Events...)
		}
		if s.trip != nil {
			decision.legs = s.trip.legs // also after a panic: their places are given back
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			decision = d.afterPanic(c, p, s.known)
			s.trip.lost()
		}
	}()
	now := d.opts.Now()
	key := store.StreamKey{Server: c.Delivery.Server, Stream: c.Delivery.Stream}
	act, stream := actionOf(d.directory.Snapshot(), key)
	var err error
	cut := d.interrupted(c)
	events, err = d.withhold(ctx, &c, act)
	events = append(cut, events...)
	switch {
	case err != nil:
		return d.listUnread(c, err)
	case c.Delivery.Done():
		return withheld(c)
	case act == actOrphan:
		return d.opts.Policy.Orphan(c, now)
	case act == actCapture:
		return d.opts.Policy.Capture(c, now, "kept by the stream's mode; nothing was sent")
	case message.TestDomain(c.Delivery.Destination):
		decision = d.opts.Policy.Rehearse(c, now)
	case c.Delivery.Uncertain && stream.Uncertain == store.UncertainHold: // also when its time is over: nobody knows that it failed
		return d.awaitPerson(c)
	case d.opts.Policy.Expired(c.Delivery, now.Add(-d.clock.jumped())):
		decision = d.opts.Policy.Expire(c, now)
	case st.memo != "" && c.Delivery.Route == "":
		decision = d.putOff(c, st.memo)
	default:
		decision = d.send(ctx, c, st, stream, act, &s)
	}
	d.holdUncertain(&decision, stream)
	d.addNotices(ctx, c, stream, &decision)
	d.panicked.forget(c.Message.ID)
	return decision
}

// sending is what is known of an attempt also when it does not come back.
type sending struct {
	trip  *trip
	known []Result
}

// send gives the message to the transport and asks the policy what follows.
func (d *Dispatcher) send(ctx context.Context, c store.Claimed, st start, stream store.Stream, act action, s *sending) Decision {
	open := openRecipients(c.Delivery)
	n := len(open)
	if act == actRedirect {
		n = 1
	}
	t, route, allowed, refused := d.embark(c, st, stream, n)
	if s.trip = t; refused != nil {
		return d.unasked(c, *refused)
	}
	if act != actRedirect {
		open = open[:allowed] // the others stay due: the route's day has no more for them
	}
	job := t.job(c, stream, route, d.opener(c.Message.ID))
	for _, i := range open {
		r := c.Delivery.Recipients[i]
		job.Recipients = append(job.Recipients, d.forwarded(c, stream, i, r))
	}
	job.Known, job.Ending = &s.known, d.announcer(c.Delivery.ID, c.Delivery.Attempt).ending
	if act == actRedirect {
		// The copy is for the people who test: what becomes of it must not be reported to the sender's world.
		job.Recipients = []Rcpt{{Address: stream.RedirectTo, Notify: "NEVER"}}
		var copied []Result
		job.Known = &copied
		defer func() { s.known = spread(copied, len(open), stream.RedirectTo) }()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.opts.Attempt, errAttemptTooLong)
	defer cancel()
	results, sign := d.signed(ctx, &job, stream)
	ctx, talk := record(ctx, c.Delivery.Attempt, d.opts.Now())
	if results == nil {
		results = t.hurry(sign.note(d.transport.Send(ctx, job)))
	}
	t.end(ctx, results, talk.mailHosts())
	if act == actRedirect {
		results = spread(results, len(open), stream.RedirectTo)
	} else {
		ownPaths(job.Recipients, results)
	}
	for len(results) < len(open) {
		results = append(results, Result{Err: errNoResult})
	}
	s.known = results
	ended := Attempt{Claimed: c, Open: open, Results: results}
	if slices.ContainsFunc(results, func(r Result) bool { return r.Verdict() != Delivered }) {
		ended.Conversation = talk.conversation()
	}
	decision := d.next(ended)
	if act == actRedirect {
		decision.Suppress = nil // the addresses were never written to
	}
	return decision
}

var (
	errAttemptTooLong = errors.New("the attempt took too long")
	errNoResult       = errors.New("the transport gave no result")
)

const redirectedTo = "redirected to "

// Redirected tells whether an event of an attempt is about a copy that went to Stream.RedirectTo in the place of its recipients.
func Redirected(e store.Event) bool { return strings.HasPrefix(e.Detail, redirectedTo) }

// spread applies the one result of a redirected message to all its recipients.
func spread(results []Result, n int, to string) []Result {
	if len(results) == 0 {
		return nil
	}
	r := results[0]
	r.Detail = joinDetail(redirectedTo+to, r.Detail)
	r.Relayed = false
	out := make([]Result, n)
	for i := range out {
		out[i] = r
	}
	return out
}

func (d *Dispatcher) opener(id store.ID) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) { return d.queue.Body(ctx, id) }
}

// putOff ends an attempt at a dead site without asking it.
func (d *Dispatcher) putOff(c store.Claimed, memo string) Decision {
	return d.unasked(c, Result{Err: errSiteDead, Reply: store.Reply{
		Command: phaseConnect, Enhanced: [3]int{4, 4, 1}, Text: escape("not asked: the newest attempt at the same place ended with: " + memo),
	}})
}

// next asks the policy what follows from an attempt that has just ended.
func (d *Dispatcher) next(a Attempt) Decision {
	key := store.StreamKey{Server: a.Claimed.Delivery.Server, Stream: a.Claimed.Delivery.Stream}
	a.Holds = d.directory.Snapshot().Streams[key].Uncertain == store.UncertainHold
	a.Now, a.Rand, a.Jumped = d.opts.Now(), d.opts.Rand(), d.clock.jumped()
	return d.opts.Policy.Next(a)
}

// unasked ends an attempt that asked nobody, with the same result for all.
func (d *Dispatcher) unasked(c store.Claimed, r Result) Decision {
	open := openRecipients(c.Delivery)
	results := slices.Repeat([]Result{r}, len(open))
	decision := d.next(Attempt{Claimed: c, Open: open, Results: results, Conversation: c.Delivery.Conversation})
	decision.contact = contact{}
	return decision
}

var errSiteDead = errors.New("the destination gives no answer")

// afterPanic must not touch anything that may have caused the panic, such as the body or the addresses. Who has the message
// by then, or may have it, must not get it again; a refusal comes again with the next attempt.
func (d *Dispatcher) afterPanic(c store.Claimed, p any, known []Result) Decision {
	n := d.panicked.add(c.Message.ID)
	d.log.panicked(c.Delivery, p, n)
	open := openRecipients(c.Delivery)
	results := make([]Result, len(open))
	for i := range results {
		results[i] = Result{Err: fmt.Errorf("internal fault, time %d of %d", n, holdAfter)}
		if i >= len(known) {
			continue
		}
		if v := known[i].Verdict(); v == Delivered || v == Uncertain {
			results[i] = known[i]
		}
	}
	decision := d.next(Attempt{Claimed: c, Open: open, Results: results})
	waits := !decision.Resolution.Delivery.Done()
	decision.Failed, decision.Hold, decision.contact = nil, n >= holdAfter && waits, contact{}
	return decision
}

// hold asks for a person. It comes before the result is recorded, so that the delivery is never due in between.
func (d *Dispatcher) hold(ctx context.Context, id store.ID) {
	if d.opts.Holder == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opts.StopGrace)
	defer cancel()
	if _, err := d.opts.Holder.Amend(ctx, store.Hold, "delivery", d.opts.Now(), id); err != nil {
		d.log.holdFailed(id, err)
	}
}

// resolve records a result. The remote has acted on it already, so a store that fails is asked again until it takes the
// result, until it says that the result is void, or until this process has been stopping for StopGrace.
func (d *Dispatcher) resolve(ctx context.Context, r store.Resolution) (final bool, err error) {
	detached := context.WithoutCancel(ctx)
	var deadline time.Time
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err = d.queue.Resolve(detached, r)
		switch {
		case err == nil:
			return r.Delivery.Done(), nil
		case errors.Is(err, store.ErrStale), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrInvalid):
			return false, err
		case ctx.Err() == nil:
			d.log.resolveFailed(r.Delivery, err)
			sleep(ctx, wait)
			continue
		case deadline.IsZero():
			deadline, wait = time.Now().Add(d.opts.StopGrace), 10*time.Millisecond
		case time.Now().After(deadline):
			return false, err
		}
		sleep(detached, wait)
	}
}

// sleep waits for the time or for the end of ctx.
func sleep(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// panics counts panics by message, in this process only.
type panics struct {
	mu     sync.Mutex
	counts map[store.ID]int // guarded by mu
}

func (p *panics) add(id store.ID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[id]++
	return p.counts[id]
}

func (p *panics) forget(id store.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.counts, id)
}
