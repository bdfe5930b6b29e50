package relay_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// mailing is a broadcast to destinations that answer nothing until the attempt is cancelled, with a transactional stream
// of the same server and one of another.
type mailing struct {
	q  *fakeQueue
	d  *fakeDirectory
	mu sync.Mutex
	at map[store.ID]time.Time // when the attempt began, of all but the broadcast
}

func newMailing(t testing.TB, messages int) (*mailing, *fakeTransport) {
	m := &mailing{q: newQueue(), at: map[store.ID]time.Time{},
		d: newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "broadcast", Kind: store.Broadcast, Weight: 100})}
	for i := range messages {
		m.q.submit("broadcast", time.Now(), fmt.Sprintf("b@slow-%d.test", i%10_000))
	}
	return m, &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
		if j.Message.Stream == "broadcast" {
			<-ctx.Done()
			return all(j, relay.Result{Err: context.Cause(ctx)})
		}
		m.mu.Lock()
		m.at[j.Message.ID] = time.Now()
		m.mu.Unlock()
		return all(j, delivered())
	}}
}

// latency submits one message after the other, n of them, and returns how long each waited for its attempt.
func (m *mailing) latency(t testing.TB, n int, pause time.Duration) []time.Duration {
	t.Helper()
	var out []time.Duration
	for i := range n {
		began := time.Now()
		id := m.q.submit("outbound", began, fmt.Sprintf("b@fast-%d.test", i%7))
		m.q.until(t, "a message of outbound", func() bool { return m.q.messagesDone(id) })
		m.mu.Lock()
		out = append(out, m.at[id].Sub(began))
		m.mu.Unlock()
		time.Sleep(pause)
	}
	slices.Sort(out)
	return out
}

// TestDispatcher_OutboundPassesABroadcast is the promise of the benchmark below, in little.
func TestDispatcher_OutboundPassesABroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tr := newMailing(t, 5000)
		disp, stop := start(t, m.q, m.d, relay.Options{Transport: tr})
		time.Sleep(time.Second)
		synctest.Wait()
		if s := disp.Status(); s.InFlight < 130 || s.InFlight > 140 {
			t.Errorf("%d attempts under way, want two thirds of 200", s.InFlight)
		}
		if got := m.latency(t, 300, time.Second); got[len(got)-1] > time.Second {
			t.Errorf("a message of outbound waited %v", got[len(got)-1])
		}
		stop()
	})
}

// BenchmarkDispatcher_OutboundBehindBroadcast shows that the next message of outbound leaves within a second at p99 while
// 100,000 broadcast messages to 10,000 destinations that answer nothing are queued before it.
func BenchmarkDispatcher_OutboundBehindBroadcast(b *testing.B) {
	m, tr := newMailing(b, 100_000)
	disp, stop := start(b, m.q, m.d, relay.Options{Transport: tr})
	for disp.Status().InFlight < 134 {
		time.Sleep(10 * time.Millisecond)
	}
	b.ResetTimer()
	var all []time.Duration
	for b.Loop() {
		all = append(all, m.latency(b, 1, 0)...)
	}
	b.StopTimer()
	slices.Sort(all)
	p99 := all[len(all)*99/100]
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(p99.Microseconds()), "p99-µs")
	b.ReportMetric(float64(all[len(all)-1].Microseconds()), "max-µs")
	if p99 > time.Second {
		b.Errorf("p99 is %v, want at most a second", p99)
	}
	stop()
}
