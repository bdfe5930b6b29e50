package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

var day0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// policy is the default one with its defaults spelled out.
func policy() relay.Policy {
	return relay.Policy{Schedule: relay.DefaultSchedule(), Jitter: 0.15, UncertainWait: 30 * time.Minute, HoldWait: 4 * time.Hour}
}

func TestPolicy_Schedule(t *testing.T) {
	p := policy()
	var total time.Duration
	var got []string
	attempts := 1
	for ; total < 5*24*time.Hour; attempts++ {
		total += p.Wait(attempts, 0.5)
		if attempts <= 8 {
			got = append(got, fmt.Sprintf("%d:%02d", int(total.Hours()), int(total.Minutes())%60))
		}
	}
	if s := strings.Join(got, " "); s != "0:01 0:06 0:21 0:51 1:51 3:51 7:51 11:51" {
		t.Errorf("attempts after %s", s)
	}
	if attempts < 30 || attempts > 40 {
		t.Errorf("%d attempts in five days", attempts)
	}
	for _, c := range []struct {
		rand float64
		want time.Duration
	}{{0, 51 * time.Second}, {0.5, 60 * time.Second}, {0.9999999, 69 * time.Second}} {
		if d := p.Wait(1, c.rand); d.Round(time.Second) != c.want {
			t.Errorf("Wait(1, %v) = %v, want %v", c.rand, d, c.want)
		}
	}
	if p.Wait(0, 0.5) != time.Minute || p.Wait(1000, 0.5) != 4*time.Hour {
		t.Errorf("Wait outside the table: %v, %v", p.Wait(0, 0.5), p.Wait(1000, 0.5))
	}
}

// claimed is a delivery for n recipients at its given attempt.
func claimed(attempt, n int) store.Claimed {
	c := store.Claimed{Message: store.Message{From: "a@sender.test"}}
	c.Delivery = store.Delivery{Attempt: attempt, Due: day0, Lease: day0.Add(time.Hour), Expires: day0.Add(5 * 24 * time.Hour), Destination: "example.test"}
	for i := range n {
		c.Delivery.Recipients = append(c.Delivery.Recipients, store.Recipient{Address: fmt.Sprintf("r%d@example.test", i), State: store.Queued})
	}
	return c
}

func TestPolicy_Next(t *testing.T) {
	sent, later, never := delivered(), refused(450, "rcpt"), refused(550, "rcpt")
	lost := relay.Result{Uncertain: true, Reply: store.Reply{Command: "dot"}}
	stopped := relay.Result{Err: context.Canceled}
	broken := relay.Result{Err: store.ErrDamaged}
	for _, c := range []struct {
		name    string
		attempt int
		age     time.Duration // when the attempt ended
		results []relay.Result
		states  string
		due     time.Duration // from now; -1: all are done
		events  string
		failed  string
		flags   string
	}{
		{"sent", 1, 0, []relay.Result{sent, sent}, "sent sent", -1, "sent sent", "[]", ""},
		{"refused", 1, 0, []relay.Result{never, never}, "bounced bounced", -1, "bounced bounced", "[0 1]", ""},
		{"mixed", 1, 0, []relay.Result{sent, later, never}, "sent queued bounced", time.Minute, "sent deferred bounced", "[2]", ""},
		{"deferred once", 1, 0, []relay.Result{later}, "queued", time.Minute, "deferred", "[]", ""},
		{"deferred four times", 4, time.Hour, []relay.Result{later}, "queued", 30 * time.Minute, "deferred", "[]", ""},
		{"deferred often", 20, 60 * time.Hour, []relay.Result{later}, "queued", 4 * time.Hour, "deferred", "[]", ""},
		{"same reason for all is one event", 1, 0, []relay.Result{later, later, later}, "queued queued queued", time.Minute, "deferred", "[]", ""},
		{"uncertain waits longer", 1, 0, []relay.Result{lost}, "queued", 30 * time.Minute, "uncertain", "[]", "uncertain"},
		{"uncertain and late waits as the table says", 7, 9 * time.Hour, []relay.Result{lost}, "queued", 4 * time.Hour, "uncertain", "[]", "uncertain"},
		{"uncertain for some", 1, 0, []relay.Result{lost, never}, "queued bounced", 30 * time.Minute, "uncertain bounced", "[1]", "uncertain"},
		{"interrupted", 3, time.Hour, []relay.Result{stopped, stopped}, "queued queued", 0, "deferred", "[]", ""},
		{"interrupted and deferred", 1, 0, []relay.Result{stopped, later}, "queued queued", time.Minute, "deferred deferred", "[]", ""},
		{"damaged", 1, 0, []relay.Result{broken}, "queued", 4 * time.Hour, "deferred", "[]", "hold"},
		{"deferred beyond its time is woken to expire", 20, 5*24*time.Hour - time.Hour, []relay.Result{later}, "queued", time.Hour, "deferred", "[]", ""},
		{"expires with its attempt", 20, 5 * 24 * time.Hour, []relay.Result{later, sent, never}, "expired sent bounced", -1, "deferred sent bounced expired", "[2 0]", ""},
		{"one attempt is always made", 1, 400 * 24 * time.Hour, []relay.Result{later}, "expired", -1, "deferred expired", "[0]", ""},
		{"interrupted does not expire", 2, 6 * 24 * time.Hour, []relay.Result{stopped}, "queued", 0, "deferred", "[]", ""},
	} {
		for _, before := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, uncertain before %v", c.name, before), func(t *testing.T) {
				cl := claimed(c.attempt, len(c.results))
				cl.Delivery.Uncertain = before
				now := day0.Add(c.age)
				var open []int
				for i := range c.results {
					open = append(open, i)
				}
				d := policy().Next(relay.Attempt{Claimed: cl, Open: open, Results: c.results, Now: now, Rand: 0.5})
				got := d.Resolution.Delivery
				var states, events []string
				for _, r := range got.Recipients {
					states = append(states, string(r.State))
				}
				for _, e := range d.Resolution.Events {
					events = append(events, string(e.Kind))
					if e.At != now || e.Attempt != c.attempt {
						t.Errorf("event %+v: want time and attempt of the attempt", e)
					}
				}
				if d.Hold != (c.flags == "hold") {
					t.Errorf("hold %v", d.Hold)
				}
				if uncertain := !got.Done() && (before || c.flags == "uncertain"); got.Uncertain != uncertain {
					t.Errorf("uncertain %v, want %v", got.Uncertain, uncertain)
				}
				if s := strings.Join(states, " "); s != c.states {
					t.Errorf("states = %s, want %s", s, c.states)
				}
				if s := strings.Join(events, " "); s != c.events {
					t.Errorf("events = %s, want %s", s, c.events)
				}
				if fmt.Sprint(d.Failed) != c.failed {
					t.Errorf("failed %v, want %s", d.Failed, c.failed)
				}
				if (c.due < 0) != got.Done() || c.due >= 0 && got.Due.Sub(now) != c.due {
					t.Errorf("done %v, due in %v, want %v", got.Done(), got.Due.Sub(now), c.due)
				}
				if !got.Lease.IsZero() || cl.Delivery.Recipients[0].State != store.Queued {
					t.Errorf("lease is kept, or the claimed delivery was changed")
				}
			})
		}
	}
}

// TestPolicy_UncertainExpires only where nobody is asked: nobody knows that it failed.
func TestPolicy_UncertainExpires(t *testing.T) {
	lost, later := relay.Result{Uncertain: true, Reply: store.Reply{Command: "dot"}}, refused(450, "rcpt")
	for _, c := range []struct {
		before, holds bool
		result        relay.Result
		want          string
	}{
		{false, false, lost, "expired: given up after 2 attempts; it may have been delivered all the same"},
		{true, false, later, "expired: given up after 2 attempts; it may have been delivered all the same"},
		{false, false, later, "expired: given up after 2 attempts"},
		{false, true, later, "expired: given up after 2 attempts"},
		{false, true, lost, "queued"},
		{true, true, later, "queued"},
	} {
		cl := claimed(2, 1)
		cl.Delivery.Uncertain = c.before
		d := policy().Next(relay.Attempt{Claimed: cl, Open: []int{0}, Results: []relay.Result{c.result}, Now: cl.Delivery.Expires, Rand: 0.5, Holds: c.holds})
		got := string(d.Resolution.Delivery.Recipients[0].State)
		if last := d.Resolution.Events[len(d.Resolution.Events)-1]; last.Kind == store.EventExpired {
			got += ": " + last.Detail
		}
		if got != c.want || d.Resolution.Delivery.Uncertain != (got == "queued") {
			t.Errorf("%+v: %s, uncertain %v", c, got, d.Resolution.Delivery.Uncertain)
		}
	}
}

// TestPolicy_Transitions fills the matrix of state and verdict: a final state is never left.
func TestPolicy_Transitions(t *testing.T) {
	verdicts := map[string]relay.Result{
		"delivered": delivered(), "temporary": refused(450, "rcpt"), "permanent": refused(550, "rcpt"),
		"uncertain": {Uncertain: true}, "interrupted": {Err: context.Canceled}, "damaged": {Err: store.ErrDamaged},
	}
	next := map[string]store.State{"delivered": store.Sent, "permanent": store.Bounced}
	for _, from := range []store.State{store.Queued, store.Sent, store.Captured, store.Bounced, store.Expired, store.Cancelled, store.Suppressed} {
		for name, r := range verdicts {
			c := claimed(1, 2)
			c.Delivery.Recipients[0].State = from
			a := relay.Attempt{Claimed: c, Open: []int{1}, Results: []relay.Result{r}, Now: day0}
			want := from
			if from == store.Queued {
				a.Open, a.Results = []int{0, 1}, []relay.Result{r, r}
				if s, ok := next[name]; ok {
					want = s
				}
			}
			d := policy().Next(a)
			if got := d.Resolution.Delivery.Recipients[0].State; got != want {
				t.Errorf("%s + %s = %s, want %s", from, name, got, want)
			}
		}
	}
}

func TestPolicy_Expired(t *testing.T) {
	end := day0.Add(5 * 24 * time.Hour)
	for _, c := range []struct {
		attempt int
		now     time.Time
		want    bool
	}{
		{1, day0, false}, {2, end.Add(-1), false}, {2, end, true}, {2, end.Add(time.Hour - 1), true},
		{1, end.Add(365 * 24 * time.Hour), false}, // never tried: a clock that jumped must not return it
	} {
		cl := claimed(c.attempt, 1)
		cl.Delivery.Due = end
		if got := policy().Expired(cl.Delivery, c.now); got != c.want {
			t.Errorf("Expired(attempt %d, %v) = %v, want %v", c.attempt, c.now, got, c.want)
		}
	}
	cl := claimed(2, 2)
	cl.Delivery.Recipients[0].State = store.Sent
	cl.Delivery.Recipients[1].Last = store.Reply{Code: 450, Text: "busy"}
	d := policy().Expire(cl, end)
	if got := d.Resolution.Delivery.Recipients; got[0].State != store.Sent || got[1].State != store.Expired || fmt.Sprint(d.Failed) != "[1]" {
		t.Errorf("Expire = %+v, failed %v", got, d.Failed)
	}
	if e := d.Resolution.Events; len(e) != 1 || e[0].Reply.Text != "busy" || !strings.Contains(e[0].Detail, "after 1 attempts") {
		t.Errorf("events = %+v, want the last reply and the number of attempts", e)
	}
}
