package intake_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// known is what deliveries have found out: of domains that are named so.
type known struct{}

func (known) Refusing(domain string) (missing, null bool) {
	return strings.HasPrefix(domain, "missing."), strings.HasPrefix(domain, "null.")
}

func knowing(s *spool) *intake.Intake {
	return intake.New(s, s, intake.Options{Hostname: "mx.mailchute.example", Destinations: known{}})
}

// TestCheckRecipient_Hopeless: a domain that is known to take no mail is refused at once where nothing but its own mail
// hosts could get it.
func TestCheckRecipient_Hopeless(t *testing.T) {
	token := func(stream string) auth.Principal {
		return auth.Principal{Kind: auth.KindSMTPToken, Token: 8, Server: 1, Stream: stream}
	}
	for _, c := range []struct {
		name string
		p    auth.Principal
		to   string
		want intake.Kind // 0: taken
	}{
		{"null MX", token("outbound"), "a@null.example", intake.KindNullMX},
		{"A-labels", token("outbound"), "a@NULL.bücher.example", intake.KindNullMX},
		{"no domain", token("outbound"), "a@missing.example", intake.KindNoDomain},
		{"nothing known", token("outbound"), "a@one.example", 0},
		{"address literal", token("outbound"), "a@[192.0.2.1]", 0},
		{"smarthost", token("smarthost"), "a@null.example", 0},
		{"capture", token("capture"), "a@null.example", 0},
		{"redirect", token("redirect"), "a@null.example", 0},
		{"another route", token("both"), "a@null.example", 0},
		{"server token that may choose a smarthost", serverToken, "a@null.example", 0},
		{"server token that cannot", auth.Principal{Kind: auth.KindServerToken, Token: 9, Server: 2}, "a@null.example", intake.KindNullMX},
		{"sandbox", auth.Principal{Kind: auth.KindServerToken, Token: 9, Server: 3}, "a@null.example", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := account(t)
			with(t, s, store.Stream{Server: 1, ID: "both", Kind: store.Transactional, Mode: store.ModeLive, Alternates: []store.Route{{Host: "relay.example", Port: 587}}})
			to, err := message.ParsePath("<"+c.to+">", true)
			if err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, knowing(s).CheckRecipient(c.p, to), c.want)
		})
	}
}

// TestSubmit_Hopeless: a message is refused when it would reach nobody; else those who can be reached get it.
func TestSubmit_Hopeless(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream string
		to     []string
		want   intake.Kind
	}{
		{"all", "outbound", []string{"a@null.example", "b@missing.example"}, intake.KindNullMX},
		{"all, the other way", "outbound", []string{"b@missing.example", "a@null.example"}, intake.KindNoDomain},
		{"some", "outbound", []string{"a@null.example", "b@one.example"}, 0},
		{"smarthost", "smarthost", []string{"a@null.example"}, 0},
		{"capture", "capture", []string{"a@null.example"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := account(t)
			e := envelope(serverToken)
			e.Recipients = nil
			for _, a := range c.to {
				e.Recipients = append(e.Recipients, intake.Recipient{Address: a})
			}
			_, err := knowing(s).Submit(t.Context(), e, strings.NewReader("X-PM-Message-Stream: "+c.stream+"\r\n"+simple))
			wantRefusal(t, err, c.want)
		})
	}
}

func wantRefusal(t *testing.T, err error, want intake.Kind) {
	t.Helper()
	var r *intake.Refusal
	if errors.As(err, &r) != (want != 0) || r != nil && r.Kind != want || want == 0 && err != nil {
		t.Errorf("%v, want kind %d", err, want)
	}
}

func with(t *testing.T, s *spool, stream store.Stream) {
	t.Helper()
	snap, err := s.snap.With(store.Change{Stream: &stream})
	if err != nil {
		t.Fatal(err)
	}
	s.snap = snap
}
