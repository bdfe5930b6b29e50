package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// lists is the suppression list of every stream.
type lists struct {
	mu  sync.Mutex
	on  []string
	err error
}

func (l *lists) set(err error, on ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.on = err, on
}

func (l *lists) Suppressed(_ context.Context, server int64, stream string, addresses ...string) (out []store.Suppression, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addresses {
		if slices.Contains(l.on, a) {
			out = append(out, store.Suppression{Server: server, Stream: stream, Address: a, Reason: store.SuppressedSpamComplaint, Origin: store.OriginRecipient, Created: day0})
		}
	}
	return out, l.err
}

// TestDispatcher_SuppressedWhileItWaited greylists three recipients, puts two of them on the list, and lets the mail go on.
func TestDispatcher_SuppressedWhileItWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		var mu sync.Mutex // two deliveries are tried at once
		var tried []string
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range j.Recipients {
				tried = append(tried, r.Address)
			}
			if len(tried) <= 4 {
				return all(j, refused(450, "rcpt"))
			}
			return all(j, delivered())
		}}
		list := &lists{}
		start(t, q, d, relay.Options{Transport: tr, Suppressions: list, Hostname: "relay.test"})
		some := q.submit("outbound", time.Now(), "a@example.test", "B@Example.test", "c@example.test")
		whole := q.submit("outbound", time.Now(), "b@example.test")
		synctest.Wait()
		list.set(nil, "b@example.test", "c@example.test")
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		states := ""
		for _, r := range slices.Concat(q.delivery(some).Recipients, q.delivery(whole).Recipients) {
			states += fmt.Sprint(r.State, " ")
		}
		if states != "sent suppressed suppressed suppressed " || len(tried) != 5 || tried[4] != "a@example.test" {
			t.Errorf("states %s after %v, want the first alone tried again", states, tried)
		}
		var told []string
		for _, e := range q.timeline(some) {
			if e.Kind == store.EventSuppressed {
				told = append(told, e.Recipient+" "+e.Detail)
			}
		}
		if len(told) != 2 || !strings.HasPrefix(told[0], "B@Example.test not sent: SpamComplaint by the Recipient since ") {
			t.Errorf("suppressed events = %q", told)
		}
		if n := len(q.notices(some)) + len(q.notices(whole)); n != 0 {
			t.Errorf("%d notices to the sender, want none", n)
		}
	})
}

// TestDispatcher_ListCannotBeRead waits instead of writing to somebody who must not be written to.
func TestDispatcher_ListCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "redirected", Mode: store.ModeRedirect, RedirectTo: "dev@team.test"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, delivered()) }}
		list := &lists{err: errors.New("disk")}
		disp, _ := start(t, q, d, relay.Options{Transport: tr, Suppressions: list})
		id, redirected := q.submit("outbound", time.Now(), "b@example.test"), q.submit("redirected", time.Now(), "b@example.test")
		synctest.Wait()
		if got := q.delivery(id).Recipients[0]; got.State != store.Queued || !strings.Contains(got.Last.Text, "suppressions: disk") {
			t.Errorf("recipient = %+v, want it to wait for the list", got)
		}
		if got := q.delivery(redirected).Recipients[0].State; got != store.Sent {
			t.Errorf("redirected mail is %s, want sent: its recipients are not written to", got)
		}
		if s := disp.Sites(); slices.ContainsFunc(s, func(s relay.SiteStatus) bool { return s.Key == "example.test" }) {
			t.Errorf("Sites = %+v, want nothing learned", s)
		}
		list.set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := q.delivery(id).Recipients[0].State; got != store.Sent {
			t.Errorf("when the list can be read again: %s, want sent", got)
		}
	})
}

// ownBounces are the lists after a crash between listing an address and recording the result of the attempt that told it:
// they say that the message asked about bounced.
type ownBounces struct{ about store.ID }

func (o *ownBounces) Suppressed(_ context.Context, server int64, stream string, addresses ...string) (out []store.Suppression, err error) {
	for _, a := range addresses {
		out = append(out, store.Suppression{
			Server: server, Stream: stream, Address: a, Reason: store.SuppressedHardBounce, Origin: store.OriginRecipient, Created: day0, Message: o.about,
		})
	}
	return out, nil
}

// TestDispatcher_ItsOwnBounceWithholdsNothing: the sender learns of a refusal although the process died in the midst of it.
func TestDispatcher_ItsOwnBounceWithholdsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, refused(550, "rcpt")) }}
		list := &ownBounces{}
		own := q.submit("outbound", time.Now().Add(time.Minute), "nobody@example.test")
		other := q.submit("outbound", time.Now().Add(time.Minute), "nobody@example.test")
		list.about = own
		start(t, q, d, relay.Options{Transport: tr, Suppressions: list, Hostname: "relay.test"})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got, n := q.delivery(own).Recipients[0].State, len(q.notices(own)); got != store.Bounced || n != 1 {
			t.Errorf("its own bounce: %s with %d notices, want bounced and one", got, n)
		}
		if got, n := q.delivery(other).Recipients[0].State, len(q.notices(other)); got != store.Suppressed || n != 0 {
			t.Errorf("another's bounce: %s with %d notices, want suppressed and none", got, n)
		}
	})
}
