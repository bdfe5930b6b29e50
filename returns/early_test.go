package returns_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// queued is a message of which one recipient waits.
func (w *world) queued() store.ID {
	w.Helper()
	return w.sent(func(_ *store.Message, ds []store.Delivery) { ds[0].Recipients[0].State = store.Queued })
}

// handOver claims the delivery of nobody@example.org, as an attempt does.
func (w *world) handOver(id store.ID) store.Claimed {
	w.Helper()
	now := w.clock()
	c, err := w.db.Claim(w.Context(), store.DeliveryID{Message: id}, 0, now, now.Add(30*time.Minute))
	w.must(err)
	return c
}

// TestBounceBeforeTheResult: a host may bounce a message in the time between its 250 and our record of it.
func TestBounceBeforeTheResult(t *testing.T) {
	w := newWorld(t, nil)
	id := w.queued()
	claimed := w.handOver(id)
	tag := w.tags.Mint(host, id, 0)
	body := dsn("nobody@example.org", "failed", "5.1.1", "550 5.1.1 no such user")
	s := w.dial()
	s.want("MAIL FROM:<>", "250 ")
	s.want("RCPT TO:<"+tag+">", "451 ")
	s.want("QUIT", "221 ")
	w.deliver("", w.tags.Mint(host, id, 1), dsn("other@example.net", "delayed", "4.4.1", "451 later"), "250 ") // another recipient's
	if got := w.suppressed(); got != "" {
		t.Errorf("suppressed %q", got)
	}

	claimed.Delivery.Recipients[0].State = store.Sent
	w.must(w.db.Resolve(t.Context(), store.Resolution{Delivery: claimed.Delivery, Events: []store.Event{{At: w.clock(), Kind: store.EventSent, Recipient: "nobody@example.org"}}}))
	w.deliver("", tag, body, "250 ")
	w.wantState(id, 0, store.Bounced)
	w.wantEvents(id, "accepted, delayed Transient other@example.net, sent  nobody@example.org, bounced HardBounce nobody@example.org, notice  shop@example.com")
	if got := w.suppressed(); got != "nobody@example.org HardBounce" {
		t.Errorf("suppressed %q", got)
	}
}

// TestBounceWhileAnAttemptBegins is the same, begun between RCPT and the final dot.
func TestBounceWhileAnAttemptBegins(t *testing.T) {
	w := newWorld(t, nil)
	id := w.queued()
	s := w.dial()
	s.want("MAIL FROM:<>", "250 ")
	s.want("RCPT TO:<"+w.tags.Mint(host, id, 0)+">", "250 ")
	s.want("DATA", "354 ")
	w.handOver(id)
	s.want(strings.ReplaceAll(dsn("nobody@example.org", "failed", "5.1.1", "550 no such user"), "\n", "\r\n")+".", "451 ")
	w.wantEvents(id, "accepted")
	if got := w.suppressed(); got != "" {
		t.Errorf("suppressed %q", got)
	}
}

// TestLeaseThatHasEnded: nobody will record that attempt any more.
func TestLeaseThatHasEnded(t *testing.T) {
	w := newWorld(t, nil)
	id := w.queued()
	w.handOver(id)
	w.later(31 * time.Minute)
	w.deliver("", w.tags.Mint(host, id, 0), dsn("nobody@example.org", "failed", "5.1.1", "550 no such user"), "250 ")
	w.wantState(id, 0, store.Queued)
}

// TestTooMuchAtOnce: who opens many sessions before the first dot gets no more in than others.
func TestTooMuchAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	id := w.sent(nil)
	var all []*session
	for range 25 {
		s := w.dial()
		s.want("MAIL FROM:<>", "250 ")
		s.want("RCPT TO:<"+w.tags.Mint(host, id, 0)+">", "250 ")
		s.want("DATA", "354 ")
		all = append(all, s)
	}
	var mu sync.Mutex
	count := map[string]int{}
	var work sync.WaitGroup
	for _, s := range all {
		work.Go(func() {
			last, _ := s.say("Subject: I am away\r\nAuto-Submitted: auto-replied\r\n\r\nBack soon.\r\n.")
			mu.Lock()
			defer mu.Unlock()
			count[last[:9]]++
		})
	}
	work.Wait()
	if count["250 2.0.0"] != 20 || count["550 5.1.1"] != 5 {
		t.Errorf("answers %v", count)
	}
}
