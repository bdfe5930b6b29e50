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

// TestTestAddresses_NeverLeave has deliveries to the domains for tests in every mode that sends, with a transport that
// is for the notices alone.
func TestTestAddresses_NeverLeave(t *testing.T) {
	for name, stream := range map[string]store.Stream{
		"MX": {}, "smarthost": {Route: store.Route{Host: "relay.test", Port: 25}}, "redirect": {Mode: store.ModeRedirect, RedirectTo: "dev@team.test"},
		"held when uncertain": {Uncertain: store.UncertainHold},
	} {
		t.Run(name, func(t *testing.T) {
			stream.ID = "outbound"
			q, l := newQueue(), &list{}
			start(t, q, newDirectory(t, stream), relay.Options{Hostname: "relay.test", Suppressor: l, Transport: &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
				if !j.Message.Bounce {
					t.Errorf("sent to %v", j.Recipients)
				}
				return []relay.Result{delivered()} // the notice
			}}})
			bounced := q.submit("outbound", time.Now(), "hard_bounce@bounce-testing.postmarkapp.com", "SOFTBOUNCE@bounce-testing.postmarkapp.com",
				"dns_error@bounce-testing.postmarkapp.com", "SpamComplaint@bounce-testing.postmarkapp.com", "ada@bounce-testing.postmarkapp.com")
			kept := q.submit("outbound", time.Now(), "ada@blackhole.postmarkapp.com")
			q.until(t, "everything to end", func() bool { return q.delivery(bounced).Done() && q.delivery(kept).Done() })
			var got []string
			for _, e := range q.timeline(bounced) {
				if e.Kind == store.EventBounced {
					local, _, _ := strings.Cut(e.Recipient, "@")
					got = append(got, fmt.Sprintf("%s %s", local, e.Bounce))
				}
			}
			if want := "hard_bounce HardBounce, SOFTBOUNCE SoftBounce, dns_error DnsError, SpamComplaint HardBounce, ada HardBounce"; strings.Join(got, ", ") != want {
				t.Errorf("bounces %q, want %q", got, want)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.got) != 3 {
				t.Errorf("suppressed %+v, want the three hard ones", l.got)
			}
			if r := q.delivery(kept).Recipients[0]; r.State != store.Captured {
				t.Errorf("the black hole: %+v", r)
			}
		})
	}
}
