package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

var notificationTests = []test{
	{"OfTheEventsThatAreWanted", notificationsWanted},
	{"OfNoticesNone", notificationsOfNotices},
	{"InOrderOfAMessage", notificationsInOrder},
	{"LeasedToOne", notificationsLeased},
	{"AgainAndDead", notificationsAgain},
	{"UnderAClockThatWasAhead", notificationsClockBack},
	{"ReplayedWithTheSameID", notificationsReplayed},
	{"ReplayedByKey", notificationsReplayedByKey},
	{"DeadInPages", notificationsDeadPages},
	{"OfChangesOfAList", notificationsOfLists},
	{"OnceInTheImage", notificationsImage},
	{"EndWithTheirWebhook", notificationsEnd},
	{"WithinLimits", notificationsLimits},
	{"AfterTheMessageIsForgotten", notificationsForgotten},
	{"WatchTellsOfAll", notificationsWatch},
	{"ClosedStoreRefuses", func(e *env) {
		e.must(e.Close())
		_, _, err := e.ClaimNotifications(e.ctx(), 20, start, at(1), 1)
		e.wantErr("ClaimNotifications", err, store.ErrClosed)
		e.wantErr("SettleNotifications", e.SettleNotifications(e.ctx(), store.NotificationResult{}), store.ErrClosed)
		e.wantErr("WatchNotifications", e.WatchNotifications(e.ctx(), func([]int64) {}), store.ErrClosed)
	}},
}

// webhook is one of the stream of the other tests.
func webhook(id int64, t store.Triggers) store.Change {
	return store.Change{Webhook: &store.Webhook{ID: id, Server: 7, Stream: "outbound", URL: "https://hooks.example/", Triggers: t, Sealed: []byte{1}, Created: start}}
}

// hook makes the server and its webhooks.
func (e *env) hook(webhooks ...store.Change) {
	e.Helper()
	changes := []store.Change{{Server: &store.Server{ID: 7, Name: "seven", DeliveryType: store.Live, Created: start}}}
	for _, s := range store.DefaultStreams(7, store.ModeLive, start) {
		changes = append(changes, store.Change{Stream: &s})
	}
	_, err := e.Change(e.ctx(), 0, append(changes, webhooks...)...)
	e.must(err)
}

func (e *env) change(changes ...store.Change) {
	e.Helper()
	_, err := store.Update(e.ctx(), e.Store, func(*store.Snapshot) ([]store.Change, error) { return changes, nil })
	e.must(err)
}

// claimHooks claims for a minute.
func (e *env) claimHooks(webhook int64, now time.Time, limit int) []store.Notification {
	e.Helper()
	got, _, err := e.ClaimNotifications(e.ctx(), webhook, now, now.Add(time.Minute), limit)
	e.must(err)
	return got
}

// waitHooks claims until there are that many: an engine may queue a little later
// than it records.
func (e *env) waitHooks(webhook int64, now time.Time, want int) (got []store.Notification) {
	e.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(got) < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.Fatalf("%d notifications, want %d", len(got), want)
		}
		got = append(got, e.claimHooks(webhook, now, want-len(got))...)
	}
	return got
}

func (e *env) settle(results ...store.NotificationResult) {
	e.Helper()
	e.must(e.SettleNotifications(e.ctx(), results...))
}

func result(n store.Notification, o store.NotificationOutcome, now, due time.Time) store.NotificationResult {
	r := store.NotificationResult{Webhook: n.Webhook, Key: n.Key, Attempt: n.Attempt, Outcome: o, Due: due, Try: store.Try{At: now, Status: 500, Error: "500"}}
	if o == store.NotificationDone {
		r.Try = store.Try{At: now, Status: 200}
	}
	return r
}

func (e *env) queueOf(webhook int64) store.NotificationQueue {
	e.Helper()
	all, err := e.NotificationQueues(e.ctx(), webhook)
	e.must(err)
	if len(all) > 1 {
		e.Errorf("%d queues of one webhook", len(all))
	}
	for _, q := range all {
		if q.Webhook == webhook {
			return q
		}
	}
	e.Fatalf("no queue of webhook %d in %+v", webhook, all)
	return store.NotificationQueue{}
}

func (e *env) deadOf(webhook int64) []store.Notification {
	e.Helper()
	got, next, err := e.DeadNotifications(e.ctx(), webhook, "", 0)
	e.must(err)
	if next != "" {
		e.Errorf("DeadNotifications has another page: %q", next)
	}
	return got
}

func notificationsWanted(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}), webhook(21, store.Triggers{Bounce: true, SpamComplaint: true, Open: true}))
	m := e.accept(start, "one.example")
	other, ds := mail(start, "one.example")
	other.Stream = "broadcast"
	e.put(other, ds, bodyOf(other.ID))
	e.finish(part(other, 0), 0, start)
	c := e.claim(part(m, 0), 0, start)
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, at(1), at(2))))
	c = e.claim(part(m, 0), 1, at(2))
	r := sent(c.Delivery, at(3))
	e.must(e.Resolve(e.ctx(), r))
	back := returned(m, 0, store.Sent, at(4))
	e.must(e.Return(e.ctx(), back))
	e.reopen()
	got := e.claimHooks(20, at(9), 10)
	if len(got) != 1 || got[0].ID.IsZero() || got[0].Key == "" {
		e.Fatalf("notifications of the delivery: %+v", got)
	}
	want := store.Notification{ID: got[0].ID, Key: got[0].Key, Webhook: 20, Server: 7, Stream: "outbound", Trigger: store.TriggerDelivery,
		Message: m.ID, Event: r.Events[0], Due: at(3)}
	e.wantSame("notification", want, got[0])
	got = e.claimHooks(21, at(9), 10)
	if len(got) != 1 || got[0].Trigger != store.TriggerBounce || got[0].Event.Bounce != "HardBounce" || got[0].Event.Recipient != "rcpt@one.example" {
		e.Errorf("notifications of the bounce: %+v", got)
	}
}

func notificationsOfNotices(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true, Bounce: true}))
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	r := sent(c.Delivery, at(1))
	n := notice(m, store.NewID(), at(1))
	r.Notices = []store.Submission{n}
	e.must(e.Resolve(e.ctx(), r))
	e.finish(store.DeliveryID{Message: n.Message.ID}, 0, at(2))
	e.reopen()
	if got := e.claimHooks(20, at(9), 10); len(got) != 1 || got[0].Message != m.ID {
		e.Errorf("notifications = %+v, want that of message %s alone", got, m.ID)
	}
}

// two makes two events of one message, and one of another.
func (e *env) two() (first, second store.Message) {
	e.Helper()
	first, second = e.accept(start, "one.example", "two.example"), e.accept(start, "one.example")
	e.finish(part(first, 0), 0, at(1))
	e.finish(part(second, 0), 0, at(2))
	e.finish(part(first, 1), 0, at(3))
	return first, second
}

func notificationsInOrder(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}), webhook(21, store.Triggers{Delivery: true}))
	first, second := e.two()
	e.reopen()
	got := e.claimHooks(20, at(9), 10)
	if len(got) != 2 || got[0].Message != first.ID || got[1].Message != second.ID || got[0].Event.Part != 0 {
		e.Fatalf("notifications = %+v, want the first of each message", got)
	}
	if q := e.queueOf(20); q.Waiting != 3 || !q.Oldest.Equal(at(1)) {
		e.Errorf("queue = %+v", q)
	}
	e.settle(result(got[0], store.NotificationAgain, at(9), at(100)))
	if more := e.claimHooks(20, at(99), 10); len(more) != 0 {
		e.Errorf("claimed before the first of its message was done: %+v", more)
	}
	again := e.claimHooks(20, at(100), 10)
	if len(again) != 1 || again[0].ID != got[0].ID || again[0].Attempt != 1 {
		e.Fatalf("claimed again = %+v", again)
	}
	e.settle(result(again[0], store.NotificationDone, at(100), time.Time{}), result(got[1], store.NotificationDone, at(100), time.Time{}))
	e.reopen()
	last := e.claimHooks(20, at(100), 10)
	if len(last) != 1 || last[0].Message != first.ID || last[0].Event.Part != 1 || last[0].ID == got[0].ID {
		e.Fatalf("the second of the message = %+v", last)
	}
	e.settle(result(last[0], store.NotificationDone, at(101), time.Time{}))
	if q := e.queueOf(20); q.Waiting != 0 || q.Dead != 0 {
		e.Errorf("queue = %+v", q)
	}
	if q := e.queueOf(21); q.Waiting != 3 {
		e.Errorf("queue of the other webhook = %+v", q)
	}
}

func notificationsLeased(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}))
	e.two()
	e.reopen()
	got, next, err := e.ClaimNotifications(e.ctx(), 20, at(9), at(50), 1)
	e.must(err)
	if len(got) != 1 || next.After(at(9)) {
		e.Errorf("claimed %d, next %v", len(got), next)
	}
	rest, next, err := e.ClaimNotifications(e.ctx(), 20, at(9), at(50), 10)
	e.must(err)
	if len(rest) != 1 || rest[0].ID == got[0].ID || !next.IsZero() {
		e.Errorf("claimed %+v, next %v", rest, next)
	}
	if after := e.claimHooks(20, at(49), 10); len(after) != 0 {
		e.Errorf("claimed while leased: %+v", after)
	}
	if after := e.claimHooks(20, at(50), 10); len(after) != 2 {
		e.Errorf("claimed %d after the leases, want 2", len(after))
	}
	if _, next, err := e.ClaimNotifications(e.ctx(), 99, at(50), at(60), 10); err != nil || !next.IsZero() {
		e.Errorf("claim for an unknown webhook: next %v, %v", next, err)
	}
}

// notificationsClockBack: nobody waits a year for a clock that was a year ahead.
func notificationsClockBack(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}))
	e.two()
	e.reopen() // all of them are there
	n := e.claimHooks(20, at(9), 1)[0]
	ahead := at(1000 * 24 * time.Hour)
	e.settle(result(n, store.NotificationAgain, ahead, ahead.Add(time.Minute)))
	if got, next, err := e.ClaimNotifications(e.ctx(), 20, at(9), at(10), 1); err != nil || len(got) != 1 || got[0].ID == n.ID || !next.Equal(ahead.Add(time.Minute)) {
		e.Errorf("claimed first %+v, next %v, %v", got, next, err)
	}
	got := e.claimHooks(20, at(9), 10)
	if len(got) != 1 || got[0].ID != n.ID || got[0].Attempt != 1 {
		e.Errorf("claimed %+v, want what was tried under the clock that was ahead", got)
	}
	e.settle(result(got[0], store.NotificationAgain, at(9), at(60)))
	if early := e.claimHooks(20, at(59), 10); len(early) != 1 || early[0].ID == n.ID {
		e.Errorf("claimed %+v before its time", early)
	}
}

func notificationsAgain(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}))
	m := e.accept(start, "one.example")
	e.finish(part(m, 0), 0, start)
	n := e.waitHooks(20, at(1), 1)[0]
	e.settle(result(n, store.NotificationAgain, at(1), at(60)))
	e.settle(result(n, store.NotificationDone, at(1), time.Time{})) // of a worker that was late
	if q := e.queueOf(20); q.Waiting != 1 || !q.NextDue.Equal(at(60)) || q.Last.Status != 500 || !q.Last.At.Equal(at(1)) {
		e.Errorf("queue = %+v", q)
	}
	_, next, err := e.ClaimNotifications(e.ctx(), 20, at(59), at(61), 1)
	e.must(err)
	if !next.Equal(at(60)) {
		e.Errorf("next = %v, want %v", next, at(60))
	}
	n = e.claimHooks(20, at(60), 1)[0]
	e.settle(result(n, store.NotificationDead, at(61), time.Time{}))
	e.reopen()
	dead := e.deadOf(20)
	if len(dead) != 1 || dead[0].ID != n.ID || dead[0].Attempt != 2 || !dead[0].Dead.Equal(at(61)) || dead[0].Last.Error != "500" {
		e.Errorf("dead = %+v", dead)
	}
	if q := e.queueOf(20); q.Waiting != 0 || q.Dead != 1 || q.Last.Status != 500 {
		e.Errorf("queue = %+v", q)
	}
	e.settle(store.NotificationResult{Webhook: 20, Key: n.Key, Attempt: n.Attempt})
	e.wantErr("a key that is none", e.SettleNotifications(e.ctx(), store.NotificationResult{Webhook: 20, Key: "x"}), store.ErrInvalid)
}

// kill gives up all that is due.
func (e *env) kill(webhook int64, now time.Time, want int) (ids []store.ID) {
	e.Helper()
	for len(ids) < want {
		for _, n := range e.waitHooks(webhook, now, 1) {
			e.settle(result(n, store.NotificationDead, now, time.Time{}))
			ids = append(ids, n.ID)
		}
	}
	return ids
}

func notificationsReplayed(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}))
	e.two()
	killed := e.kill(20, at(9), 3)
	n, err := e.ReplayNotifications(e.ctx(), 20, at(10))
	e.must(err)
	if n != 3 || len(e.deadOf(20)) != 0 {
		e.Errorf("replayed %d, left %+v", n, e.deadOf(20))
	}
	e.reopen()
	var got []store.ID
	for len(got) < 3 {
		for _, again := range e.claimHooks(20, at(10), 10) {
			if again.Attempt != 0 || !again.Dead.IsZero() {
				e.Errorf("replayed as %+v", again)
			}
			got = append(got, again.ID)
			e.settle(result(again, store.NotificationDone, at(11), time.Time{}))
		}
	}
	slices.SortFunc(got, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
	slices.SortFunc(killed, func(a, b store.ID) int { return slices.Compare(a[:], b[:]) })
	e.wantSame("IDs", killed, got)
	_, err = e.ReplayNotifications(e.ctx(), 99, at(10))
	e.wantErr("replay for an unknown webhook", err, store.ErrNotFound)
}

func notificationsReplayedByKey(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}))
	e.two()
	e.kill(20, at(9), 3)
	dead := e.deadOf(20)
	n, err := e.ReplayNotifications(e.ctx(), 20, at(10), dead[1].Key, dead[1].Key)
	e.must(err)
	if left := e.deadOf(20); n != 1 || len(left) != 2 {
		e.Errorf("replayed %d, left %d", n, len(left))
	}
	if got := e.claimHooks(20, at(10), 10); len(got) != 1 || got[0].ID != dead[1].ID {
		e.Errorf("claimed %+v", got)
	}
	_, err = e.ReplayNotifications(e.ctx(), 20, at(10), "nonsense")
	e.wantErr("a key that is none", err, store.ErrInvalid)
}

func notificationsDeadPages(e *env) {
	e.hook(webhook(20, store.Triggers{SubscriptionChange: true}), webhook(21, store.Triggers{SubscriptionChange: true}))
	for i := range 7 {
		e.suppress(1, bounced(fmt.Sprintf("%d@a.example", i)))
	}
	e.kill(21, at(30), 1)
	for i := range 7 {
		e.kill(20, at(time.Duration(10+i)), 1)
	}
	var pages []int
	var all []store.Notification
	for cursor, more := "", true; more; {
		got, next, err := e.DeadNotifications(e.ctx(), 20, cursor, 3)
		e.must(err)
		pages, all = append(pages, len(got)), append(all, got...)
		cursor, more = next, next != ""
	}
	if !slices.Equal(pages, []int{3, 3, 1}) || !slices.IsSortedFunc(all, func(a, b store.Notification) int { return b.Dead.Compare(a.Dead) }) {
		e.Errorf("pages of %v, %+v", pages, all)
	}
	_, _, err := e.DeadNotifications(e.ctx(), 20, "nonsense", 3)
	e.wantErr("a cursor that is none", err, store.ErrInvalid)
}

func notificationsOfLists(e *env) {
	e.hook(webhook(20, store.Triggers{SubscriptionChange: true}), webhook(21, store.Triggers{Delivery: true}))
	s := bounced("one@a.example")
	e.suppress(1, s)
	e.suppress(0, s) // changes nothing
	elsewhere := bounced("one@a.example")
	elsewhere.Stream = "broadcast"
	e.suppress(1, elsewhere)
	e.reactivate(true, "one@a.example", "never@a.example")
	e.suppress(1, complained("one@a.example"))
	e.suppress(1, bounced("two@a.example"))
	var got []store.Notification
	for len(got) < 4 {
		for _, n := range e.claimHooks(20, at(24*time.Hour), 10) {
			e.settle(result(n, store.NotificationDone, at(24*time.Hour), time.Time{}))
			if n.Change == nil {
				e.Fatalf("notification without a change: %+v", n)
			}
			if n.Change.Address == "one@a.example" || n.Change.Address == "two@a.example" {
				got = append(got, n)
			}
		}
	}
	one := slices.DeleteFunc(slices.Clone(got), func(n store.Notification) bool { return n.Change.Address != "one@a.example" })
	if len(one) != 3 || one[0].Message != s.Message || !one[0].Change.Removed.IsZero() ||
		!one[1].Message.IsZero() || !one[1].Change.Removed.Equal(at(2*time.Hour)) || one[2].Change.Reason != store.SuppressedSpamComplaint {
		e.Errorf("changes of one address: %+v", one)
	}
	e.wantSame("the suppression", s, one[0].Change.Suppression)
	if q := e.queueOf(20); q.Waiting != 0 {
		e.Errorf("queue = %+v", q)
	}
	if q := e.queueOf(21); q.Waiting != 0 {
		e.Errorf("queue of one that wants no changes = %+v", q)
	}
}

// notificationsImage kills the engine at once after the event was recorded: before it was queued, after that, and after
// the try.
func notificationsImage(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true, SubscriptionChange: true}))
	m := e.accept(start, "one.example")
	e.finish(part(m, 0), 0, start)
	early := e.image()
	n := e.waitHooks(20, at(1), 1)[0]
	late := e.image()
	e.suppress(1, bounced("one@a.example"))
	for what, crashed := range map[string]*env{"early": early, "late": late} {
		crashed.reopen()
		got := crashed.claimHooks(20, at(1), 10)
		if len(got) != 1 || got[0].ID != n.ID {
			e.Fatalf("%s image has %+v, want the notification %s once", what, got, n.ID)
		}
		crashed.settle(result(got[0], store.NotificationDone, at(1), time.Time{}))
		again := crashed.image()
		again.reopen()
		if got := again.claimHooks(20, at(time.Hour), 10); len(got) != 0 {
			e.Errorf("%s image after the try has %+v", what, got)
		}
	}
	crashed := e.image()
	if got := crashed.waitHooks(20, at(time.Hour), 2); got[0].Trigger == got[1].Trigger {
		e.Errorf("image has %+v, want a delivery and a change of a list", got)
	}
}

func notificationsEnd(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}), webhook(21, store.Triggers{Delivery: true}))
	e.two()
	e.kill(20, at(9), 1)
	e.kill(21, at(9), 1)
	e.change(store.Change{Delete: true, Webhook: &store.Webhook{ID: 20}})
	if got := e.claimHooks(20, at(9), 10); len(got) != 0 {
		e.Errorf("claimed for a webhook that is gone: %+v", got)
	}
	n, err := e.SweepNotifications(e.ctx(), at(10), store.NotificationLimits{})
	e.must(err)
	if n != 3 {
		e.Errorf("swept %d, want 3", n)
	}
	e.reopen()
	if n, err := e.SweepNotifications(e.ctx(), at(10), store.NotificationLimits{}); n != 0 || err != nil {
		e.Errorf("swept %d again, %v", n, err)
	}
	if q := e.queueOf(21); q.Waiting+q.Dead != 3 {
		e.Errorf("queue of the other = %+v", q)
	}
	e.change(store.Change{Delete: true, Stream: &store.Stream{Server: 7, ID: "outbound"}})
	if left := e.Snapshot().Webhooks; len(left) != 0 {
		e.Errorf("webhooks of a stream that is gone: %+v", left)
	}
}

func notificationsLimits(e *env) {
	e.hook(webhook(20, store.Triggers{SubscriptionChange: true}))
	for i := range 10 {
		s := bounced(fmt.Sprintf("%d@a.example", i))
		s.Created = at(time.Duration(i))
		e.suppress(1, s)
	}
	e.waitHooks(20, at(100), 10)
	n, err := e.SweepNotifications(e.ctx(), at(100), store.NotificationLimits{Waiting: 4, Dead: 5})
	e.must(err)
	dead := e.deadOf(20)
	if q := e.queueOf(20); n != 7 || q.Waiting != 4 || q.Dead != 5 || !q.Oldest.Equal(at(6)) {
		e.Errorf("swept %d, queue = %+v", n, q)
	}
	if dead[0].Last.Error == "" || !dead[0].Dead.Equal(at(100)) {
		e.Errorf("dead = %+v", dead[0])
	}
	n, err = e.SweepNotifications(e.ctx(), at(200), store.NotificationLimits{DeadSince: at(101)})
	e.must(err)
	if q := e.queueOf(20); n != 5 || q.Dead != 0 || q.Waiting != 4 {
		e.Errorf("swept %d, queue = %+v", n, q)
	}
}

func notificationsForgotten(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}))
	m := e.accept(start, "one.example")
	e.finish(part(m, 0), 0, start)
	e.prune(at(1), 1)
	e.reopen()
	if got := e.claimHooks(20, at(9), 10); len(got) != 1 || got[0].Message != m.ID {
		e.Errorf("notifications = %+v", got)
	}
}

func notificationsWatch(e *env) {
	e.hook(webhook(20, store.Triggers{Delivery: true}), webhook(21, store.Triggers{SubscriptionChange: true}))
	first, _ := e.two()
	e.reopen()
	ctx, stop := context.WithCancel(e.ctx())
	seen, ended := make(chan int64, 100), make(chan error, 1)
	go func() {
		ended <- e.WatchNotifications(ctx, func(all []int64) {
			for _, id := range all {
				seen <- id
			}
		})
	}()
	next := func(want int64) {
		e.Helper()
		select {
		case got := <-seen:
			if got != want {
				e.Errorf("told of webhook %d, want %d", got, want)
			}
		case <-time.After(10 * time.Second):
			e.Fatalf("not told of webhook %d", want)
		}
	}
	next(20)
	e.suppress(1, bounced("one@a.example"))
	next(21)
	for _, n := range e.claimHooks(20, at(9), 10) {
		if n.Message == first.ID {
			e.settle(result(n, store.NotificationDone, at(9), time.Time{})) // the second of the message becomes due
		}
	}
	next(20)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		e.Errorf("WatchNotifications = %v", err)
	}
}
