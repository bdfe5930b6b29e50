package storetest

import (
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/mailchute/mailchute/store"
)

var returnsTests = []test{
	{"ReturnChangesOneRecipient", returnsChange},
	{"ReturnFencesByState", returnsFence},
	{"ReturnIsAllOrNone", returnsAllOrNone},
	{"ReturnLeavesTheAttemptAlone", returnsUnderWay},
	{"ReturnOfTheForgotten", func(e *env) {
		m := e.accept(start, "one.example")
		e.finish(part(m, 0), 0, start)
		e.prune(at(1), 1)
		e.wantErr("Return", e.Return(e.ctx(), returned(m, 0, store.Sent, at(2))), store.ErrNotFound)
	}},
}

// returned is a bounce that came back about a recipient.
func returned(m store.Message, number int, was store.State, now time.Time) store.Return {
	reply := store.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user", Host: "inner.example", At: now}
	return store.Return{Message: m.ID, Number: number, Was: was, State: store.Bounced, Reply: reply,
		Events: []store.Event{{At: now, Kind: store.EventBounced, Reply: reply, Bounce: "HardBounce"}}}
}

// kept is a submission that is stored and never leaves.
func kept(m store.Message, now time.Time) store.Submission {
	id := store.NewID()
	s := store.Submission{Body: bodyOf(id), Message: store.Message{ID: id, Server: m.Server, Stream: m.Stream, Accepted: now, Returned: true, About: m.ID}}
	s.Deliveries = []store.Delivery{{Recipients: []store.Recipient{{Address: "tag@bounces.example", State: store.Captured}}}}
	return s
}

func returnsChange(e *env) {
	m := e.accept(start, "one.example", "two.example")
	e.finish(part(m, 0), 0, start)
	e.finish(part(m, 1), 0, start)
	if ids := e.list(store.Filter{Bounce: true}); len(ids) != 0 {
		e.Errorf("bounced before anything came back: %v", ids)
	}
	r, dump := returned(m, 1, store.Sent, at(5)), kept(m, at(5))
	r.Events[0].Notice = dump.Message.ID
	r.Events = append(r.Events, store.Event{At: at(5), Kind: store.EventNotice, Recipient: m.From})
	r.Submissions = []store.Submission{dump, notice(m, store.NewID(), at(5))}
	e.must(e.Return(e.ctx(), r))
	e.reopen()
	got := e.record(m.ID)
	if first := got.Deliveries[0].Recipients[0]; first.State != store.Sent {
		e.Errorf("the other recipient is %s", first.State)
	}
	second := got.Deliveries[1].Recipients[0]
	e.wantSame("recipient", store.Recipient{Address: "rcpt@two.example", Notify: "FAILURE", State: store.Bounced, Last: r.Reply}, second)
	want := slices.Clone(r.Events)
	want[0].Part, want[0].Recipient, want[1].Part = 1, "rcpt@two.example", 1
	e.wantSame("events", want, got.Events[len(got.Events)-2:])
	for _, s := range r.Submissions {
		e.wantBody(s.Message.ID, s.Body)
	}
	if back := e.record(dump.Message.ID); !back.Message.Returned || back.Message.About != m.ID || !back.Deliveries[0].Done() {
		e.Errorf("what came back = %+v", back)
	}
	if ids := e.list(store.Filter{Bounce: true}); !slices.Equal(ids, []store.ID{m.ID}) {
		e.Errorf("bounced = %v, want %s", ids, m.ID)
	}
}

func returnsFence(e *env) {
	m := e.accept(start, "one.example")
	e.wantErr("Return to a queued recipient", e.Return(e.ctx(), returned(m, 0, store.Queued, at(1))), store.ErrInvalid)
	early := returned(m, 0, store.Queued, at(1))
	early.State = store.Queued
	e.must(e.Return(e.ctx(), early)) // the answer to the final dot was lost, and the bounce comes before the next attempt
	e.wantErr("Return before sending", e.Return(e.ctx(), returned(m, 0, store.Sent, at(1))), store.ErrStale)
	e.finish(part(m, 0), 0, start)
	reopen := returned(m, 0, store.Sent, at(1))
	reopen.State = store.Queued
	e.wantErr("Return that queues again", e.Return(e.ctx(), reopen), store.ErrInvalid)
	e.wantErr("Return to nobody", e.Return(e.ctx(), returned(m, 1, store.Sent, at(1))), store.ErrNotFound)
	e.wantErr("Return to number -1", e.Return(e.ctx(), returned(m, -1, store.Sent, at(1))), store.ErrNotFound)
	e.must(e.Return(e.ctx(), returned(m, 0, store.Sent, at(1))))
	e.wantErr("Return twice", e.Return(e.ctx(), returned(m, 0, store.Sent, at(2))), store.ErrStale)
	again := returned(m, 0, store.Bounced, at(3))
	again.Reply.Text = "once more"
	e.must(e.Return(e.ctx(), again))
	r := e.record(m.ID)
	if last := r.Deliveries[0].Recipients[0].Last; last.Text != "no such user" || len(r.Events) != 5 {
		e.Errorf("last reply %q, %d events; a state that stays keeps its reply", last.Text, len(r.Events))
	}
}

func returnsAllOrNone(e *env) {
	m := e.accept(start, "one.example")
	e.finish(part(m, 0), 0, start)
	r := returned(m, 0, store.Sent, at(1))
	r.Submissions = []store.Submission{kept(m, at(1)), notice(m, m.ID, at(1))}
	e.wantErr("Return with a known ID", e.Return(e.ctx(), r), store.ErrExists)
	if got := e.record(m.ID); got.Deliveries[0].Recipients[0].State != store.Sent || len(got.Events) != 2 {
		e.Errorf("half of it happened: %+v", got)
	}
	if _, err := e.Record(e.ctx(), r.Submissions[0].Message.ID); !errors.Is(err, store.ErrNotFound) {
		e.Errorf("half of it happened: %v", err)
	}
}

// returnsUnderWay: of two recipients one was sent, the other is being tried again
// when the first one's bounce comes.
func returnsUnderWay(e *env) {
	m, ds := mail(start, "one.example")
	ds[0].Recipients = append(ds[0].Recipients, store.Recipient{Address: "slow@one.example", State: store.Queued})
	m = e.put(m, ds, bodyOf(m.ID))
	c := e.claim(part(m, 0), 0, start)
	c.Delivery.Recipients[0].State = store.Sent
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, start, at(1))))
	c = e.claim(part(m, 0), 1, at(1))
	e.must(e.Return(e.ctx(), returned(m, 0, store.Sent, at(2))))
	if _, err := e.Claim(e.ctx(), part(m, 0), 2, at(3), at(60)); !errors.Is(err, store.ErrNotDue) {
		e.Errorf("Claim during the attempt = %v", err)
	}
	e.must(e.Resolve(e.ctx(), sent(c.Delivery, at(4))))
	got := e.record(m.ID).Deliveries[0].Recipients
	if got[0].State != store.Bounced || got[1].State != store.Sent {
		e.Errorf("recipients are %s and %s, want bounced and sent", got[0].State, got[1].State)
	}
}

// takeBack compares a Return with the model.
func (m *model) takeBack(rt *rapid.T) {
	id := m.pick(rt)
	n := rapid.IntRange(0, 2).Draw(rt, "number")
	was := rapid.SampledFrom([]store.State{store.Sent, store.Sent, store.Bounced, store.Cancelled}).Draw(rt, "was")
	r := m.mail[id]
	ret := returned(store.Message{ID: id}, n, was, m.now)
	err := m.e.Return(m.e.ctx(), ret)
	switch {
	case r == nil || n >= len(r.Deliveries):
		m.e.wantErr("Return", err, store.ErrNotFound)
		return
	case r.Deliveries[n].Recipients[0].State != was:
		m.e.wantErr("Return", err, store.ErrStale)
		return
	}
	m.e.must(err)
	rcpt := &r.Deliveries[n].Recipients[0]
	if was == store.Cancelled && !r.Message.Bounce {
		m.sent++ // so it had gone out
	}
	if was != store.Bounced {
		rcpt.State, rcpt.Last = store.Bounced, ret.Reply
	}
	event := ret.Events[0]
	event.Part, event.Recipient = n, rcpt.Address
	r.Events = append(r.Events, event)
}
