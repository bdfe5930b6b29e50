package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestReturnPathPerRecipient: every return path has a transaction of its own, all on one connection; recipients without one
// share the message's.
func TestReturnPathPerRecipient(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Rcpt: map[string][]testmx.Step{"c@example.test": {{Reply: "550 5.1.1 no such user"}}}})
	tr := transport(t, w.options())
	j := job("b@example.test", "c@example.test", "d@example.test", "e@example.test")
	j.Recipients[0].ReturnPath = "b0@bounces.test"
	j.Recipients[1].ReturnPath = "b1@bounces.test"
	if got, want := fates(tr.Send(t.Context(), j)), "delivered 250 dot, permanent 550 rcpt, delivered 250 dot, delivered 250 dot"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var paths []string
	for _, c := range commands(mx, 1) {
		if strings.HasPrefix(c, "MAIL") || strings.HasPrefix(c, "RCPT") {
			paths = append(paths, strings.TrimSuffix(c, " SIZE=72"))
		}
	}
	want := []string{"MAIL FROM:<b0@bounces.test>", "RCPT TO:<b@example.test>", "MAIL FROM:<b1@bounces.test>", "RCPT TO:<c@example.test>",
		"MAIL FROM:<a@sender.test>", "RCPT TO:<d@example.test>", "RCPT TO:<e@example.test>"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
}

func TestReturnPathThatIsNone(t *testing.T) {
	w, _ := single(t, testmx.Script{TLS: testmx.NoTLS})
	j := job("b@example.test", "c@example.test")
	j.Recipients[0].ReturnPath = "x> RCPT TO:<y"
	if got, want := fates(transport(t, w.options()).Send(t.Context(), j)), "permanent 553 mail, delivered 250 dot"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestReturnPathOfTheDispatcher is who gets a return path, under which number, and which notices are asked for.
func TestReturnPathOfTheDispatcher(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream store.Stream
		tune   func(*store.Message, *store.Delivery)
		path   string // of %d
		want   string // return path and NOTIFY of both recipients
		notice bool   // that it was relayed
	}{
		{"numbered", store.Stream{}, nil, "n%d@bounces.test", "n0@bounces.test , n1@bounces.test ", false},
		{"failure is always asked for", store.Stream{}, func(_ *store.Message, d *store.Delivery) {
			d.Recipients[0].Notify, d.Recipients[1].Notify = "NEVER", "SUCCESS,DELAY"
		}, "n%d@bounces.test", "n0@bounces.test FAILURE, n1@bounces.test FAILURE,DELAY", true},
		{"success is ours", store.Stream{}, func(_ *store.Message, d *store.Delivery) { d.Recipients[0].Notify = "SUCCESS" }, "n%d@bounces.test", "n0@bounces.test FAILURE, n1@bounces.test ", true},
		{"null sender", store.Stream{}, func(m *store.Message, _ *store.Delivery) { m.From = "" }, "n%d@bounces.test", " ,  ", false},
		{"notice of ours", store.Stream{}, func(m *store.Message, _ *store.Delivery) { m.Bounce = true }, "n%d@bounces.test", " ,  ", false},
		{"none for this message", store.Stream{}, func(_ *store.Message, d *store.Delivery) { d.Recipients[0].Notify = "NEVER" }, "", " NEVER,  ", false},
		{"sender is kept", store.Stream{KeepSender: true}, nil, "n%d@bounces.test", " ,  ", false},
		{"redirected", store.Stream{Mode: store.ModeRedirect, RedirectTo: "dev@team.test"}, nil, "n%d@bounces.test", " NEVER", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var got []string
				tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
					mu.Lock()
					defer mu.Unlock()
					for _, r := range j.Recipients {
						if r.Address != "a@sender.test" {
							got = append(got, r.ReturnPath+" "+r.Notify)
						}
					}
					return all(j, delivered())
				}}
				q := newQueue()
				c.stream.ID = "outbound"
				start(t, q, newDirectory(t, c.stream), relay.Options{Hostname: "relay.test", Transport: tr, ReturnPath: func(_ store.Message, n int) string {
					if c.path == "" {
						return ""
					}
					return fmt.Sprintf(c.path, n)
				}})
				id := original(q, c.tune)
				time.Sleep(time.Hour)
				synctest.Wait()
				if s := strings.Join(got, ", "); s != c.want {
					t.Errorf("%q, want %q", s, c.want)
				}
				if n := len(q.notices(id)); (n > 0) != c.notice {
					t.Errorf("%d notices", n)
				}
			})
		})
	}
}

// list is a Suppressor that remembers.
type list struct {
	mu  sync.Mutex
	got []relay.Suppression
	err error
}

func (l *list) Suppress(_ context.Context, s relay.Suppression) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, s)
	return l.err
}

// TestClassifiedRefusals is what type a refusal gets in the timeline, and who is suppressed for it.
func TestClassifiedRefusals(t *testing.T) {
	at := func(code int, enhanced [3]int, phase, text string) relay.Result {
		return relay.Result{Reply: store.Reply{Code: code, Enhanced: enhanced, Command: phase, Text: text, Host: "mx1.example.test"}}
	}
	gone := at(550, [3]int{5, 1, 1}, "rcpt", "no such user here")
	for _, c := range []struct {
		name   string
		stream store.Stream
		fate   map[string]relay.Result
		want   string // types, by event
		listed string
		err    error
		path   string
	}{
		{"hard", store.Stream{}, map[string]relay.Result{"b@example.test": gone}, "b@example.test HardBounce", "b@example.test", nil, ""},
		{"two hard ones", store.Stream{}, map[string]relay.Result{"b@example.test": gone, "c@example.test": gone}, "b@example.test HardBounce, c@example.test HardBounce", "b@example.test c@example.test", nil, ""},
		{"the list fails", store.Stream{}, map[string]relay.Result{"b@example.test": gone}, "b@example.test HardBounce", "b@example.test", errors.New("disk full"), ""},
		{"ours", store.Stream{}, map[string]relay.Result{"b@example.test": at(550, [3]int{5, 7, 26}, "dot", "blocked by DMARC policy")}, "b@example.test DMARCPolicy", "", nil, ""},
		{"full", store.Stream{}, map[string]relay.Result{"b@example.test": at(552, [3]int{5, 2, 2}, "dot", "mailbox full")}, "b@example.test SoftBounce", "", nil, ""},
		{"the reverse-path is unknown", store.Stream{}, map[string]relay.Result{"b@example.test": at(550, [3]int{5, 1, 1}, "mail", "user unknown")}, "b@example.test Blocked", "", nil, ""},
		{"the content of several", store.Stream{}, map[string]relay.Result{"b@example.test": at(550, [3]int{5, 1, 1}, "dot", "user unknown")}, "b@example.test SoftBounce", "", nil, ""},
		{"the content of one", store.Stream{}, map[string]relay.Result{"b@example.test": at(554, [3]int{5, 1, 1}, "dot", "user unknown")}, "b@example.test HardBounce", "b@example.test", nil, "x@bounces.test"},
		{"expired", store.Stream{}, map[string]relay.Result{"b@example.test": at(450, [3]int{4, 1, 1}, "rcpt", "user unknown"), "c@example.test": at(535, [3]int{5, 7, 8}, "auth", "user unknown")}, "b@example.test Transient, c@example.test Transient", "", nil, ""},
		{"expired without an answer", store.Stream{}, map[string]relay.Result{"b@example.test": {Err: errors.New("lookup example.test: no such user")}}, "b@example.test Transient", "", nil, ""},
		{"redirected", store.Stream{Mode: store.ModeRedirect, RedirectTo: "dev@team.test"}, map[string]relay.Result{"dev@team.test": gone}, "b@example.test HardBounce, c@example.test HardBounce", "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, l := newQueue(), &list{err: c.err}
				c.stream.ID = "outbound"
				start(t, q, newDirectory(t, c.stream), relay.Options{Hostname: "relay.test", Transport: sendTo(c.fate), Suppressor: l, ReturnPath: func(store.Message, int) string { return c.path }})
				id := original(q, nil)
				time.Sleep(6 * 24 * time.Hour)
				synctest.Wait()
				var got, listed []string
				for _, e := range q.timeline(id) {
					if e.Bounce != "" {
						got = append(got, e.Recipient+" "+e.Bounce)
					}
				}
				for _, s := range l.got {
					listed = append(listed, s.Address)
					if s.Message != id || s.Server != 1 || s.Stream != "outbound" || s.Reason != bounce.HardBounce || s.At.IsZero() {
						t.Errorf("suppression %+v", s)
					}
				}
				if s := strings.Join(got, ", "); s != c.want {
					t.Errorf("types %q, want %q", s, c.want)
				}
				if s := strings.Join(listed, " "); s != c.listed {
					t.Errorf("suppressed %q, want %q", s, c.listed)
				}
			})
		})
	}
}

// TestSuppressedOnTheStreamThatSends: the list that is asked is the one that is written to, also where mail was rerouted.
func TestSuppressedOnTheStreamThatSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, l := newQueue(), &list{}
		gone := refused(550, "rcpt")
		gone.Reply.Enhanced, gone.Reply.Text = [3]int{5, 1, 1}, "no such user here"
		start(t, q, newDirectory(t, store.Stream{ID: "outbound"}, store.Stream{ID: "spare"}), relay.Options{
			Hostname: "relay.test", Transport: sendTo(map[string]relay.Result{"b@example.test": gone}), Suppressor: l,
		})
		id := store.NewID()
		q.put(store.Message{ID: id, Server: 1, Stream: "outbound", Accepted: time.Now(), From: "a@sender.test"}, body, store.Delivery{
			ID: store.DeliveryID{Message: id}, Server: 1, Stream: "spare", Destination: "example.test", Due: time.Now(), Expires: time.Now().Add(time.Hour),
			Recipients: []store.Recipient{{Address: "b@example.test", State: store.Queued}},
		})
		synctest.Wait()
		if len(l.got) != 1 || l.got[0].Stream != "spare" || l.got[0].Message != id {
			t.Errorf("suppressed %+v, want one on the stream that sent", l.got)
		}
	})
}
