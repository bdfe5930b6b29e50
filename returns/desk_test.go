package returns_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/smtpd"
	"github.com/mailchute/mailchute/store"
)

// another opens a connection and leaves its greeting to the test.
func (s *session) another() *session {
	s.Helper()
	c, err := net.Dial("tcp", s.address)
	s.must(err)
	s.Cleanup(func() { _ = c.Close() })
	s.must(c.SetDeadline(time.Now().Add(20 * time.Second)))
	return &session{s.world, c, bufio.NewReader(c)}
}

func (w *world) list(f store.Filter) []store.Record {
	w.Helper()
	records, _, err := w.db.List(w.Context(), f, "", 100)
	w.must(err)
	return records
}

// wantEvents compares the timeline as "kind type recipient".
func (w *world) wantEvents(id store.ID, want string) {
	w.Helper()
	var got []string
	for _, e := range w.record(id).Events {
		if e.Kind == store.EventAccepted {
			got = append(got, string(e.Kind))
			continue
		}
		got = append(got, string(e.Kind)+" "+e.Bounce+" "+e.Recipient)
	}
	if s := strings.Join(got, ", "); s != want {
		w.Errorf("timeline %q, want %q", s, want)
	}
}

func (w *world) wantState(id store.ID, part int, want store.State) {
	w.Helper()
	if got := w.record(id).Deliveries[part].Recipients[0].State; got != want {
		w.Errorf("recipient %d is %s, want %s", part, got, want)
	}
}

// TestBounceThatComesLater is the whole way: state, event, what was kept, the notice to the sender, the list.
func TestBounceThatComesLater(t *testing.T) {
	w := newWorld(t, nil)
	id := w.sent(nil)
	kept := w.deliver("", w.tags.Mint(host, id, 1), dsn("other@example.net", "failed", "5.1.1", "550 5.1.1 no such user"), "250 2.0.0 queued as ")
	r := w.record(id)
	rcpt := r.Deliveries[1].Recipients[0]
	if rcpt.State != store.Bounced || rcpt.Last.Code != 550 || rcpt.Last.Enhanced != [3]int{5, 1, 1} || rcpt.Last.Host != "inner.example.org" || rcpt.Last.Text != "no such user" {
		t.Errorf("recipient %+v", rcpt)
	}
	w.wantState(id, 0, store.Sent)
	bounced, notice := r.Events[1], r.Events[2]
	if bounced.Kind != store.EventBounced || bounced.Bounce != "HardBounce" || bounced.Part != 1 || bounced.Recipient != "other@example.net" || bounced.Notice != kept ||
		bounced.Detail != "failure as rfc3464 from mx.example.org through 127.0.0.1" {
		t.Errorf("event %+v", bounced)
	}
	back := w.record(kept)
	if !back.Message.Returned || back.Message.About != id || back.Message.Stream != "outbound" || back.Deliveries[0].Recipients[0].State != store.Captured {
		t.Errorf("kept %+v", back)
	}
	if !strings.Contains(w.body(kept), "Reporting-MTA: dns; mx.example.org\r\n") {
		t.Error("what was kept is not what came")
	}
	told := w.record(notice.Notice)
	if !told.Message.Bounce || told.Message.About != id || told.Deliveries[0].Recipients[0].Address != "shop@example.com" || told.Deliveries[0].Done() {
		t.Errorf("notice %+v", told)
	}
	text := w.body(notice.Notice)
	for _, part := range []string{"Final-Recipient: rfc822; other@example.net", "Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n", "Remote-MTA: dns; inner.example.org", "Message-ID: <m1@example.com>"} {
		if !strings.Contains(text, part) {
			t.Errorf("the notice lacks %q", part)
		}
	}
	if got := w.suppressed(); got != "other@example.net HardBounce" {
		t.Errorf("suppressed %q", got)
	}
}

// TestWhatComesBack is what each kind of report does.
func TestWhatComesBack(t *testing.T) {
	hard := dsn("nobody@example.org", "failed", "5.1.1", "550 5.1.1 no such user")
	tune := func(f func(*store.Message, *store.Recipient)) func(*store.Message, []store.Delivery) {
		return func(m *store.Message, ds []store.Delivery) { f(m, &ds[0].Recipients[0]) }
	}
	for _, tt := range []struct {
		name   string
		tune   func(*store.Message, []store.Delivery)
		body   string
		events string
		state  store.State
		listed string
	}{
		{"hard", nil, hard, "bounced HardBounce nobody@example.org, notice  shop@example.com", store.Bounced, "nobody@example.org HardBounce"},
		{"full", nil, dsn("nobody@example.org", "failed", "5.2.2", "552 5.2.2 mailbox full"), "bounced SoftBounce nobody@example.org, notice  shop@example.com", store.Bounced, ""},
		{"ours", nil, dsn("nobody@example.org", "failed", "5.7.26", "550 5.7.26 blocked by DMARC policy"), "bounced DMARCPolicy nobody@example.org, notice  shop@example.com", store.Bounced, ""},
		{"delayed", nil, dsn("nobody@example.org", "delayed", "4.4.1", "connection timed out"), "delayed Transient nobody@example.org", store.Sent, ""},
		{"delivered", nil, dsn("nobody@example.org", "delivered", "2.0.0", "250 ok"), "returned  nobody@example.org", store.Sent, ""},
		{"complaint", nil, arf("x@example.com"), "complaint SpamComplaint nobody@example.org", store.Sent, "nobody@example.org SpamComplaint"},
		{"opt-out", nil, strings.Replace(arf("x@example.com"), "abuse\n", "opt-out\n", 1), "complaint Unsubscribe nobody@example.org", store.Sent, ""},
		{"a person", nil, "From: nobody@example.org\nSubject: Re: order\n\nNo thanks. 550 5.1.1 user unknown\n", "returned Unknown nobody@example.org", store.Sent, ""},
		{"qmail", nil, "From: MAILER-DAEMON@q.example\nSubject: failure notice\n\nHi. This is the qmail-send program at q.example.\n\n<nobody@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n", "bounced HardBounce nobody@example.org, notice  shop@example.com", store.Bounced, "nobody@example.org HardBounce"},
		{"NOTIFY=NEVER", tune(func(_ *store.Message, r *store.Recipient) { r.Notify = "NEVER" }), hard, "bounced HardBounce nobody@example.org", store.Bounced, "nobody@example.org HardBounce"},
		{"null sender", tune(func(m *store.Message, _ *store.Recipient) { m.From = "" }), hard, "bounced HardBounce nobody@example.org", store.Bounced, "nobody@example.org HardBounce"},
		{"about a notice", tune(func(m *store.Message, _ *store.Recipient) { m.Bounce = true }), hard, "bounced HardBounce nobody@example.org", store.Bounced, "nobody@example.org HardBounce"},
		{"stream is gone", tune(func(m *store.Message, _ *store.Recipient) { m.Stream = "deleted" }), hard, "bounced HardBounce nobody@example.org", store.Bounced, "nobody@example.org HardBounce"},
		{"bounced already", tune(func(_ *store.Message, r *store.Recipient) { r.State = store.Bounced }), hard, "bounced HardBounce nobody@example.org", store.Bounced, "nobody@example.org HardBounce"},
		{"still queued", tune(func(_ *store.Message, r *store.Recipient) { r.State = store.Queued }), hard, "bounced HardBounce nobody@example.org", store.Queued, "nobody@example.org HardBounce"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			id := w.sent(tt.tune)
			w.deliver("", w.tags.Mint(host, id, 0), tt.body, "250 ")
			w.wantEvents(id, "accepted, "+tt.events)
			w.wantState(id, 0, tt.state)
			if got := w.suppressed(); got != tt.listed {
				t.Errorf("suppressed %q, want %q", got, tt.listed)
			}
		})
	}
}

// TestBounceTwice: the second report changes nothing and tells nobody.
func TestBounceTwice(t *testing.T) {
	w := newWorld(t, nil)
	id := w.sent(nil)
	for range 2 {
		w.deliver("", w.tags.Mint(host, id, 0), dsn("nobody@example.org", "failed", "5.1.1", "550 5.1.1 no such user"), "250 ")
	}
	w.wantEvents(id, "accepted, bounced HardBounce nobody@example.org, notice  shop@example.com, bounced HardBounce nobody@example.org")
	if n := len(w.list(store.Filter{Queued: true})); n != 1 {
		t.Errorf("%d notices", n)
	}
}

// TestListThatFails: the report is refused for now, and nothing of it has happened.
func TestListThatFails(t *testing.T) {
	w := newWorld(t, nil)
	id := w.sent(nil)
	w.broken = errors.New("disk full")
	hard := dsn("nobody@example.org", "failed", "5.1.1", "550 5.1.1 no such user")
	w.deliver("", w.tags.Mint(host, id, 0), hard, "451 4.3.0 ")
	w.wantEvents(id, "accepted")
	w.wantState(id, 0, store.Sent)
	w.mu.Lock()
	w.broken = nil
	w.mu.Unlock()
	w.deliver("", w.tags.Mint(host, id, 0), hard, "250 ")
	w.wantState(id, 0, store.Bounced)
}

// TestComplaintToAbuse finds its message by the tag in the copy of the header, and by nothing else.
func TestComplaintToAbuse(t *testing.T) {
	w := newWorld(t, nil)
	id := w.sent(nil)
	w.deliver("fbl@isp.example", "abuse@"+host, arf(w.tags.Mint(host, id, 1)), "250 ")
	w.wantEvents(id, "accepted, complaint SpamComplaint other@example.net")
	if got := w.suppressed(); got != "other@example.net SpamComplaint" {
		t.Errorf("suppressed %q", got)
	}
	forged := w.tags.Mint(host, id, 0)
	forged = "b" + strings.Repeat("0", 46) + forged[47:]
	kept := w.deliver("fbl@isp.example", "abuse@"+host, arf(forged), "250 ")
	w.wantEvents(id, "accepted, complaint SpamComplaint other@example.net")
	if r := w.record(kept); !r.Message.Returned || !r.Message.About.IsZero() {
		t.Errorf("a complaint about nothing: %+v", r.Message)
	}
}

// TestOperatorMail leaves through the stream that was named, with the null reverse-path, and not in circles.
func TestOperatorMail(t *testing.T) {
	w := newWorld(t, func(o *returns.Options, _ *smtpd.Options) {
		o.Postmaster = "admin@example.org"
		o.PostmasterStream = func(s *store.Snapshot) (store.Stream, bool) {
			v, ok := s.Streams[store.StreamKey{Server: 1, Stream: "outbound"}]
			return v, ok
		}
	})
	id := w.deliver("someone@example.org", "postmaster@"+host, "From: someone@example.org\nSubject: help\n\nHelp.\n", "250 ")
	r := w.record(id)
	d := r.Deliveries[0]
	if r.Message.From != "" || r.Message.Returned || d.Stream != "outbound" || d.Destination != "example.org" || d.Recipients[0].Address != "admin@example.org" || d.Done() {
		t.Errorf("%+v", r)
	}
	if b := w.body(id); !strings.HasPrefix(b, "Received: from mx.example.org") || !strings.HasSuffix(b, "Subject: help\r\n\r\nHelp.\r\n") {
		t.Errorf("body %q", b)
	}
	looped := strings.Repeat("Received: from x by relay.example.com with ESMTP; Mon, 5 Oct 2026 10:00:00 +0000\n", 5)
	w.deliver("someone@example.org", "postmaster@"+host, looped+"From: a@example.org\nSubject: loop\n\nx\n", "554 5.4.6 ")
	kept := w.deliver("someone@example.org", "abuse@"+host, "no header at all\n", "250 ")
	if r := w.record(kept); !r.Message.Returned {
		t.Errorf("what cannot be passed on is kept: %+v", r.Message)
	}
}

func TestNewDeskChecksItsOptions(t *testing.T) {
	tags, _ := newTags(t)
	for _, o := range []returns.Options{{}, {Host: host, Tags: tags}, {Hostname: "x", Tags: tags}, {Host: host, Hostname: "x"}} {
		if _, err := returns.NewDesk(nil, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// brokenStore fails where the engine does.
type brokenStore struct{ returns.Store }

func (brokenStore) Record(context.Context, store.ID) (store.Record, error) {
	return store.Record{}, store.ErrDamaged
}

// TestStoreThatFails: a tag that cannot be looked up is not unknown.
func TestStoreThatFails(t *testing.T) {
	tags, _ := newTags(t)
	desk, err := returns.NewDesk(brokenStore{}, returns.Options{Host: host, Hostname: "x", Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	local, domain := split(tags.Mint(host, store.NewID(), 0))
	var refused *intake.Refusal
	if err := desk.CheckRecipient(auth.Principal{}, message.Address{Local: local, Domain: domain}); !errors.Is(err, store.ErrDamaged) || errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}
