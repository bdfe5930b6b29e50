package relay_test

import (
	"context"
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
		start(t, q, d, relay.Options{Transport: tr, Now: now, Hostname: "relay.test"})
		id := q.submit("outbound", now(), "b@example.test")
		time.Sleep(2 * time.Hour)
		offset.Store(int64(365 * 24 * time.Hour))
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
