package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// many is a job with n recipients, each with a return path of its own.
func many(n int) relay.Job {
	j := job(addresses(n)...)
	for i := range j.Recipients {
		j.Recipients[i].ReturnPath = fmt.Sprintf("b%d@bounces.test", i)
	}
	return j
}

func addresses(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("r%d@example.test", i)
	}
	return out
}

// tally counts results by fate.
func tally(results []relay.Result) map[string]int {
	out := map[string]int{}
	for _, r := range results {
		out[fate(r)]++
	}
	return out
}

// TestSessions is a host that ends its sessions after some messages, in each of the ways seen: all recipients get the
// message in one attempt, once each, in as few sessions as it takes.
func TestSessions(t *testing.T) {
	for name, full := range map[string]testmx.Step{
		"421": {}, "closed": {Drop: true}, "421 without closing at once": {Raw: "421 4.3.2 enough\r\n"},
	} {
		for _, limit := range []int{1, 3, 10} {
			for _, lack := range [][]string{nil, {"PIPELINING"}} {
				t.Run(fmt.Sprintf("%s after %d, lacking %v", name, limit, lack), func(t *testing.T) {
					t.Parallel()
					w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Transactions: limit, Full: full, Lack: lack})
					got := transport(t, w.options()).Send(t.Context(), many(50))
					if n := tally(got)["delivered 250 dot"]; n != 50 {
						t.Fatalf("results %v, want 50 delivered", tally(got))
					}
					if n, want := mx.Connections(), (50+limit-1)/limit; n != want {
						t.Errorf("%d sessions, want %d", n, want)
					}
					everybodyOnce(t, mx.Messages(), 50)
				})
			}
		}
	}
}

func everybodyOnce(t *testing.T, messages []testmx.Message, n int) {
	t.Helper()
	seen := map[string]int{}
	for _, m := range messages {
		for _, to := range m.To {
			seen[to.Address]++
		}
	}
	for _, a := range addresses(n) {
		if seen[a] != 1 {
			t.Errorf("%s has the message %d times", a, seen[a])
		}
	}
}

// TestSessions_Announced is RFC 9422: what the host names is kept, so that it never has to refuse.
func TestSessions_Announced(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Transactions: 4, Extra: []string{"LIMITS MAILMAX=4 RCPTMAX=3 XOTHER=a=b MAILMAX="}})
	got := transport(t, w.options()).Send(t.Context(), job(addresses(20)...))
	if n := tally(got)["delivered 250 dot"]; n != 20 {
		t.Fatalf("results %v", tally(got))
	}
	if mx.Connections() != 2 || len(mx.Messages()) != 7 || strings.Contains(fmt.Sprint(mx.Transcripts()), "S: 421") {
		t.Errorf("%d sessions, %d transactions, want 7 of at most 3 recipients in 2 sessions: %q", mx.Connections(), len(mx.Messages()), mx.Transcripts())
	}
	everybodyOnce(t, mx.Messages(), 20)
}

// TestSessions_OwnLimit is our own bound, which holds within one delivery, too.
func TestSessions_OwnLimit(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS})
	o := w.options()
	o.Pool.Messages = 7
	if n := tally(transport(t, o).Send(t.Context(), many(20)))["delivered 250 dot"]; n != 20 || mx.Connections() != 3 {
		t.Errorf("%d delivered in %d sessions, want 20 in 3", n, mx.Connections())
	}
	mx.WaitPhase(testmx.Quit, 2)
}

// TestSessions_NoProgress is a host that takes nothing any more: it is asked a few times and not once a recipient.
func TestSessions_NoProgress(t *testing.T) {
	for _, c := range []struct {
		name     string
		script   testmx.Script
		sessions int
		want     string
	}{
		{"421 at the first MAIL", at(testmx.Mail, testmx.Step{Reply: "421 4.7.0 not now", Always: true}), 1, "temporary 421 mail:50"},
		{"closed at the first MAIL", at(testmx.Mail, testmx.Step{Drop: true, Always: true}), 1, "temporary 0 mail:50"},
		{"421 after one message, then at once", at(testmx.Mail, testmx.Step{}, testmx.Step{Reply: "421 4.7.0 not now", Always: true}), 2,
			"delivered 250 dot:1 temporary 421 mail:49"},
		{"every session ends after a refusal", testmx.Script{Transactions: 1, Steps: steps{testmx.Rcpt: {reply("550 5.1.1 unknown")}}}, 4,
			"permanent 550 rcpt:4 temporary 421 rset:46"},
		{"no session after the first", at(testmx.Connect, testmx.Step{}, testmx.Step{Reply: "554 5.7.1 enough", Always: true}), 2,
			"delivered 250 dot:3 temporary 554 connect:47"},
		{"silence is no end of a session", at(testmx.Mail, testmx.Step{}, testmx.Step{Stall: true, Always: true}), 1,
			"delivered 250 dot:1 temporary 0 mail:49"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.script.TLS = testmx.NoTLS
			if strings.HasPrefix(c.name, "no session") {
				c.script.Transactions = 3
			}
			w, mx := single(t, c.script)
			o := w.options()
			o.Timeouts.Mail = time.Second
			var got []string
			for k, n := range tally(transport(t, o).Send(t.Context(), many(50))) {
				got = append(got, fmt.Sprintf("%s:%d", k, n))
			}
			if len(got) == 2 && got[0] > got[1] {
				got[0], got[1] = got[1], got[0]
			}
			if s := strings.Join(got, " "); s != c.want || mx.Connections() != c.sessions {
				t.Errorf("%s in %d sessions, want %s in %d", s, mx.Connections(), c.want, c.sessions)
			}
		})
	}
}

// TestSessions_KeptConnectionIsUp is a kept connection whose session is over when the next message comes, which is told at
// MAIL, behind a RSET that was still answered.
func TestSessions_KeptConnectionIsUp(t *testing.T) {
	for _, step := range []testmx.Step{{Reply: "421 4.7.0 too many"}, {Drop: true}} {
		w, mx := single(t, testmx.Script{Rcpt: map[string][]testmx.Step{"gone@example.test": {reply("550 5.1.1 unknown")}}, Steps: steps{testmx.Mail: {{}, step}}})
		tr := transport(t, w.options())
		if got := tr.Send(t.Context(), job("gone@example.test"))[0]; got.Verdict() != relay.Permanent {
			t.Errorf("first message: %s", fate(got))
		}
		if got := tr.Send(t.Context(), job())[0]; got.Verdict() != relay.Delivered || mx.Connections() != 2 || mx.Reached(testmx.Reset) != 1 {
			t.Errorf("second message: %s, in session %d, after %d RSET", fate(got), mx.Connections(), mx.Reached(testmx.Reset))
		}
	}
}

// TestSessions_SaysNothingOfTheSite lets messages with several recipients go to a host that takes one message a session:
// its limit rises as with any host that answers, and nothing is put off.
func TestSessions_SaysNothingOfTheSite(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Transactions: 1})
	q := newQueue()
	o := w.options()
	o.Policy = relay.Policy{Schedule: []time.Duration{time.Hour}}
	o.ReturnPath = func(_ store.Message, n int) string { return fmt.Sprintf("b%d@bounces.test", n) }
	disp, _ := start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), o)
	for range 4 {
		q.submit("outbound", time.Now(), addresses(5)...)
	}
	q.until(t, "all to be sent", func() bool { return q.unfinished() == 0 })
	for _, s := range disp.Sites() {
		for _, c := range s.Changes {
			if c.To < c.From {
				t.Errorf("the limit of %s fell: %+v", s.Key, c)
			}
		}
	}
	if n := mx.Connections(); n != 20 {
		t.Errorf("%d sessions, want 20", n)
	}
}

// TestSessions_NextHostWhenTheFirstGoesAway: a session that is over does not keep the rest from the next host.
func TestSessions_NextHostWhenTheFirstGoesAway(t *testing.T) {
	first, second := testmx.New(t, testmx.Script{TLS: testmx.NoTLS, Transactions: 2}), testmx.New(t, testmx.Script{TLS: testmx.NoTLS})
	w := newWorld()
	w.mail("example.test", 10, "mx1.example.test")
	w.mail("example.test", 20, "mx2.example.test")
	w.host("mx1.example.test", 1, first)
	w.host("mx2.example.test", 2, second)
	o, dials := w.options(), 0
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials == 2 {
			return nil, errors.New("connection refused")
		}
		return dial(ctx, network, address)
	}
	tr := transport(t, o)
	got := tr.Send(t.Context(), many(5))
	if tally(got)["delivered 250 dot"] != 5 || len(first.Messages()) != 2 || len(second.Messages()) != 3 {
		t.Errorf("%v; %d at the first host, %d at the second", tally(got), len(first.Messages()), len(second.Messages()))
	}
	if tr.Send(t.Context(), job("x@example.test")); len(first.Messages()) != 3 {
		t.Error("the first host is tried last, although it had a session a moment ago")
	}
}
