package returns_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/smtpd"
	"github.com/mailchute/mailchute/store"
)

// TestListenerTable has a row for each of B1 to B10: what a receiving host does with what strangers send.
func TestListenerTable(t *testing.T) {
	for _, row := range []struct {
		id, what string
		tweak    func(*returns.Options, *smtpd.Options)
		run      func(*world)
	}{
		{"B1", "no relaying, no AUTH", nil, func(w *world) {
			s := w.dial()
			if _, all := s.say("EHLO again"); strings.Contains(all, "AUTH") || strings.Contains(all, "DSN") {
				w.Errorf("offers %q", all)
			}
			s.want("AUTH PLAIN AHgAeQ==", "502 5.5.1 ")
			s.want("AUTH LOGIN", "502 5.5.1 ")
			s.want("MAIL FROM:<>", "250 ")
			s.want("RCPT TO:<someone@example.org>", "550 5.7.1 ")
			s.want("RCPT TO:<someone@relay.example.com>", "550 5.7.1 ")
			s.want("DATA", "554 5.5.1 ")
		}},
		{"B2", "forged and unknown tags", nil, func(w *world) {
			id := w.sent(nil)
			good := w.tags.Mint(host, id, 0)
			forged := good[:46] + map[bool]string{true: "0", false: "1"}[good[46] != '0'] + good[47:]
			s := w.dial()
			s.want("MAIL FROM:<>", "250 ")
			for _, to := range []string{forged, w.tags.Mint(host, store.NewID(), 0), w.tags.Mint(host, id, 2), good[:48] + "other." + host, "someone@" + host} {
				if strings.HasSuffix(to, "@"+host) {
					s.want("RCPT TO:<"+to+">", "550 5.1.1 no such address here")
				} else {
					s.want("RCPT TO:<"+to+">", "550 5.7.1 ")
				}
			}
			s.want("RCPT TO:<"+strings.ToUpper(good)+">", "250 ")
		}},
		{"B3", "expired", nil, func(w *world) {
			id := w.sent(nil)
			w.later(35*24*time.Hour - time.Minute)
			s := w.dial()
			s.want("MAIL FROM:<>", "250 ")
			s.want("RCPT TO:<"+w.tags.Mint(host, id, 0)+">", "250 ")
			w.later(2 * time.Minute)
			s.want("RSET", "250 ")
			s.want("MAIL FROM:<>", "250 ")
			s.want("RCPT TO:<"+w.tags.Mint(host, id, 0)+">", "550 5.1.1 no such address here")
		}},
		{"B4", "one recipient", nil, func(w *world) {
			id := w.sent(nil)
			for _, from := range []string{"", "someone@example.org"} {
				s := w.dial()
				s.want("MAIL FROM:<"+from+">", "250 ")
				s.want("RCPT TO:<"+w.tags.Mint(host, id, 0)+">", "250 ")
				s.want("RCPT TO:<"+w.tags.Mint(host, id, 1)+">", "452 4.5.3 ")
				s.want("DATA", "354 ")
				s.want("Subject: x\r\n\r\nx\r\n.", "250 ")
			}
		}},
		{"B5", "answers of programs and persons", nil, func(w *world) {
			id := w.sent(nil)
			w.deliver("nobody@example.org", w.tags.Mint(host, id, 0), "Subject: Out of office\nAuto-Submitted: auto-replied\n\nAway.\n", "250 ")
			w.wantEvents(id, "accepted, auto-reply AutoResponder nobody@example.org")
			w.wantState(id, 0, store.Sent)
			if got := w.list(store.Filter{Queued: true}); len(got) != 0 {
				w.Errorf("%d messages leave because of an answer", len(got))
			}
		}},
		{"B6", "postmaster and abuse", nil, func(w *world) {
			for _, to := range []string{"postmaster", "PostMaster@" + host, "abuse@" + host, "postmaster@relay.example.com"} {
				id := w.deliver("someone@example.org", to, "From: someone@example.org\nSubject: help\n\nHelp.\n", "250 ")
				if r := w.record(id); !r.Message.Returned || !r.Deliveries[0].Done() || r.Message.Header.Subject != "help" {
					w.Errorf("%s: %+v", to, r.Message)
				}
			}
		}},
		{"B6", "rate limited", func(o *returns.Options, _ *smtpd.Options) { o.MailboxRate = 8 }, func(w *world) {
			for i := range 3 {
				s := w.dial()
				s.want("MAIL FROM:<a@example.org>", "250 ")
				s.want("RCPT TO:<abuse@"+host+">", map[bool]string{true: "250 ", false: "451 4.7.1 "}[i < 2])
			}
			w.later(time.Hour)
			s := w.dial()
			s.want("MAIL FROM:<a@example.org>", "250 ")
			s.want("RCPT TO:<abuse@"+host+">", "250 ")
		}},
		{"B7", "too large", nil, func(w *world) {
			id := w.sent(nil)
			s := w.dial()
			s.want("MAIL FROM:<> SIZE=5242881", "552 5.3.4 ")
			w.deliver("", w.tags.Mint(host, id, 0), "Subject: x\n\n"+strings.Repeat(strings.Repeat("x", 98)+"\n", 53_000), "552 5.3.4 ")
			w.wantEvents(id, "accepted")
		}},
		{"B8", "nothing that can be read", nil, func(w *world) {
			id := w.sent(nil)
			kept := w.deliver("", w.tags.Mint(host, id, 0), "\x01\x02\xff\n"+strings.Repeat("x\n", 50_000), "250 ")
			w.wantEvents(id, "accepted, returned Unknown nobody@example.org")
			w.wantState(id, 0, store.Sent)
			if n := len(w.body(kept)); n != 64<<10 {
				w.Errorf("%d octets kept", n)
			}
		}},
		{"B8", "parts without end", nil, func(w *world) {
			id := w.sent(nil)
			var b strings.Builder
			for i := range 60 {
				fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
			}
			w.deliver("", w.tags.Mint(host, id, 0), b.String()+dsn("nobody@example.org", "failed", "5.1.1", "550 5.1.1 no"), "250 ")
			w.wantEvents(id, "accepted, returned Unknown nobody@example.org")
		}},
		{"B9", "names somebody else", nil, func(w *world) {
			id := w.sent(nil)
			w.deliver("", w.tags.Mint(host, id, 0), dsn("victim@example.com", "failed", "5.1.1", "550 5.1.1 no such user"), "250 ")
			w.wantEvents(id, "accepted, bounced HardBounce nobody@example.org, notice  shop@example.com")
			if got := w.suppressed(); got != "nobody@example.org HardBounce" {
				w.Errorf("suppressed %q", got)
			}
			w.wantState(id, 0, store.Bounced)
			w.wantState(id, 1, store.Sent)
		}},
		{"B10", "a tag that is used as a mailbox", nil, func(w *world) {
			id := w.sent(nil)
			for range 20 {
				w.deliver("a@example.org", w.tags.Mint(host, id, 0), "Subject: x\n\nx\n", "250 ")
			}
			s := w.dial()
			s.want("MAIL FROM:<a@example.org>", "250 ")
			s.want("RCPT TO:<"+w.tags.Mint(host, id, 0)+">", "550 5.1.1 no such address here")
			s.want("RCPT TO:<"+w.tags.Mint(host, id, 1)+">", "250 ")
		}},
		{"B10", "flood", func(_ *returns.Options, o *smtpd.Options) { o.MaxConnsPerNet = 1 }, func(w *world) {
			first := w.dial()
			second := first.another()
			second.want("", "421 4.7.0 ")
		}},
	} {
		t.Run(row.id+" "+row.what, func(t *testing.T) { row.run(newWorld(t, row.tweak)) })
	}
}
