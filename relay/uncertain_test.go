package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// held streams wait for a person with what may have arrived, the others send it again.
var uncertainStreams = []store.Stream{{ID: "resend"}, {ID: "hold", Uncertain: store.UncertainHold}}

// A lost answer to the final dot is treated as the stream wants.
func TestUncertain_LostAnswer(t *testing.T) {
	for _, stream := range uncertainStreams {
		t.Run(stream.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, d := newQueue(), newDirectory(t, stream)
				tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
					if err := j.Ending(ctx, "mx"); err != nil {
						t.Error(err)
					}
					return all(j, relay.Result{Uncertain: true, Err: errors.New("closed"), Reply: store.Reply{Command: "dot"}})
				}}
				start(t, q, d, relay.Options{Transport: tr, Policy: relay.Policy{Jitter: -1}})
				id := q.submit(stream.ID, time.Now(), "b@example.test")
				time.Sleep(time.Hour)
				synctest.Wait()
				got := q.delivery(id)
				hold := stream.ID == "hold"
				if got.Held.IsZero() == hold || !got.Uncertain || hold && got.Attempt != 1 || !hold && got.Attempt < 2 {
					t.Errorf("held since %v, uncertain %v, attempt %d", got.Held, got.Uncertain, got.Attempt)
				}
				if said := fmt.Sprint(q.timeline(id)); strings.Contains(said, "release it to send it again") != hold {
					t.Errorf("events: %s", said)
				}
			})
		})
	}
}

// Also where its time ends in that attempt: then it expires only where nobody is asked.
func TestUncertain_LostAnswerAtTheEndOfItsTime(t *testing.T) {
	for _, stream := range uncertainStreams {
		t.Run(stream.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, d := newQueue(), newDirectory(t, stream)
				tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
					time.Sleep(2 * time.Minute)
					return all(j, relay.Result{Uncertain: true, Err: errors.New("closed"), Reply: store.Reply{Command: "dot"}})
				}}
				id := q.submit(stream.ID, time.Now(), "b@example.test")
				q.mu.Lock()
				last := q.deliveries[store.DeliveryID{Message: id}]
				last.Expires = time.Now().Add(time.Minute)
				q.deliveries[last.ID] = last
				q.mu.Unlock()
				start(t, q, d, relay.Options{Transport: tr})
				time.Sleep(12 * time.Hour)
				synctest.Wait()
				got := q.delivery(id)
				if stream.ID == "hold" && (got.Held.IsZero() || !got.HeldUncertain || got.Attempt != 1 || len(q.notices(id)) > 0) {
					t.Errorf("%+v, %d notices", got, len(q.notices(id)))
				}
				if stream.ID == "resend" && (got.Recipients[0].State != store.Expired || len(q.notices(id)) != 1) {
					t.Errorf("%+v, %d notices", got, len(q.notices(id)))
				}
			})
		})
	}
}

// What may have arrived is shown as such until it is sent, refused, or given up, however often it fails before its final dot.
func TestUncertain_StaysUntilItIsDone(t *testing.T) {
	for _, end := range []relay.Result{delivered(), refused(550, "rcpt")} {
		synctest.Test(t, func(t *testing.T) {
			q, d := newQueue(), newDirectory(t, uncertainStreams[0])
			results := []relay.Result{
				{Uncertain: true, Err: errors.New("closed"), Reply: store.Reply{Command: "dot"}, Route: "mx"},
				refused(450, "rcpt"), {Err: errors.New("no route to host"), Reply: store.Reply{Command: "connect"}}, end,
			}
			sent := 0
			tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { sent++; return all(j, results[sent-1]) }}
			start(t, q, d, relay.Options{Transport: tr, Policy: relay.Policy{Jitter: -1}})
			id := q.submit("resend", time.Now(), "b@example.test")
			for attempt := range results {
				time.Sleep(time.Hour)
				synctest.Wait()
				if got := q.delivery(id); !got.Done() && (!got.Uncertain || got.Attempt < attempt) || got.Done() && (got.Uncertain || got.Attempt != len(results)) {
					t.Errorf("after attempt %d: %+v", attempt+1, got)
				}
			}
			if got := q.delivery(id); !got.Done() {
				t.Errorf("%+v", got)
			}
		})
	}
}

// So is an attempt that was cut off between the end of its content and its result.
func TestUncertain_CutOff(t *testing.T) {
	for _, stream := range uncertainStreams {
		t.Run(stream.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, d := newQueue(), newDirectory(t, stream)
				id := q.submit(stream.ID, time.Now(), "b@example.test")
				part := store.DeliveryID{Message: id}
				q.mu.Lock()
				cut := q.deliveries[part]
				cut.Attempt, cut.Ending = 1, "mx"
				q.deliveries[part] = cut
				q.mu.Unlock()
				sent := 0
				tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { sent++; return all(j, delivered()) }}
				start(t, q, d, relay.Options{Transport: tr, Policy: relay.Policy{Jitter: -1}})
				synctest.Wait()
				got, hold := q.delivery(id), stream.ID == "hold"
				if hold && (sent != 0 || got.Held.IsZero() || !got.Uncertain) || !hold && (sent != 1 || !got.Done()) {
					t.Errorf("sent %d times, held since %v, %+v", sent, got.Held, got)
				}
				events := q.timeline(id)
				if len(events) == 0 || events[0].Kind != store.EventUncertain || !strings.Contains(events[0].Detail, "cut off") || events[0].Attempt != 1 {
					t.Errorf("events: %+v", events)
				}
			})
		})
	}
}

// What was cut off is held also where its first claim could not be decided, and where its time was over by then.
func TestUncertain_HoldOutlasts(t *testing.T) {
	for name, change := range map[string]func(d *store.Delivery, l *lists){
		"a list that cannot be read": func(_ *store.Delivery, l *lists) { l.set(errors.New("disk")) },
		"its time":                   func(d *store.Delivery, _ *lists) { d.Attempt, d.Expires = 3, time.Now() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, d, list := newQueue(), newDirectory(t, uncertainStreams[1]), &lists{}
				id := q.submit("hold", time.Now(), "b@example.test")
				part := store.DeliveryID{Message: id}
				q.mu.Lock()
				cut := q.deliveries[part]
				cut.Attempt, cut.Ending = 1, "mx"
				change(&cut, list)
				q.deliveries[part] = cut
				q.announce(cut)
				q.mu.Unlock()
				sent := 0
				tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { sent++; return all(j, delivered()) }}
				start(t, q, d, relay.Options{Transport: tr, Suppressions: list})
				time.Sleep(time.Second)
				synctest.Wait()
				list.set(nil)
				time.Sleep(12 * time.Hour)
				synctest.Wait()
				if got := q.delivery(id); sent != 0 || got.Held.IsZero() || !got.Uncertain {
					t.Errorf("sent %d times, held since %v, %+v", sent, got.Held, got)
				}
			})
		})
	}
}

// What cannot be recorded is not ended: nobody has the message then.
func TestUncertain_NothingIsEndedUnrecorded(t *testing.T) {
	for _, stream := range uncertainStreams {
		t.Run(stream.ID, func(t *testing.T) {
			w, mx := single(t, testmx.Script{})
			q, d := newQueue(), newDirectory(t, stream)
			q.endingErr = errors.New("disk on fire")
			start(t, q, d, w.options())
			id := q.submit(stream.ID, time.Now(), "b@example.test")
			await(t, func() bool { return len(q.timeline(id)) > 0 })
			if n := len(mx.Messages()); n != 0 {
				t.Errorf("the remote has %d messages", n)
			}
			if got := q.delivery(id); got.Uncertain || got.Done() {
				t.Errorf("delivery %+v", got)
			}
		})
	}
}

// Before the end of the content every delivery is announced, by its route.
func TestUncertain_AnnouncedBeforeTheDot(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		w, _ := single(t, testmx.Script{Chunking: chunking})
		q, d := newQueue(), newDirectory(t, uncertainStreams[1])
		start(t, q, d, w.options())
		id := q.submit("hold", time.Now(), "b@example.test", "c@example.test")
		await(t, func() bool { return len(q.timeline(id)) > 0 })
		q.mu.Lock()
		n := q.endings
		q.mu.Unlock()
		if got := q.delivery(id); n != 1 || got.Recipients[0].State != store.Sent {
			t.Errorf("chunking %v: %d announcements, %+v", chunking, n, got)
		}
	}
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not happened")
		}
	}
}
