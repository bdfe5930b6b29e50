package relay_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestDispatcher_PanicAfterSomeHaveIt: who has the message, or may have it, when an attempt ends in a panic is not sent it
// again; the others are.
func TestDispatcher_PanicAfterSomeHaveIt(t *testing.T) {
	refused := relay.Result{Reply: store.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Command: "rcpt", Host: "mx1.example.test", Text: "unknown"}}
	maybe := relay.Result{Err: io.ErrUnexpectedEOF, Uncertain: true, Route: "mx"}
	for _, stream := range []store.Stream{{ID: "outbound"}, {ID: "outbound", Mode: store.ModeRedirect, RedirectTo: "dev@team.test"}} {
		t.Run(string(stream.Mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var tries [][]string
				q := newQueue()
				tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
					mu.Lock()
					defer mu.Unlock()
					var to []string
					for _, r := range j.Recipients {
						to = append(to, r.Address)
					}
					if to[0] == "sender@sender.test" {
						return all(j, delivered())
					}
					if tries = append(tries, to); len(tries) > 1 {
						return all(j, delivered())
					}
					*j.Known = []relay.Result{delivered(), refused, maybe, {}}[:len(to)]
					panic("poison")
				}}
				start(t, q, newDirectory(t, stream), relay.Options{Transport: tr, Holder: q})
				id := q.submit("outbound", time.Now(), "taken@example.test", "refused@example.test", "maybe@example.test", "open@example.test")
				synctest.Wait()
				states := ""
				for _, r := range q.delivery(id).Recipients {
					states += string(r.State) + " "
				}
				want := "sent queued queued queued "
				if stream.Mode == store.ModeRedirect {
					want = "sent sent sent sent "
				}
				if states != want {
					t.Fatalf("after the panic: %s, want %s", states, want)
				}
				if d := q.delivery(id); stream.Mode != store.ModeRedirect && (!d.Uncertain || d.Route != "mx" || time.Until(d.Due) < 25*time.Minute) {
					t.Errorf("an attempt that may have succeeded: uncertain %v, route %q, due in %v", d.Uncertain, d.Route, time.Until(d.Due))
				}
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if len(tries) > 2 || len(tries) == 2 && (len(tries[1]) != 3 || tries[1][0] == "taken@example.test") || q.unfinished() != 0 {
					t.Errorf("tried %v, %d unfinished", tries, q.unfinished())
				}
			})
		})
	}
}

// TestSend_KnownAfterPanic is a panic of something that Send calls, in the second of three transactions.
func TestSend_KnownAfterPanic(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS})
	j := many(3)
	var known []relay.Result
	opened := 0
	j.Known = &known
	j.Open = func(ctx context.Context) (io.ReadCloser, error) {
		if opened++; opened == 2 {
			panic("poison")
		}
		return open(body)(ctx)
	}
	tr := transport(t, w.options())
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		tr.Send(t.Context(), j)
	}()
	if s := fates(known); s != "delivered 250 dot, temporary 0 , temporary 0 " || len(mx.Messages()) != 1 {
		t.Errorf("known: %s, with %d messages at the host", s, len(mx.Messages()))
	}
	mx.WaitClosed()
}
