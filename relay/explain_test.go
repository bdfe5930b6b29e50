package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

func spoken(c store.Conversation) string {
	var b strings.Builder
	for _, l := range c.Lines {
		fmt.Fprintf(&b, "%s: %s\n", l.Speaks, l.Text)
	}
	return b.String()
}

// inOrder finds the pieces one after the other.
func inOrder(t *testing.T, text string, pieces ...string) {
	t.Helper()
	rest := text
	for _, p := range pieces {
		i := strings.Index(rest, p)
		if i < 0 {
			t.Fatalf("%q is missing, or out of order, in:\n%s", p, text)
		}
		rest = rest[i+len(p):]
	}
}

func TestConversation_OfTheNewestAttemptThatLeftSomething(t *testing.T) {
	w, _ := single(t, testmx.Script{TLS: testmx.NoTLS, Steps: steps{testmx.Rcpt: {reply("451 4.7.1 come\nback")}}})
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
	start(t, q, d, w.options())
	id := q.submit("outbound", time.Now(), "b@example.test")
	q.until(t, "the first attempt", func() bool { return len(q.timeline(id)) > 0 })
	got := q.delivery(id)
	if got.Conversation.Attempt != 1 || got.DueWhy != "the retry schedule after attempt 1" {
		t.Errorf("attempt %d, due because of %q", got.Conversation.Attempt, got.DueWhy)
	}
	inOrder(t, spoken(got.Conversation),
		"note: mail hosts of example.test: mx1.example.test\n", "note: connected to mx1.example.test (127.0.0.1:25)\n", "remote: 220 ",
		"client: EHLO relay.test\n", "remote: 250-", "remote: 250 ",
		"client: MAIL FROM:<sender@sender.test>", "client: RCPT TO:<b@example.test>\n", "client: DATA\n", "remote: 250 ", "remote: 451-4.7.1 come\n", "remote: 451 back\n")
	c := claimed(2, 1)
	c.Delivery.Conversation = got.Conversation
	if n := policy().Next(relay.Attempt{Claimed: c, Open: []int{0}, Results: []relay.Result{delivered()}, Now: day0}); !n.Resolution.Delivery.Conversation.IsZero() {
		t.Error("a delivered message keeps its conversation")
	}
}

// TestConversation_KeepsNoSecret echoes the password in every way that a host can.
func TestConversation_KeepsNoSecret(t *testing.T) {
	for name, step := range map[string]testmx.Step{
		"in its reply": reply("535 5.7.8 bad password " + secret),
		"as garbage":   {Raw: secret + "\r\n"},
		"encoded":      reply("334 AGNodXRlAGNhbmFyeS1QYTU1"),
	} {
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			t.Run(name+" "+mechanism, func(t *testing.T) {
				o, route, _ := smarthost(t, testmx.Script{Mechanisms: []string{mechanism}, Steps: steps{testmx.Auth: {step}}}, store.TLSStartTLS)
				q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", Route: route})
				start(t, q, d, o)
				id := q.submit("outbound", time.Now(), "b@example.test")
				q.until(t, "the attempt", func() bool { return len(q.timeline(id)) > 0 })
				got := spoken(q.delivery(id).Conversation)
				inOrder(t, got, "note: TLS 1.3", "client: AUTH "+mechanism)
				for _, s := range []string{secret, "AGNodXRlAGNhbmFyeS1QYTU1", "Y2FuYXJ5LVBhNTU=", "Y2h1dGU="} {
					if strings.Contains(got, s) {
						t.Errorf("%q is in the conversation:\n%s", s, got)
					}
				}
			})
		}
	}
}

// TestConversation_IsBounded talks to a host with very much to say.
func TestConversation_IsBounded(t *testing.T) {
	w, _ := single(t, testmx.Script{TLS: testmx.NoTLS, Lack: []string{"PIPELINING"}, Steps: steps{testmx.Rcpt: {{Reply: "451-" + strings.Repeat("ä", 500) + "\n451 x", Always: true}}}})
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
	start(t, q, d, w.options())
	var to []string
	for i := range 90 {
		to = append(to, fmt.Sprintf("r%d@example.test", i))
	}
	id := q.submit("outbound", time.Now(), to...)
	q.until(t, "the attempt", func() bool { return len(q.timeline(id)) > 0 })
	c := q.delivery(id).Conversation
	if len(c.Lines) != 100 || c.Missing < 150 {
		t.Errorf("%d lines, %d missing", len(c.Lines), c.Missing)
	}
	for _, l := range c.Lines {
		if len(l.Text) > 160 {
			t.Errorf("a line of %d octets", len(l.Text))
		}
	}
	inOrder(t, spoken(c), "RCPT TO:<r0@", "RCPT TO:<r89@")
}

// TestWaiting_Places is where the running schedule has a delivery, and why.
func TestWaiting_Places(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "paused", Paused: true, PausedAt: time.Now()})
		tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
			if strings.HasSuffix(j.Recipients[0].Address, "@later.test") {
				return all(j, refused(450, "rcpt"))
			}
			time.Sleep(time.Hour)
			return all(j, delivered())
		}}
		disp, stop := start(t, q, d, relay.Options{Transport: tr, Policy: relay.Policy{Jitter: -1}, Lease: 3 * time.Hour, Attempt: 2 * time.Hour})
		var ids []store.ID
		for range 5 {
			ids = append(ids, q.submit("outbound", time.Now(), "b@slow.test"))
			time.Sleep(time.Millisecond)
		}
		later := q.submit("outbound", time.Now(), "b@later.test")
		paused := q.submit("paused", time.Now(), "b@else.test")
		time.Sleep(time.Second)
		synctest.Wait()
		for _, c := range []struct {
			id    store.ID
			place relay.Place
			ahead int
			why   string
		}{
			{ids[0], relay.PlaceFlying, 0, "attempt 1 is under way"},
			{ids[2], relay.PlaceSite, 0, "site slow.test has 2 of 2 attempts under way"},
			{ids[4], relay.PlaceSite, 2, "2 deliveries of this stream to slow.test are due before it"},
			{later, relay.PlaceLater, 0, "it is not due yet: the retry schedule after attempt 1"},
			{paused, relay.PlaceReady, 0, "stream paused is paused"},
			{store.NewID(), relay.PlaceUnknown, 0, ""},
		} {
			w, running := disp.Waiting(store.DeliveryID{Message: c.id})
			if !running || w.Place != c.place || w.Ahead != c.ahead {
				t.Errorf("waiting = %+v %v, want %s with %d ahead", w, running, c.place, c.ahead)
			}
			if c.why == "" {
				continue
			}
			if got := fmt.Sprint(relay.Reasons(q.delivery(c.id), d.Snapshot(), &w, time.Now())); !strings.Contains(got, c.why) {
				t.Errorf("reasons = %s, want %q", got, c.why)
			}
		}
		stop()
		if _, running := disp.Waiting(store.DeliveryID{Message: later}); running {
			t.Error("a dispatcher that was stopped says it runs")
		}
	})
}

func TestReasons(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	snap := newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "paused", Paused: true, PausedAt: now.Add(-time.Hour), PausedWhy: "they move"}).Snapshot()
	ready := &relay.Waiting{Place: relay.PlaceReady, Total: relay.LimitStatus{InFlight: 1, Limit: 9}, Own: relay.LimitStatus{InFlight: 1, Limit: 9}}
	for _, c := range []struct {
		name   string
		change func(*store.Delivery)
		w      *relay.Waiting
		want   string // the reasons, shortened
	}{
		{"nothing holds it", nil, ready, "it is due and nothing holds it: the next attempt begins at any moment"},
		{"done", func(d *store.Delivery) { d.Recipients[0].State = store.Sent }, ready, ""},
		{"no server", nil, nil, "no server runs: nothing is delivered [start it with: mailchute serve]"},
		{"held, maybe delivered", func(d *store.Delivery) { d.Held, d.Uncertain, d.HeldUncertain = now.Add(-time.Minute), true, true }, ready, "it is held; it may have been delivered, and is sent again when it is released since 11:59 [mailchute queue release 00000000-0000-0000-0000-000000000000]"},
		{"held for another reason, maybe delivered", func(d *store.Delivery) { d.Held, d.Uncertain = now.Add(-time.Minute), true }, ready, "it is held; it may have been delivered, which is not why since 11:59 [mailchute queue release 00000000-0000-0000-0000-000000000000]"},
		{"held", func(d *store.Delivery) { d.Held = now.Add(-time.Minute) }, ready, "it is held since 11:59 [mailchute queue release 00000000-0000-0000-0000-000000000000]"},
		{"paused and not due", func(d *store.Delivery) { d.Stream, d.Due, d.DueWhy = "paused", now.Add(time.Hour), "why" }, ready,
			"stream paused is paused: they move since 11:00 [mailchute stream resume paused --server 1]; it is not due yet: why until 13:00 [mailchute queue retry 00000000-0000-0000-0000-000000000000]"},
		{"stream gone", func(d *store.Delivery) { d.Stream = "gone" }, ready, "stream gone of server 1 no longer exists, or this version does not know its mode [make the stream again]"},
		{"limits", nil, &relay.Waiting{Place: relay.PlaceReady, Total: relay.LimitStatus{InFlight: 9, Limit: 9}, Own: relay.LimitStatus{InFlight: 5, Limit: 5}, Ahead: 3},
			"all 9 places for attempts are taken [raise delivery.concurrency]; the stream has all of its 5 attempts under way [raise delivery.per_stream]; 3 deliveries of this stream to example.test are due before it"},
		{"site left alone", nil, &relay.Waiting{Place: relay.PlaceSite, Total: relay.LimitStatus{Limit: 9}, Own: relay.LimitStatus{Limit: 9}, Site: relay.SiteStatus{Key: "mx.test", Why: "421 busy", Until: now.Add(time.Hour)}},
			"site mx.test is left alone after: 421 busy until 13:00 [mailchute queue retry 00000000-0000-0000-0000-000000000000]"},
		{"routes at rest and used up", nil, &relay.Waiting{Place: relay.PlaceRoute, Routes: []relay.RouteStatus{
			{Route: "a.test:25", Why: "its rate is reached", Until: now.Add(time.Hour), Change: "raise it"}, {Route: "b.test:25", Why: "it failed", Until: now.Add(time.Hour)}}},
			"route a.test:25 takes nothing: its rate is reached until 13:00 [raise it]; route b.test:25 takes nothing: it failed until 13:00 [mailchute queue retry 00000000-0000-0000-0000-000000000000]"},
		{"chosen route", func(d *store.Delivery) { d.Route = "a.test:25" }, ready, "it goes by route a.test:25 only, which was chosen for it [mailchute queue reroute 00000000-0000-0000-0000-000000000000 --to-route any]"},
		{"route that may have it", func(d *store.Delivery) { d.Route, d.Uncertain = "a.test:25", true }, ready, "it goes by route a.test:25 only, which may have delivered it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := claimed(1, 1).Delivery
			d.Server, d.Stream, d.Due, d.Lease = 1, "outbound", now, time.Time{}
			if c.change != nil {
				c.change(&d)
			}
			var got []string
			for _, r := range relay.Reasons(d, snap, c.w, now) {
				text := r.What
				if !r.Since.IsZero() && !r.Since.Equal(now) {
					text += r.Since.Format(" since 15:04")
				}
				if !r.Until.IsZero() {
					text += r.Until.Format(" until 15:04")
				}
				if r.Change != "" {
					text += " [" + r.Change + "]"
				}
				got = append(got, text)
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("reasons = %s\nwant      %s", s, c.want)
			}
		})
	}
}
