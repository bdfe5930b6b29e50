package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestDelayNotice is when the sender is told that mail waits. Attempts are made at 0:00, 0:01, 0:06, 0:21, 0:51, 1:51,
// 3:51, 7:51 and every four hours, until the delivery expires after two days.
func TestDelayNotice(t *testing.T) {
	notify := func(v string) func(*store.Message, *store.Delivery) {
		return func(_ *store.Message, d *store.Delivery) { d.Recipients[0].Notify = v }
	}
	waiting := map[string]relay.Result{"b@example.test": refused(450, "rcpt"), "c@example.test": refused(450, "rcpt")}
	for _, c := range []struct {
		name    string
		tune    func(*store.Message, *store.Delivery)
		fate    map[string]relay.Result
		options relay.DelayNotices
		want    string // after which time, and about whom
	}{
		{"asked for", notify("DELAY"), waiting, relay.DelayNotices{}, "3h51m b@example.test"},
		{"with others", notify("SUCCESS,FAILURE,DELAY"), waiting, relay.DelayNotices{}, "3h51m b@example.test"},
		{"not asked for", nil, waiting, relay.DelayNotices{}, ""},
		{"only failure asked for", notify("FAILURE"), waiting, relay.DelayNotices{Unasked: true}, "3h51m c@example.test"},
		{"never", notify("NEVER"), waiting, relay.DelayNotices{Unasked: true}, "3h51m c@example.test"},
		{"unasked", nil, waiting, relay.DelayNotices{Unasked: true}, "3h51m b@example.test c@example.test"},
		{"the next attempt is nearer", notify("DELAY"), waiting, relay.DelayNotices{After: 7 * time.Hour}, "7h51m b@example.test"},
		{"in the middle", notify("DELAY"), waiting, relay.DelayNotices{After: 5*time.Hour + 51*time.Minute}, "7h51m b@example.test"},
		{"soon", notify("DELAY"), waiting, relay.DelayNotices{After: time.Second}, "0s b@example.test"},
		{"switched off", notify("DELAY"), waiting, relay.DelayNotices{After: -1}, ""},
		{"the one who waits did not ask", notify("DELAY"), map[string]relay.Result{"c@example.test": refused(450, "rcpt")}, relay.DelayNotices{}, ""},
		{"refused before", notify("DELAY"), map[string]relay.Result{"b@example.test": unknownUser()}, relay.DelayNotices{After: time.Second}, ""},
		{"null sender", func(m *store.Message, d *store.Delivery) { m.From, d.Recipients[0].Notify = "", "DELAY" }, waiting, relay.DelayNotices{}, ""},
		{"notice of ours", func(m *store.Message, d *store.Delivery) { m.Bounce, d.Recipients[0].Notify = true, "DELAY" }, waiting, relay.DelayNotices{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				fates := map[string]relay.Result{"a@sender.test": refused(450, "rcpt")}
				for k, v := range c.fate {
					fates[k] = v
				}
				start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Hostname: "relay.test", Transport: sendTo(fates), Delays: c.options, Policy: relay.Policy{Jitter: -1}})
				id := original(q, func(m *store.Message, d *store.Delivery) {
					d.Expires = m.Accepted.Add(48 * time.Hour)
					if c.tune != nil {
						c.tune(m, d)
					}
				})
				time.Sleep(40 * time.Hour)
				synctest.Wait()
				var got []string
				for _, n := range q.notices(id) {
					if !strings.Contains(string(n.Body), "Action: delayed") {
						continue
					}
					words := []string{strings.TrimSuffix(n.Message.Accepted.Sub(q.messages[id].Accepted).Round(time.Second).String(), "0s")}
					if words[0] == "" {
						words[0] = "0s"
					}
					for _, a := range []string{"b@example.test", "c@example.test"} {
						if strings.Contains(string(n.Body), "Final-Recipient: rfc822; "+a) {
							words = append(words, a)
						}
					}
					got = append(got, strings.Join(words, " "))
				}
				if s := strings.Join(got, "; "); s != c.want {
					t.Errorf("notices: %q, want %q", s, c.want)
				}
			})
		})
	}
}

// TestDelayNotice_Content: what the sender learns, in the same commit as that it was told.
func TestDelayNotice_Content(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Hostname: "relay.test", Delays: relay.DelayNotices{After: time.Second},
			Transport: sendTo(map[string]relay.Result{"b@example.test": refused(450, "rcpt"), "a@sender.test": refused(450, "rcpt")})})
		var expires time.Time
		id := original(q, func(m *store.Message, d *store.Delivery) {
			m.Ret, m.EnvID, expires = "FULL", "order 4711", d.Expires
			d.Recipients[0].Notify, d.Recipients[0].ORcpt = "DELAY,FAILURE", "rfc822;b.original@example.test"
		})
		synctest.Wait()
		all := q.notices(id)
		if len(all) != 1 {
			t.Fatalf("%d notices", len(all))
		}
		body := string(all[0].Body)
		for _, want := range []string{
			"Subject: Delivery of your mail is delayed", "Action: delayed", "Status: 4.", "Original-Envelope-Id: order 4711",
			"Original-Recipient: rfc822; b.original@example.test", "Will-Retry-Until: " + expires.UTC().Format("Mon, 02 Jan 2006"), "text/rfc822-headers",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("lacks %q:\n%s", want, body)
			}
		}
		if strings.Contains(body, "Hello") {
			t.Error("only a failure returns the content (RFC 3461 4.3)")
		}
		if d := q.delivery(id); !d.Delayed.Equal(all[0].Message.Accepted) || d.Done() {
			t.Errorf("delivery %+v", d)
		}
		told := q.timeline(id)
		if e := told[len(told)-1]; e.Kind != store.EventNotice || e.Notice != all[0].Message.ID || !strings.Contains(e.Detail, "notice (delayed)") {
			t.Errorf("event %+v", e)
		}
	})
}

// TestDelayNotice_NothingOfOurs: what failed before a host had said anything is told in words for everybody.
func TestDelayNotice_NothingOfOurs(t *testing.T) {
	for phase, want := range map[string]string{
		"dns": "the mail hosts of the destination could not be looked up", "connect": "no mail host that takes the message could be reached",
		"starttls": "no connection that is as secure as is demanded could be made", "sign": "the message could not be signed",
		"data": "the connection to the next mail host broke off", "dot": "the next mail host did not confirm the message, which may have arrived", "auth": "this mail system could not pass the message on",
	} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			broken := relay.Result{Err: errors.New("inside"), Reply: store.Reply{Command: phase, Enhanced: [3]int{4, 4, 1}, Text: "asking 10.0.0.53: open /etc/inside: no"}}
			start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Hostname: "relay.test", Delays: relay.DelayNotices{After: time.Second},
				Transport: sendTo(map[string]relay.Result{"b@example.test": broken, "a@sender.test": refused(450, "rcpt")})})
			id := original(q, func(_ *store.Message, d *store.Delivery) { d.Recipients[0].Notify = "DELAY" })
			synctest.Wait()
			all := q.notices(id)
			if len(all) != 1 {
				t.Fatalf("%s: %d notices", phase, len(all))
			}
			body := strings.Join(strings.Fields(string(all[0].Body)), " ")
			if !strings.Contains(body, "Diagnostic-Code: x-mailchute; 4.4.1 "+want) || strings.Contains(body, "inside") || strings.Contains(body, "10.0.0.53") {
				t.Errorf("%s: want %q and nothing of ours in\n%s", phase, want, all[0].Body)
			}
			if told := q.timeline(id); !strings.Contains(told[0].Reply.Text, "open /etc/inside") {
				t.Errorf("%s: the operator has to read it: %+v", phase, told[0])
			}
		})
	}
}

// TestDelayNotice_OverAFailedAttempt: an attempt that panics tells nobody, and the next does so once.
func TestDelayNotice_OverAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		o := relay.Options{Hostname: "relay.test", Delays: relay.DelayNotices{After: time.Second}, Policy: relay.Policy{Jitter: -1}, Lease: 30 * time.Minute}
		asked := 0
		o.Transport = &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			asked++
			if j.Recipients[0].Address == "b@example.test" && asked == 1 {
				panic("within the attempt")
			}
			return all(j, refused(450, "rcpt"))
		}}
		start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), o)
		id := original(q, func(_ *store.Message, d *store.Delivery) { d.Recipients[0].Notify = "DELAY" })
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		if n := len(q.notices(id)); n != 1 {
			t.Errorf("%d notices", n)
		}
	})
}
