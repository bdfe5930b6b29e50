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

// TestSend_KnownAfterPanicBehindTheDot is a panic between the final dot and the result: the host has the message.
func TestSend_KnownAfterPanicBehindTheDot(t *testing.T) {
	for name, script := range map[string]testmx.Script{"DATA": {TLS: testmx.NoTLS}, "BDAT": {TLS: testmx.NoTLS, Chunking: true}} {
		t.Run(name, func(t *testing.T) {
			w, mx := single(t, script)
			o := w.options()
			o.Now = func() time.Time {
				if len(mx.Messages()) > 0 {
					panic("poison")
				}
				return time.Now()
			}
			var known []relay.Result
			j := job()
			j.Known = &known
			tr := transport(t, o)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				tr.Send(t.Context(), j)
			}()
			if len(known) != 1 || known[0].Verdict() != relay.Uncertain || known[0].Route != j.Route.Key() {
				t.Errorf("known: %+v, want it uncertain, by route %q", known, j.Route.Key())
			}
			mx.WaitClosed()
		})
	}
}

// poisonedQueue panics when it is to record a result.
type poisonedQueue struct{ *fakeQueue }

func (poisonedQueue) Resolve(context.Context, store.Resolution) error { panic("poison") }

// TestDispatcher_PanicWhileRecording gives back the places on all routes that the attempt had taken.
func TestDispatcher_PanicWhileRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		no := silent()
		tr.set("a.test", &no)
		disp, err := relay.New(poisonedQueue{q}, d, relay.Options{Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- disp.Run(ctx) }()
		q.submit("outbound", time.Now(), "b@example.test", "c@example.test")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := tr.counts(); got != "b.test:2" {
			t.Errorf("recipients by route: %s, want them handed over by the second", got)
		}
		for i, used := range []int{0, 2} {
			if s := disp.Routes(store.StreamKey{Server: 1, Stream: "outbound"})[i]; s.InFlight != 0 || s.Used != used {
				t.Errorf("route %s has %d attempts under way and %d recipients counted, want none and %d", s.Route, s.InFlight, s.Used, used)
			}
		}
		for _, s := range disp.Sites() {
			if s.InFlight != 0 {
				t.Errorf("site %s has %d attempts under way", s.Key, s.InFlight)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}
