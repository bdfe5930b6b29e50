package storetest

import (
	"time"

	"github.com/mailchute/mailchute/store"
)

var queueTests = []test{
	{"ClaimRaisesTheAttempt", queueClaim},
	{"ClaimRefusesWhatIsNotDue", queueNotDue},
	{"LeaseExpires", queueLeaseExpires},
	{"FenceKeepsTheLaterClaim", queueFence},
	{"ResolveReplacesTheDelivery", queueResolve},
	{"ResolveTwiceIsStale", queueResolveTwice},
	{"LeaseEndsWithTheOnlyProcess", queueReopenLease},
	{"Ending", queueEnding},
	{"EndingFence", queueEndingFence},
	{"ResolveHolds", queueResolveHolds},
	{"ReleaseDecides", queueReleaseDecides},
	{"ReleaseLate", queueReleaseLate},
	{"HoldDuringAnAttemptSurvives", queueHoldDuring},
	{"PartsAreIndependent", queueParts},
	{"NoticesEnterWithTheResult", queueNotices},
	{"NoticeThatExistsChangesNothing", queueNoticeExists},
	{"LargeNoticeAndManyEvents", queueEventLimit},
}

func queueClaim(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	want := e.record(m.ID)
	if c.Delivery.Attempt != 1 || !c.Delivery.Lease.Equal(at(time.Minute)) {
		e.Errorf("claimed attempt %d, lease %s", c.Delivery.Attempt, c.Delivery.Lease)
	}
	e.wantSame("claimed delivery", want.Deliveries[0], c.Delivery)
	e.wantSame("claimed message", m, c.Message)
	c.Delivery.Recipients[0].State = store.Bounced // a caller's own copy
	if got := e.record(m.ID).Deliveries[0].Recipients[0].State; got != store.Queued {
		e.Errorf("state = %s after a caller changed its copy", got)
	}
	e.wantBody(m.ID, bodyOf(m.ID))
}

func queueNotDue(e *env) {
	m, ds := mail(start, "one.example")
	ds[0].Due = at(time.Hour)
	e.put(m, ds, nil)
	id := part(m, 0)
	try := func(what string, id store.DeliveryID, attempt int, now time.Time, want error) {
		e.Helper()
		_, err := e.Claim(e.ctx(), id, attempt, now, now.Add(time.Minute))
		e.wantErr("Claim "+what, err, want)
	}
	try("before it is due", id, 0, at(time.Hour-1), store.ErrNotDue)
	try("with an attempt that was not made", id, 1, at(time.Hour), store.ErrStale)
	try("of a part that is not there", part(m, 1), 0, at(time.Hour), store.ErrNotFound)
	try("of a negative part", part(m, -1), 0, at(time.Hour), store.ErrNotFound)
	c := e.claim(id, 0, at(time.Hour))
	try("during a lease", id, 1, at(time.Hour), store.ErrNotDue)
	try("with the number of before", id, 0, at(time.Hour), store.ErrStale)
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, at(time.Hour), at(time.Hour))))
	_, err := e.Amend(e.ctx(), store.Hold, "me", at(time.Hour), m.ID)
	e.must(err)
	try("while held", id, 1, at(time.Hour), store.ErrNotDue)
	_, err = e.Amend(e.ctx(), store.Release, "me", at(time.Hour), m.ID)
	e.must(err)
	e.finish(id, 1, at(time.Hour))
	try("when finished", id, 2, at(time.Hour), store.ErrNotDue)
}

func queueLeaseExpires(e *env) {
	m := e.accept(start, "one.example")
	e.claim(part(m, 0), 0, start)
	_, err := e.Claim(e.ctx(), part(m, 0), 1, at(time.Minute-1), at(time.Hour))
	e.wantErr("Claim before the lease ends", err, store.ErrNotDue)
	if c := e.claim(part(m, 0), 1, at(time.Minute)); c.Delivery.Attempt != 2 {
		e.Errorf("attempt = %d, want 2", c.Delivery.Attempt)
	}
}

func queueFence(e *env) {
	m := e.accept(start, "one.example")
	slow := e.claim(part(m, 0), 0, start)
	next := e.claim(part(m, 0), 1, at(time.Hour))
	e.wantErr("Resolve of the claim before", e.Resolve(e.ctx(), sent(slow.Delivery, at(time.Hour))), store.ErrStale)
	if got := e.record(m.ID); got.Deliveries[0].Recipients[0].State != store.Queued || len(got.Events) != 1 {
		e.Errorf("a stale result left its mark: %+v", got)
	}
	ahead := next.Delivery
	ahead.Attempt++
	e.wantErr("Resolve of a claim never made", e.Resolve(e.ctx(), sent(ahead, at(time.Hour))), store.ErrStale)
	next = store.Claimed{Message: next.Message, Delivery: e.record(m.ID).Deliveries[0]}
	e.must(e.Resolve(e.ctx(), sent(next.Delivery, at(time.Hour))))
}

func queueResolve(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	d := c.Delivery
	d.Destination, d.Due, d.Expires, d.Delayed, d.Uncertain = "relay.example:25", at(time.Hour), at(2*time.Hour), at(3*time.Second), true
	d.Route = "relay.example:25"
	d.DueWhy = "the schedule"
	d.Conversation = store.Conversation{Attempt: 1, Began: at(0), Missing: 3, Lines: []store.Line{{After: 12, Speaks: store.Remote, Text: "220 später"}, {Speaks: store.Client}}}
	d.Server, d.Stream = 99, "other" // not the caller's to change
	d.Recipients[0].Last = store.Reply{Code: 451, Enhanced: [3]int{4, 7, 1}, Text: "später", Command: "rcpt", Host: "mx.one.example", At: at(2)}
	event := store.Event{At: at(2), Kind: store.EventDeferred, Attempt: 1, Recipient: d.Recipients[0].Address, Reply: d.Recipients[0].Last, Detail: "TLS 1.3",
		TLS: store.TLS{Security: store.SecuritySTS, Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Subject: "CN=mx.example"}}
	e.must(e.Resolve(e.ctx(), store.Resolution{Delivery: d, Events: []store.Event{event}}))
	d.Lease, d.Server, d.Stream = time.Time{}, 7, "outbound"
	check := func(when string) {
		r := e.record(m.ID)
		e.wantSame("delivery "+when, []store.Delivery{d}, r.Deliveries)
		if len(r.Events) != 2 {
			e.Fatalf("%d events %s, want 2", len(r.Events), when)
		}
		e.wantSame("event "+when, event, r.Events[1])
	}
	check("at once")
	e.reopen()
	check("after reopening")
	if c := e.claim(part(m, 0), 1, at(time.Hour)); c.Delivery.Attempt != 2 {
		e.Errorf("attempt = %d, want 2", c.Delivery.Attempt)
	}
}

func queueResolveTwice(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, start, at(time.Hour))))
	e.wantErr("the second Resolve", e.Resolve(e.ctx(), sent(c.Delivery, start)), store.ErrStale)
	if n := len(e.record(m.ID).Events); n != 2 {
		e.Errorf("%d events, want 2", n)
	}
}

func queueReopenLease(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	e.reopen()
	if d := e.record(m.ID).Deliveries[0]; d.Attempt != 1 || !d.Lease.IsZero() {
		e.Errorf("attempt %d, lease %s after reopening, want 1 and none", d.Attempt, d.Lease)
	}
	e.wantErr("Resolve of a claim of the process before", e.Resolve(e.ctx(), sent(c.Delivery, start)), store.ErrStale)
	e.finish(part(m, 0), 1, at(1))
}

// queueEnding: what a crash leaves between the end of the content and its result.
func queueEnding(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	if c.Delivery.Ending != "" || c.Delivery.Uncertain {
		e.Errorf("a first claim has ended its content: %+v", c.Delivery)
	}
	e.must(e.Ending(e.ctx(), part(m, 0), 1, "relay.example:25"))
	if d := e.record(m.ID).Deliveries[0]; d.Ending != "relay.example:25" || d.Uncertain || d.Lease.IsZero() {
		e.Errorf("while it is under way: %+v", d)
	}
	wantUncertain(e.image(), m, "in the image")
	e.reopen()
	for _, when := range []string{"after reopening", "after reopening again"} {
		wantUncertain(e, m, when)
		e.reopen()
	}
	c = e.claim(part(m, 0), 1, at(1))
	if c.Delivery.Ending != "relay.example:25" || !c.Delivery.Uncertain || c.Delivery.Route != "relay.example:25" {
		e.Errorf("the next claim does not tell of it: %+v", c.Delivery)
	}
	if d := e.record(m.ID).Deliveries[0]; d.Ending != "" {
		e.Errorf("the next attempt has ended its content by %q already", d.Ending)
	}
	e.must(e.Resolve(e.ctx(), sent(c.Delivery, at(2))))
	if d := e.record(m.ID).Deliveries[0]; d.Ending != "" {
		e.Errorf("resolved, it still ends by %q", d.Ending)
	}
}

// wantUncertain asks for the one message whose content may have arrived.
func wantUncertain(e *env, m store.Message, when string) {
	e.Helper()
	if d := e.record(m.ID).Deliveries[0]; !d.Uncertain || d.Route != "relay.example:25" || !d.Lease.IsZero() {
		e.Errorf("%s: uncertain %v, route %q, lease %v", when, d.Uncertain, d.Route, d.Lease)
	}
	found, _, err := e.List(e.ctx(), store.Filter{Uncertain: true}, "", 10)
	if e.must(err); len(found) != 1 {
		e.Errorf("%s %d are listed as uncertain, want 1", when, len(found))
	}
}

func queueEndingFence(e *env) {
	m := e.accept(start, "one.example", "two.example")
	e.wantErr("Ending before a claim", e.Ending(e.ctx(), part(m, 0), 0, "mx"), store.ErrStale)
	c := e.claim(part(m, 0), 0, start)
	e.wantErr("Ending of another attempt", e.Ending(e.ctx(), part(m, 0), 2, "mx"), store.ErrStale)
	e.wantErr("Ending of another delivery", e.Ending(e.ctx(), part(m, 1), 1, "mx"), store.ErrStale)
	e.wantErr("Ending without a route", e.Ending(e.ctx(), part(m, 0), 1, ""), store.ErrInvalid)
	e.wantErr("Ending of nothing", e.Ending(e.ctx(), part(m, 9), 1, "mx"), store.ErrNotFound)
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, start, at(time.Hour))))
	e.wantErr("Ending after the result", e.Ending(e.ctx(), part(m, 0), 1, "mx"), store.ErrStale)
	if d := e.record(m.ID).Deliveries[0]; d.Ending != "" || d.Uncertain {
		e.Errorf("refused records left their mark: %+v", d)
	}
}

func queueResolveHolds(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	r := deferred(c.Delivery, start, at(1))
	r.Delivery.Uncertain, r.Held = true, at(3)
	e.must(e.Resolve(e.ctx(), r))
	_, err := e.Claim(e.ctx(), part(m, 0), 1, at(time.Hour), at(2*time.Hour))
	e.wantErr("Claim of what its result holds", err, store.ErrNotDue)
	_, err = e.Amend(e.ctx(), store.Release, "me", at(4), m.ID)
	e.must(err)
	if d := e.record(m.ID).Deliveries[0]; !d.Held.IsZero() || d.HeldUncertain || d.Uncertain {
		e.Errorf("released, it is held since %v, uncertain %v", d.Held, d.Uncertain)
	}
	c = e.claim(part(m, 0), 1, at(time.Hour))
	r = sent(c.Delivery, at(time.Hour))
	r.Held = at(5)
	e.must(e.Resolve(e.ctx(), r))
	if d := e.record(m.ID).Deliveries[0]; !d.Held.IsZero() {
		e.Error("a finished delivery is held")
	}
}

// queueReleaseDecides: a release takes the mark off what is held for it, and off what is not held, and from nothing else.
func queueReleaseDecides(e *env) {
	m := e.accept(start, "one.example")
	e.claim(part(m, 0), 0, start)
	e.must(e.Ending(e.ctx(), part(m, 0), 1, "mx"))
	e.reopen() // a crash has left it uncertain
	want := func(when string, held, forThat, uncertain bool) {
		e.Helper()
		for range 2 {
			if d := e.record(m.ID).Deliveries[0]; d.Held.IsZero() == held || d.HeldUncertain != forThat || d.Uncertain != uncertain {
				e.Errorf("%s: held since %v, for that %v, uncertain %v", when, d.Held, d.HeldUncertain, d.Uncertain)
			}
			e.reopen()
		}
	}
	e.amend(store.Hold, at(1), 1, m.ID)
	want("held for another reason", true, false, true)
	e.amend(store.Release, at(2), 1, m.ID)
	want("released from that", false, false, true)
	e.lastEventAt(m.ID, store.EventReleased, "by ada")
	e.amend(store.Release, at(3), 1, m.ID)
	want("decided", false, false, false)
	e.lastEventAt(m.ID, store.EventReleased, "by ada, although it may have arrived")
	e.amend(store.Release, at(4), 0, m.ID)
	c := e.claim(part(m, 0), 1, at(5))
	r := deferred(c.Delivery, at(5), at(6))
	r.Delivery.Uncertain = true
	e.must(e.Resolve(e.ctx(), r))
	c = e.claim(part(m, 0), 2, at(6))
	e.amend(store.Release, at(6), 0, m.ID) // its result would bring the mark back
	e.amend(store.Hold, at(6), 1, m.ID)
	r = deferred(c.Delivery, at(7), at(8))
	r.Held = at(7)
	e.must(e.Resolve(e.ctx(), r))
	want("held by a result beside a person", true, true, true)
	e.amend(store.Release, at(9), 1, m.ID)
	want("released from both", false, false, false)
}

// queueReleaseLate: what is released after its time can still be tried.
func queueReleaseLate(e *env) {
	m := e.accept(start, "one.example")
	end := e.record(m.ID).Deliveries[0].Expires
	e.amend(store.Hold, start, 1, m.ID)
	e.amend(store.Release, at(time.Second), 1, m.ID)
	if d := e.record(m.ID).Deliveries[0]; !d.Expires.Equal(end) {
		e.Errorf("released in time, it expires at %v, want %v", d.Expires, end)
	}
	e.amend(store.Hold, end, 1, m.ID)
	e.amend(store.Release, end.Add(time.Minute), 1, m.ID)
	for range 2 {
		if d := e.record(m.ID).Deliveries[0]; !d.Expires.Equal(end.Add(time.Minute + store.ReleasedFor)) {
			e.Errorf("released after its time, it expires at %v", d.Expires)
		}
		e.reopen()
	}
}

func queueHoldDuring(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	n, err := e.Amend(e.ctx(), store.Hold, "me", at(1), m.ID)
	if err != nil || n != 1 {
		e.Fatalf("Hold = %d, %v", n, err)
	}
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, at(2), at(3))))
	if d := e.record(m.ID).Deliveries[0]; !d.Held.Equal(at(1)) {
		e.Errorf("Held = %s, want %s", d.Held, at(1))
	}
	_, err = e.Claim(e.ctx(), part(m, 0), 1, at(time.Hour), at(2*time.Hour))
	e.wantErr("Claim while held", err, store.ErrNotDue)
}

func queueParts(e *env) {
	m := e.accept(start, "one.example", "two.example", "three.example")
	e.finish(part(m, 1), 0, start)
	c := e.claim(part(m, 2), 0, start)
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, start, at(time.Hour))))
	ds := e.record(m.ID).Deliveries
	if ds[0].Attempt != 0 || !ds[1].Done() || ds[2].Attempt != 1 || !ds[2].Due.Equal(at(time.Hour)) {
		e.Errorf("deliveries = %+v", ds)
	}
	e.finish(part(m, 0), 0, start)
}

// notice is a bounce about m.
func notice(m store.Message, id store.ID, now time.Time) store.Submission {
	n := store.Message{ID: id, Server: m.Server, Stream: m.Stream, Accepted: now, Bounce: true, About: m.ID}
	d := store.Delivery{Destination: "sender.example", Due: now, Expires: now.Add(time.Hour), Recipients: []store.Recipient{{Address: m.From, State: store.Queued}}}
	return store.Submission{Message: n, Deliveries: []store.Delivery{d}, Body: bodyOf(id)}
}

func queueNotices(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	a, b := store.NewID(), store.NewID()
	res := sent(c.Delivery, at(1))
	res.Events = append(res.Events, store.Event{At: at(1), Kind: store.EventNotice, Attempt: 1, Notice: a})
	res.Notices = []store.Submission{notice(m, a, at(1)), notice(m, b, at(1))}
	e.must(e.Resolve(e.ctx(), res))
	check := func() {
		for _, id := range []store.ID{a, b} {
			r := e.record(id)
			if r.Message.About != m.ID || !r.Message.Bounce || r.Message.Size != int64(len(bodyOf(id))) {
				e.Errorf("notice = %+v", r.Message)
			}
			e.wantBody(id, bodyOf(id))
		}
		if ev := e.record(m.ID).Events; len(ev) != 3 || ev[2].Notice != a {
			e.Errorf("events = %+v", ev)
		}
	}
	check()
	e.reopen()
	check()
	e.finish(store.DeliveryID{Message: a}, 0, at(2))
}

func queueNoticeExists(e *env) {
	m := e.accept(start, "one.example")
	known := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	fresh := store.NewID()
	res := sent(c.Delivery, at(1))
	res.Notices = []store.Submission{notice(m, fresh, at(1)), notice(m, known.ID, at(1))}
	e.wantErr("Resolve with a known notice", e.Resolve(e.ctx(), res), store.ErrExists)
	_, err := e.Record(e.ctx(), fresh)
	e.wantErr("Record of the other notice", err, store.ErrNotFound)
	if d := e.record(m.ID).Deliveries[0]; d.Done() || !d.Lease.Equal(at(time.Minute)) {
		e.Errorf("delivery = %+v, want it under lease", d)
	}
	res.Notices = res.Notices[:1]
	res.Delivery = e.record(m.ID).Deliveries[0]
	e.must(e.Resolve(e.ctx(), sent(res.Delivery, at(1))))
}

// queueEventLimit makes more events than are kept, and a notice with a large body.
func queueEventLimit(e *env) {
	m := e.accept(start, "one.example")
	const rounds, each, kept = 5, 250, 1000
	var last store.Event
	for i := range rounds {
		c := e.claim(part(m, 0), i, at(time.Duration(i)*time.Hour))
		res := deferred(c.Delivery, at(time.Duration(i)), at(time.Duration(i)*time.Hour))
		for n := range each - 1 {
			last = store.Event{At: at(time.Duration(n)), Kind: store.EventDeferred, Attempt: i + 1, Detail: "one of many"}
			res.Events = append(res.Events, last)
		}
		e.must(e.Resolve(e.ctx(), res))
	}
	check := func() {
		ev := e.record(m.ID).Events
		if len(ev) != kept {
			e.Fatalf("%d events, want %d", len(ev), kept)
		}
		e.wantSame("newest event", last, ev[kept-1])
		if ev[0].Kind == store.EventAccepted {
			e.Error("the oldest event is kept")
		}
	}
	check()
	c := e.claim(part(m, 0), rounds, at(24*time.Hour))
	res := sent(c.Delivery, at(24*time.Hour))
	n := notice(m, store.NewID(), at(24*time.Hour))
	n.Body = make([]byte, 1<<20)
	res.Notices, res.Events = []store.Submission{n}, nil
	e.must(e.Resolve(e.ctx(), res))
	e.reopen()
	check()
	e.wantBody(n.Message.ID, n.Body)
}
