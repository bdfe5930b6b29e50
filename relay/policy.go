package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Policy is when to try again. Its methods are pure.
type Policy struct {
	// Schedule is the wait after the first, second … attempt; the last entry repeats. Nil means DefaultSchedule.
	Schedule []time.Duration
	// Jitter spreads each wait by up to this part in both directions, so that messages which failed together do not come
	// back together; 0 means 0.15, negative means none.
	Jitter float64
	// UncertainWait is the least wait after an uncertain attempt; 0 means 30 minutes (RFC 5321 4.5.4.1).
	UncertainWait time.Duration
	// HoldWait is the wait of a delivery that cannot be tried as things are: its stream is gone, its body damaged; 0
	// means 4 hours.
	HoldWait time.Duration
}

// DefaultSchedule is dense at first, for greylisting and short outages, and then every four hours until the delivery
// expires.
func DefaultSchedule() []time.Duration {
	return []time.Duration{
		//                  since the first attempt
		1 * time.Minute,  //    0:01
		5 * time.Minute,  //    0:06
		15 * time.Minute, //    0:21
		30 * time.Minute, //    0:51
		1 * time.Hour,    //    1:51
		2 * time.Hour,    //    3:51
		4 * time.Hour,    //    7:51 and every 4 hours: 30 more until 5 days are over
	}
}

func (p Policy) withDefaults() Policy {
	if p.Schedule == nil {
		p.Schedule = DefaultSchedule()
	}
	setDefault(&p.Jitter, 0.15)
	setDefault(&p.UncertainWait, 30*time.Minute)
	setDefault(&p.HoldWait, 4*time.Hour)
	return p
}

func (p Policy) check() error {
	if len(p.Schedule) == 0 || p.Jitter >= 1 {
		return errors.New("relay schedule is empty, or its jitter is not below 1")
	}
	for i, d := range p.Schedule {
		if d <= 0 {
			return fmt.Errorf("relay schedule entry %d is %v; it must be positive", i+1, d)
		}
	}
	return nil
}

// Attempt is what is known when an attempt has ended.
type Attempt struct {
	Claimed store.Claimed
	// Open are the indexes of the recipients that were tried, and Results what became of them, in the same order.
	Open    []int
	Results []Result
	Now     time.Time
	// Rand is a number in [0,1) for the jitter.
	Rand float64
	// Jumped is how far the clock has jumped ahead, which is not counted against the delivery's time.
	Jumped time.Duration
	// Holds is set where a person decides about what is uncertain: it does not expire.
	Holds bool
	// Conversation is what was said. It is kept where a recipient was not delivered.
	Conversation store.Conversation
}

// Decision is what an attempt leads to.
type Decision struct {
	Resolution store.Resolution
	// Failed are the indexes of the recipients that were given up: refused or expired.
	Failed []int
	// Relayed are the indexes of those handed to a host that will send no success notice.
	Relayed []int
	// Suppress are the indexes of the recipients that will never take mail.
	Suppress []int
	// Hold asks for a person: the message cannot be sent as it is.
	Hold bool

	contact contact // for the schedule
	legs    []leg   // likewise
}

// Next returns the delivery as it is to be after the attempt, with an event for each change.
func (p Policy) Next(a Attempt) Decision {
	n := newDecider(p, a)
	n.contact = contactOf(a.Results)
	n.delivery.Conversation = store.Conversation{}
	for i, index := range a.Open {
		n.settle(index, a.Results[i])
	}
	n.schedule()
	return n.decision()
}

// late is how long after its due time a delivery can be claimed without a reason to think that time itself has jumped.
const late = time.Hour

// Expired tells whether a delivery that was just claimed must not be tried any more. One attempt is always made, and one more
// where the claim comes late: a clock that jumped, a pause, or a long stop of the whole relay must not return mail that
// could not be tried meanwhile.
func (p Policy) Expired(d store.Delivery, now time.Time) bool {
	return d.Attempt > 1 && !d.Expires.IsZero() && !now.Before(d.Expires) && now.Sub(d.Due) < late
}

// Expire ends all open recipients of a delivery that was just claimed, without trying them.
func (p Policy) Expire(c store.Claimed, now time.Time) Decision {
	n := newDecider(p, Attempt{Claimed: c, Now: now})
	n.expire()
	return n.decision()
}

// Orphan puts off a delivery whose stream is gone, or cancels it when its time is over. It causes no notice: whoever
// deleted the stream deleted its mail.
func (p Policy) Orphan(c store.Claimed, now time.Time) Decision {
	n := newDecider(p, Attempt{Claimed: c, Now: now})
	if p.Expired(c.Delivery, now) {
		for _, i := range openRecipients(n.delivery) {
			n.delivery.Recipients[i].State = store.Cancelled
			n.event(store.EventCancelled, i, store.Reply{}, "stream no longer exists, and its time to be delivered is over")
		}
	} else {
		n.delivery.Due, n.delivery.DueWhy = earlier(now.Add(p.HoldWait), n.delivery.Expires, now), "its stream no longer exists"
		n.event(store.EventDeferred, -1, store.Reply{}, "stream no longer exists; waiting for it to be made again")
	}
	return n.decision()
}

// Capture ends all open recipients as captured.
func (p Policy) Capture(c store.Claimed, now time.Time, why string) Decision {
	n := newDecider(p, Attempt{Claimed: c, Now: now})
	for _, i := range openRecipients(n.delivery) {
		n.delivery.Recipients[i].State = store.Captured
		n.event(store.EventCaptured, i, store.Reply{}, why)
	}
	return n.decision()
}

// Wait returns the wait after the given attempt, the first being 1.
func (p Policy) Wait(attempt int, rand float64) time.Duration {
	base := p.Schedule[min(max(attempt, 1), len(p.Schedule))-1]
	if p.Jitter <= 0 {
		return base
	}
	return time.Duration(float64(base) * (1 + p.Jitter*(2*rand-1)))
}

// decider builds one Decision.
type decider struct {
	Decision
	policy   Policy
	attempt  Attempt
	delivery store.Delivery
	waiting  []int // recipients that stay queued
	wait     time.Duration
	why      string    // of the longest wait
	route    string    // of the recipient being settled
	again    Result    // likewise: Again and AgainWhy
	tls      store.TLS // of the recipient being settled
	stopped  bool      // some were interrupted, none failed
}

// newDecider works on a copy: the claimed delivery stays as the store gave it.
func newDecider(p Policy, a Attempt) *decider {
	n := &decider{policy: p, attempt: a, delivery: a.Claimed.Delivery}
	n.delivery.Recipients = slices.Clone(n.delivery.Recipients)
	n.delivery.Lease = time.Time{}
	return n
}

func (n *decider) decision() Decision {
	n.delivery.Uncertain = n.delivery.Uncertain && !n.delivery.Done()
	n.Resolution.Delivery = n.delivery
	n.Resolution.Events = mergeWaits(n.Resolution.Events)
	return n.Decision
}

func (n *decider) event(kind store.EventKind, recipient int, reply store.Reply, detail string) {
	e := store.Event{At: n.attempt.Now, Kind: kind, Part: n.delivery.ID.Part, Attempt: n.delivery.Attempt, Reply: reply, Detail: detail, TLS: n.tls}
	if recipient >= 0 {
		e.Recipient = n.delivery.Recipients[recipient].Address
	}
	n.Resolution.Events = append(n.Resolution.Events, e)
}

// mergeWaits makes one event of those that say the same about several recipients who wait. The timeline is bounded, and a
// hundred recipients of one greylisting host would push everything else out of it.
func mergeWaits(events []store.Event) []store.Event {
	if len(events) < 2 {
		return events
	}
	type reason struct {
		kind   store.EventKind
		reply  store.Reply
		detail string
		tls    store.TLS
	}
	var out []store.Event
	first, count := map[reason]int{}, map[reason]int{}
	for _, e := range events {
		r := reason{e.Kind, e.Reply, e.Detail, e.TLS}
		r.reply.At = time.Time{}
		if e.Kind != store.EventDeferred && e.Kind != store.EventUncertain {
			out = append(out, e)
			continue
		}
		if count[r]++; count[r] == 1 {
			first[r] = len(out)
			out = append(out, e)
		}
	}
	for r, n := range count {
		if e := &out[first[r]]; n > 1 {
			e.Recipient, e.Detail = "", joinDetail(fmt.Sprintf("%d recipients", n), e.Detail)
		}
	}
	return out
}

// settle gives one recipient its new state.
func (n *decider) settle(index int, r Result) {
	rcpt := &n.delivery.Recipients[index]
	reply := r.Reply
	n.tls, n.route, n.again = r.TLS, r.Route, r
	if reply.At.IsZero() {
		reply.At = n.attempt.Now
	}
	if r.Err != nil && reply.Text == "" {
		reply.Text = escape(r.Err.Error())
	}
	verdict := r.Verdict()
	if verdict != Interrupted {
		rcpt.Last = reply
	}
	if verdict != Delivered {
		n.delivery.Conversation = n.attempt.Conversation
	}
	switch verdict {
	case Delivered:
		rcpt.State = store.Sent
		n.event(store.EventSent, index, reply, r.Detail)
		n.Resolution.Events[len(n.Resolution.Events)-1].SignedBy = r.SignedBy
		if r.Relayed {
			n.Relayed = append(n.Relayed, index)
		}
	case Permanent:
		rcpt.State = store.Bounced
		n.event(store.EventBounced, index, reply, r.Detail)
		n.Failed = append(n.Failed, index)
		n.classify(index, classOf(reply, len(n.attempt.Open) > 1 && !r.Alone))
	default:
		n.putOff(index, verdict, reply, r.Detail)
	}
}

// putOff leaves a recipient queued and works out how long at least.
func (n *decider) putOff(index int, v Verdict, reply store.Reply, detail string) {
	n.waiting = append(n.waiting, index)
	switch v {
	case Interrupted:
		n.stopped = true
		n.event(store.EventDeferred, index, reply, joinDetail(errInterrupted.Error(), detail))
		return
	case Uncertain:
		n.delivery.Uncertain, n.delivery.Route = true, n.route
		n.atLeast(n.policy.UncertainWait, "the answer to the final dot was lost: waiting longer lowers the risk of a duplicate")
		n.event(store.EventUncertain, index, reply, joinDetail("the answer to the final dot was lost; it may have been delivered", detail))
	case Damaged:
		n.Hold = true
		n.atLeast(n.policy.HoldWait, "the stored message is damaged")
		n.event(store.EventDeferred, index, reply, joinDetail("the stored message is damaged; nothing of it was handed over", detail))
	default:
		n.event(store.EventDeferred, index, reply, detail)
	}
	wait, why := n.policy.Wait(n.delivery.Attempt, n.attempt.Rand), fmt.Sprintf("the retry schedule after attempt %d", n.delivery.Attempt)
	if asked, ok := tryAgainIn(reply.Text); ok && reply.Host != "" && v == Temporary {
		wait, why = n.policy.asked(asked, wait, n.delivery.Attempt, n.attempt.Rand), fmt.Sprintf("%s asks for %v", reply.Host, asked)
	}
	if n.again.Again > 0 && n.again.Again < wait {
		wait, why = n.again.Again, n.again.AgainWhy
	}
	n.atLeast(wait, why)
}

// maxShortHints is for how many attempts a host is believed that asks for less than the schedule's wait. One that asks so
// again and again does not keep its word.
const maxShortHints = 3

// asked is the wait after a reply that names one: a little more than that, at least the first of the schedule.
func (p Policy) asked(hint, scheduled time.Duration, attempt int, rand float64) time.Duration {
	wait := max(hint+time.Duration(rand*float64(hint)/10), p.Schedule[0])
	if wait < scheduled && attempt > maxShortHints {
		return scheduled
	}
	return wait
}

func (n *decider) atLeast(wait time.Duration, why string) {
	if wait > n.wait {
		n.wait, n.why = wait, why
	}
}

// schedule sets the due time of what waits, or ends it.
func (n *decider) schedule() {
	if len(n.waiting) == 0 {
		return
	}
	now := n.attempt.Now
	if n.wait == 0 && n.stopped {
		n.delivery.Due, n.delivery.DueWhy = now, "the attempt was stopped before the message was handed over"
		return
	}
	expires := n.delivery.Expires
	if !expires.IsZero() {
		expires = expires.Add(n.attempt.Jumped)
	}
	if !expires.IsZero() && !now.Before(expires) && !(n.attempt.Holds && n.delivery.Uncertain) {
		n.expire()
		return
	}
	n.delivery.Due, n.delivery.DueWhy = earlier(now.Add(n.wait), expires, now), n.why
	if n.delivery.Due.Equal(expires) {
		n.delivery.DueWhy = "its time to be delivered ends then"
	}
	next := "next attempt at " + n.delivery.Due.UTC().Format(time.RFC3339)
	for i := range n.Resolution.Events {
		if e := &n.Resolution.Events[i]; e.Kind == store.EventDeferred || e.Kind == store.EventUncertain {
			e.Detail = joinDetail(e.Detail, next)
		}
	}
}

func (n *decider) expire() {
	detail := ""
	if n.delivery.Uncertain {
		detail = "it may have been delivered all the same"
	}
	for _, i := range openRecipients(n.delivery) {
		n.delivery.Recipients[i].State = store.Expired
		n.event(store.EventExpired, i, n.delivery.Recipients[i].Last, joinDetail(fmt.Sprintf("given up after %d attempts", n.tried()), detail))
		n.classify(i, classOfExpired(n.delivery.Recipients[i].Last))
		n.Failed = append(n.Failed, i)
	}
}

// tried is the number of attempts made: a claim that only found the delivery expired is none.
func (n *decider) tried() int {
	if len(n.attempt.Open) == 0 {
		return n.delivery.Attempt - 1
	}
	return n.delivery.Attempt
}

// earlier returns due, or expires where that comes first and is still ahead: the delivery is then woken to be given up.
func earlier(due, expires, now time.Time) time.Time {
	if !expires.IsZero() && expires.Before(due) && expires.After(now) {
		return expires
	}
	return due
}

func openRecipients(d store.Delivery) []int {
	var open []int
	for i, r := range d.Recipients {
		if !r.State.Final() {
			open = append(open, i)
		}
	}
	return open
}

func joinDetail(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "; ")
}
