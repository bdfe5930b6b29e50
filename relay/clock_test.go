package relay_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestDispatcher_ClockJumpExpiresNothing lets the clock jump a year ahead while mail waits for its next attempt.
func TestDispatcher_ClockJumpExpiresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		var attempts atomic.Int64
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			attempts.Add(1)
			return all(j, refused(450, "rcpt"))
		}}
		disp, _ := start(t, q, d, relay.Options{Transport: tr, Now: now, Hostname: "relay.test"})
		id := q.submit("outbound", now(), "b@example.test")
		time.Sleep(2 * time.Hour)
		offset.Store(int64(365 * 24 * time.Hour))
		if by := disp.Jumped(); by != 365*24*time.Hour {
			t.Errorf("jumped by %v, want a year", by)
		}
		before := attempts.Load()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		since := attempts.Load() - before
		if got := q.delivery(id).Recipients[0].State; got != store.Queued || since < 5 || since > 9 {
			t.Errorf("a day after the jump: %s, %d attempts since, want queued and one every four hours", got, since)
		}
		time.Sleep(5 * 24 * time.Hour)
		synctest.Wait()
		if got := q.delivery(id).Recipients[0].State; got != store.Expired {
			t.Errorf("after its five days: %s, want expired", got)
		}
	})
}

// TestDispatcher_ClockGoesBack puts mail off under a clock that is a year ahead, and then sets it right.
func TestDispatcher_ClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		year := int64(365 * 24 * time.Hour)
		now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		var attempts atomic.Int64
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			if attempts.Add(1) == 2 {
				return all(j, delivered())
			}
			return all(j, refused(450, "rcpt"))
		}}
		offset.Store(year)
		disp, _ := start(t, q, d, relay.Options{Transport: tr, Now: now, Holder: q, Hostname: "relay.test"})
		id := q.submit("outbound", now(), "b@example.test")
		synctest.Wait()
		if err := disp.ClockFault(); err != nil {
			t.Errorf("before the jump: %v", err)
		}
		offset.Store(0)
		time.Sleep(6 * time.Hour) // a minute until it is noticed, and the longest wait of any decision
		synctest.Wait()
		if got := q.delivery(id).Recipients[0].State; got != store.Sent {
			t.Errorf("six hours after the clock went back: %s, want sent", got)
		}
		if err := disp.ClockFault(); err == nil || !strings.Contains(err.Error(), "jumped back by 8760h0m") {
			t.Errorf("ClockFault = %v", err)
		}
	})
}

// TestDispatcher_StartsUnderTheRightClock finds mail that a process with a clock far ahead has put off.
func TestDispatcher_StartsUnderTheRightClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, delivered()) }}
		far := q.submit("outbound", time.Now().Add(365*24*time.Hour), "b@example.test")
		near := q.submit("outbound", time.Now().Add(3*time.Hour), "c@example.test")
		start(t, q, d, relay.Options{Transport: tr, Holder: q})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := q.delivery(near).Recipients[0].State; got != store.Queued {
			t.Errorf("what is due in three hours is %s after two", got)
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if got := q.delivery(far); got.Recipients[0].State != store.Sent || got.Attempt != 1 {
			t.Errorf("what was due in a year is %s after six hours and %d attempts, want sent by the first", got.Recipients[0].State, got.Attempt)
		}
	})
}

// TestPolicy_LateIsNoReasonToExpire: what could not be tried while time passed gets one more attempt.
func TestPolicy_LateIsNoReasonToExpire(t *testing.T) {
	d := store.Delivery{Attempt: 2, Due: day0, Expires: day0.Add(10 * time.Minute)}
	for after, want := range map[time.Duration]bool{time.Minute: false, 10 * time.Minute: true, 59 * time.Minute: true, time.Hour: false, 400 * 24 * time.Hour: false} {
		if got := policy().Expired(d, day0.Add(after)); got != want {
			t.Errorf("Expired %v after it was due = %v, want %v", after, got, want)
		}
	}
}
