package webhook

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// accepting counts the messages that 32 writers get accepted within a time.
func (r *rig) accepting(d time.Duration) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	body := make([]byte, 4096)
	for range 32 {
		wg.Go(func() {
			for time.Since(start) < d {
				m := store.Message{ID: store.NewID(), Server: 1, Stream: "s0", Accepted: time.Now(), From: "app@example.com"}
				draft, err := r.Begin(r.Context())
				if err == nil {
					_, err = draft.Write(body)
				}
				if err == nil {
					err = draft.Commit(r.Context(), m, []store.Delivery{{Destination: "example.org", Due: m.Accepted, Recipients: []store.Recipient{{Address: "a@example.org"}}}})
				}
				if err != nil {
					r.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(start).Seconds()
}

// backlog makes 100,000 events due.
func (r *rig) backlog(from int) {
	r.Helper()
	for i := range 100 {
		var all []store.Suppression
		for j := range 1000 {
			all = append(all, store.Suppression{Server: 1, Stream: "s0", Address: fmt.Sprintf("%d.%d.%d@example.org", from, i, j), Reason: store.SuppressedManually,
				Origin: store.OriginCustomer, Created: time.Now()})
		}
		if _, err := r.Suppress(r.Context(), all...); err != nil {
			r.Fatal(err)
		}
	}
}

// BenchmarkAccept_WhileDue shows what acceptance loses while 100,000 events are
// due, against turns without a sender.
func BenchmarkAccept_WhileDue(b *testing.B) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"fast":    func(http.ResponseWriter, *http.Request) {},
		"50ms":    func(_ http.ResponseWriter, r *http.Request) { time.Sleep(50 * time.Millisecond) },
		"failing": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"closed":  nil,
	} {
		b.Run(name, func(b *testing.B) {
			url := closed.URL
			if answer != nil {
				e := httptest.NewServer(http.HandlerFunc(answer))
				defer e.Close()
				url = e.URL
			}
			r := newRig(b, store.Webhook{ID: 1, URL: url, Triggers: allTriggers})
			r.backlog(0)
			var with, without []float64
			for range 7 {
				without = append(without, r.accepting(700*time.Millisecond))
				stop := r.run(Options{settleEvery: time.Second})
				with = append(with, r.accepting(700*time.Millisecond))
				stop()
			}
			slices.Sort(with)
			slices.Sort(without)
			q := r.queue(1)
			b.ReportMetric(without[3], "idle-msg/s") // medians: other work on the machine comes in bursts
			b.ReportMetric(with[3], "busy-msg/s")
			b.ReportMetric(100*(1-with[3]/without[3]), "loss%")
			b.ReportMetric(float64(100_000-q.Waiting)/4.9, "events/s")
		})
	}
}
