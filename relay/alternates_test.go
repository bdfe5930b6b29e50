package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestDispatcher_DeadRouteOfAnotherStream: two streams share a smarthost that is dead; the one that has a second route uses it.
func TestDispatcher_DeadRouteOfAnotherStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := store.Route{Host: "a.test", Port: 25}
		q := newQueue()
		d := newDirectory(t, store.Stream{ID: "outbound", Route: first},
			store.Stream{ID: "other", Route: first, Alternates: []store.Route{{Host: "b.test", Port: 25}}})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			if j.Route.Host == "b.test" {
				return all(j, delivered())
			}
			return all(j, relay.Result{Err: context.DeadlineExceeded, Reply: store.Reply{Command: "connect", Enhanced: [3]int{4, 4, 1}, Text: "no answer"}})
		}}
		start(t, q, d, relay.Options{Transport: tr})
		q.submit("outbound", time.Now(), "b@example.test")
		synctest.Wait()
		id := q.submit("other", time.Now(), "b@example.test")
		synctest.Wait()
		if got := q.delivery(id).Recipients[0]; got.State != store.Sent {
			t.Errorf("mail with a second route is %s: %s", got.State, got.Last.Text)
		}
	})
}
