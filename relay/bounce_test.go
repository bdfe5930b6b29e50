package relay_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// original is a message in the fake queue with one delivery, changed by tune.
func original(q *fakeQueue, tune func(*store.Message, *store.Delivery)) store.ID {
	id, now := store.NewID(), time.Now()
	m := store.Message{ID: id, Server: 1, Stream: "outbound", Accepted: now, From: "a@sender.test", Size: int64(len(body))}
	d := store.Delivery{
		ID: store.DeliveryID{Message: id}, Server: 1, Stream: "outbound", Destination: "example.test", Due: now, Expires: now.Add(5 * 24 * time.Hour),
		Recipients: []store.Recipient{{Address: "b@example.test", State: store.Queued}, {Address: "c@example.test", State: store.Queued}},
	}
	if tune != nil {
		tune(&m, &d)
	}
	q.put(m, body, d)
	return id
}

// sendTo answers by recipient; who is not named is taken.
func sendTo(fate map[string]relay.Result) *fakeTransport {
	return &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
		out := make([]relay.Result, len(j.Recipients))
		for i, r := range j.Recipients {
			f, ok := fate[r.Address]
			if !ok {
				f = delivered()
			}
			out[i] = f
		}
		return out
	}}
}

func unknownUser() relay.Result {
	return relay.Result{Reply: store.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user here", Command: "rcpt", Host: "mx1.example.test", At: time.Now()}}
}

// TestNotices is who gets a notice about what.
func TestNotices(t *testing.T) {
	bad := map[string]relay.Result{"b@example.test": unknownUser(), "c@example.test": delivered()}
	relayed := delivered()
	relayed.Relayed = true
	notify := func(v string) func(*store.Message, *store.Delivery) {
		return func(_ *store.Message, d *store.Delivery) { d.Recipients[0].Notify = v }
	}
	for _, c := range []struct {
		name string
		tune func(*store.Message, *store.Delivery)
		fate map[string]relay.Result
		want string // actions and recipients
	}{
		{"refused", nil, bad, "failed b@example.test"},
		{"both refused", nil, map[string]relay.Result{"b@example.test": unknownUser(), "c@example.test": unknownUser()}, "failed b@example.test c@example.test"},
		{"all delivered", nil, nil, ""},
		{"null sender", func(m *store.Message, _ *store.Delivery) { m.From = "" }, bad, ""},
		{"notice of ours", func(m *store.Message, _ *store.Delivery) { m.Bounce = true }, bad, ""},
		{"NOTIFY=NEVER", notify("NEVER"), bad, ""},
		{"NOTIFY=DELAY", notify("DELAY"), bad, ""},
		{"NOTIFY=SUCCESS", notify("SUCCESS"), bad, ""},
		{"NOTIFY=FAILURE", notify("SUCCESS,FAILURE"), bad, "failed b@example.test"},
		{"success on request", notify("SUCCESS"), map[string]relay.Result{"b@example.test": relayed}, "relayed b@example.test"},
		{"success not asked for", nil, map[string]relay.Result{"b@example.test": relayed}, ""},
		{"success is the next hop's to tell", notify("SUCCESS"), nil, ""},
		{"both kinds", func(_ *store.Message, d *store.Delivery) { d.Recipients[1].Notify = "SUCCESS" },
			map[string]relay.Result{"b@example.test": unknownUser(), "c@example.test": relayed}, "failed b@example.test; relayed c@example.test"},
		{"expired", func(_ *store.Message, d *store.Delivery) { d.Expires = time.Now().Add(time.Hour) }, map[string]relay.Result{"b@example.test": refused(450, "rcpt")}, "failed b@example.test"},
		{"sender that cannot be parsed", func(m *store.Message, _ *store.Delivery) { m.From = "no address" }, bad, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				fates := map[string]relay.Result{"a@sender.test": refused(450, "rcpt")} // the notice itself waits
				for k, v := range c.fate {
					fates[k] = v
				}
				start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Hostname: "relay.test", Transport: sendTo(fates)})
				id := original(q, c.tune)
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				var got []string
				for _, kind := range []string{"failed", "relayed"} {
					for _, n := range q.notices(id) {
						if !strings.Contains(string(n.Body), "Action: "+kind) {
							continue
						}
						words := []string{kind}
						for _, m := range regexp.MustCompile(`Final-Recipient: rfc822;\s*(\S+)`).FindAllStringSubmatch(string(n.Body), -1) {
							words = append(words, m[1])
						}
						got = append(got, strings.Join(words, " "))
					}
				}
				if s := strings.Join(got, "; "); s != c.want {
					t.Errorf("notices: %q, want %q", s, c.want)
				}
			})
		})
	}
}

// TestNotice_Submission checks how a notice enters the queue.
func TestNotice_Submission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		d := newDirectory(t, store.Stream{ID: "outbound", Route: store.Route{Host: "Smart.test", Port: 587}})
		start(t, q, d, relay.Options{Hostname: "relay.test", Transport: sendTo(map[string]relay.Result{"b@example.test": unknownUser(), "a@sender.test": refused(450, "rcpt")})})
		id := original(q, nil)
		synctest.Wait()
		all := q.notices(id)
		if len(all) != 1 {
			t.Fatalf("%d notices, want 1", len(all))
		}
		m, dl, text := all[0].Message, all[0].Deliveries[0], all[0].Body
		if m.From != "" || !m.Bounce || m.About != id || m.Server != 1 || m.Stream != "outbound" || m.Size != int64(len(text)) || m.BodyHash != sha256.Sum256(text) {
			t.Errorf("message = %+v", m)
		}
		if m.Header.Subject == "" || !strings.Contains(m.Header.From, "mailer-daemon@relay.test") || len(m.Header.To) != 1 || m.Header.MessageID == "" {
			t.Errorf("display = %+v", m.Header)
		}
		if dl.Destination != "smart.test:587" || len(dl.Recipients) != 1 || dl.Recipients[0].Address != "a@sender.test" || !dl.Expires.Equal(m.Accepted.Add(5*24*time.Hour)) {
			t.Errorf("delivery = %+v", dl)
		}
		var kinds []string
		for _, e := range q.timeline(id) {
			kinds = append(kinds, string(e.Kind))
			if e.Kind == store.EventNotice && e.Notice != m.ID {
				t.Errorf("event names notice %v, want %v", e.Notice, m.ID)
			}
		}
		if s := strings.Join(kinds, " "); s != "bounced sent notice" {
			t.Errorf("timeline = %s", s)
		}
	})
}

// TestNotice_OfANoticeNeverHappens refuses everything, the notice too.
func TestNotice_OfANoticeNeverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result { return all(j, unknownUser()) }}
		start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Transport: tr, Hostname: "relay.test"})
		original(q, nil)
		time.Sleep(10 * 24 * time.Hour)
		synctest.Wait()
		if n := len(q.messages); n != 2 {
			t.Errorf("%d messages, want the original and one notice", n)
		}
	})
}

// TestNotice_Content checks that everything we know reaches the notice; its form is the message package's matter.
func TestNotice_Content(t *testing.T) {
	for name, c := range map[string]struct {
		tune    func(*store.Message, *store.Delivery)
		want    []string
		wantNot []string
	}{
		"headers": {
			tune: func(m *store.Message, d *store.Delivery) {
				m.EnvID = "order 4711"
				d.Recipients[0].ORcpt = "rfc822;b.original@example.test"
			},
			want: []string{
				"From: Mail Delivery System <mailer-daemon@relay.test>", "To: <a@sender.test>", "Auto-Submitted: auto-", "report-type=delivery-status",
				"Reporting-MTA: dns; relay.test", "Original-Envelope-Id: order 4711", "Original-Recipient: rfc822; b.original@example.test",
				"Final-Recipient: rfc822; b@example.test", "Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx1.example.test",
				"Diagnostic-Code: smtp; 550 5.1.1 no such user here", "Last-Attempt-Date: Sat, 01 Jan 2000", "Arrival-Date: Sat, 01 Jan 2000", "Subject: x",
			},
			wantNot: []string{"Hello", "c@example.test"},
		},
		"full": {tune: func(m *store.Message, _ *store.Delivery) { m.Ret = "FULL" }, want: []string{"Subject: x\r\n\r\nHello\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Hostname: "relay.test",
					Transport: sendTo(map[string]relay.Result{"b@example.test": unknownUser(), "a@sender.test": refused(450, "rcpt")})})
				id := original(q, c.tune)
				synctest.Wait()
				n := q.notices(id)
				if len(n) != 1 {
					t.Fatalf("%d notices, want 1", len(n))
				}
				for _, w := range c.want {
					if !strings.Contains(string(n[0].Body), w) {
						t.Errorf("notice lacks %q", w)
					}
				}
				for _, w := range c.wantNot {
					if strings.Contains(string(n[0].Body), w) {
						t.Errorf("notice contains %q", w)
					}
				}
			})
		})
	}
}

// TestNotice_DamagedOriginal must still tell the sender.
func TestNotice_DamagedOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), relay.Options{Hostname: "relay.test",
			Transport: sendTo(map[string]relay.Result{"b@example.test": {Err: errors.New("x")}, "c@example.test": unknownUser(), "a@sender.test": refused(450, "rcpt")})})
		id := original(q, func(m *store.Message, _ *store.Delivery) { m.Ret = "FULL"; q.damaged[m.ID] = true })
		synctest.Wait()
		if n := q.notices(id); len(n) != 1 || strings.Contains(string(n[0].Body), "Hello") {
			t.Errorf("%d notices, want one without the damaged original", len(n))
		}
	})
}
