package relay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestCopiesThatDiffer: each has a transaction of its own, with its own size, and is signed on its own; a failure of the
// signature keeps all of them here.
func TestCopiesThatDiffer(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Extra: []string{"SIZE 100000"}})
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
	signer := &fakeSigner{fields: signature}
	o := w.options()
	o.Signer = signer
	o.Unsubscribe = func(m store.Message, n int, address string) []byte {
		return fmt.Appendf(nil, "X-Link: %s%d-%s\r\n", m.Unsubscribe, n, address)
	}
	start(t, q, d, o)
	id := original(q, func(m *store.Message, _ *store.Delivery) { m.Unsubscribe = "u/" })
	q.until(t, "the result", func() bool { return q.delivery(id).Done() })
	var want, got []string
	for i, r := range q.delivery(id).Recipients {
		if r.State != store.Sent {
			t.Errorf("%s: %+v", r.Address, r.Last)
		}
		want = append(want, fmt.Sprintf("%s: %sX-Link: u/%d-%s", r.Address, signature, i, r.Address))
	}
	for _, m := range mx.Wait(len(want)) {
		top, _, _ := strings.Cut(string(m.Body), "\r\nFrom:")
		got = append(got, m.To[0].Address+": "+top)
		if size := fmt.Sprintf("SIZE=%d", len(m.Body)); len(m.To) != 1 || !strings.Contains(m.Params, size) {
			t.Errorf("to %v with %q, want one and %s", m.To, m.Params, size)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if signer.asked != len(want) {
		t.Errorf("signed %d times", signer.asked)
	}
	if n := len(commands(mx, 1)); n == 0 {
		t.Error("not on one connection")
	}
}

// A message that has no links is one for all, and so is a redirected one.
func TestCopiesThatAreAlike(t *testing.T) {
	for _, c := range []struct {
		stream store.Stream
		url    string
	}{{store.Stream{ID: "outbound"}, ""}, {store.Stream{ID: "outbound", Mode: store.ModeRedirect, RedirectTo: "dev@example.test"}, "u/"}} {
		w, mx := single(t, testmx.Script{TLS: testmx.NoTLS})
		q := newQueue()
		o := w.options()
		o.Unsubscribe = func(store.Message, int, string) []byte { return []byte("X-Link: u\r\n") }
		start(t, q, newDirectory(t, c.stream), o)
		id := original(q, func(m *store.Message, _ *store.Delivery) { m.Unsubscribe = c.url })
		q.until(t, "the result", func() bool { return q.delivery(id).Done() })
		if got := mx.Wait(1); len(got) != 1 || strings.Contains(string(got[0].Body), "X-Link") {
			t.Errorf("%q: %d messages, the first\n%s", c.stream.Mode, len(got), got[0].Body)
		}
		redirected := slices.ContainsFunc(q.timeline(id), func(e store.Event) bool { return e.Kind == store.EventSent && relay.Redirected(e) })
		if redirected != (c.stream.Mode == store.ModeRedirect) {
			t.Errorf("%q: redirected is %v: %+v", c.stream.Mode, redirected, q.timeline(id))
		}
	}
}

// What is said of the content of such a copy is said of its recipient.
func TestCopyRefusedAfterData(t *testing.T) {
	w, _ := single(t, testmx.Script{TLS: testmx.NoTLS, Steps: map[testmx.Phase][]testmx.Step{testmx.Dot: {{Reply: "550 5.1.1 user unknown"}}}})
	q := newQueue()
	dead := &list{}
	o := w.options()
	o.Suppressor = dead
	o.Unsubscribe = func(store.Message, int, string) []byte { return []byte("X-Link: u\r\n") }
	start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), o)
	id := original(q, func(m *store.Message, _ *store.Delivery) { m.Unsubscribe = "u/" })
	q.until(t, "the result", func() bool { return q.delivery(id).Done() })
	dead.mu.Lock()
	defer dead.mu.Unlock()
	if first := q.delivery(id).Recipients[0]; len(dead.got) != 1 || dead.got[0].Address != first.Address || time.Since(dead.got[0].At) > time.Minute {
		t.Errorf("suppressed %+v, want %s", dead.got, first.Address)
	}
}
