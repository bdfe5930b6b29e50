package intake_test

import (
	"strings"
	"testing"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// TestSubmit_HostedUnsubscribe is whose fields a message leaves with.
func TestSubmit_HostedUnsubscribe(t *testing.T) {
	const base = "https://mail.example.com/u/"
	const own = "List-Unsubscribe: <https://client.example/off>\r\nLIST-unsubscribe-post: List-Unsubscribe=One-Click\r\n"
	for _, c := range []struct {
		name, base, stream string
		says               store.Unsubscribe
		hosted             bool
	}{
		{"broadcast", base, "broadcast", "", true},
		{"transactional", base, "outbound", "", false},
		{"transactional that asks for it", base, "outbound", store.UnsubscribeHosted, true},
		{"custom", base, "broadcast", store.UnsubscribeCustom, false},
		{"none", base, "broadcast", store.UnsubscribeNone, false},
		{"no URL", "", "broadcast", store.UnsubscribeHosted, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := account(t)
			stream := s.snap.Streams[store.StreamKey{Server: 1, Stream: c.stream}]
			stream.Unsubscribe = c.says
			var err error
			if s.snap, err = s.snap.With(store.Change{Stream: &stream}); err != nil {
				t.Fatal(err)
			}
			in := intake.New(s, s, intake.Options{Hostname: "mx.mailchute.example", UnsubscribeURL: c.base})
			if _, err := in.Submit(t.Context(), envelope(serverToken), strings.NewReader("X-PM-Message-Stream: "+c.stream+"\r\n"+own+simple)); err != nil {
				t.Fatal(err)
			}
			if kept := strings.Contains(string(s.body), own); kept == c.hosted {
				t.Errorf("the client's fields are kept: %v\n%s", kept, s.body)
			}
			if c.hosted && strings.Contains(strings.ToLower(string(s.body)), "unsubscribe") {
				t.Errorf("stored:\n%s", s.body)
			}
			if got := s.message.Unsubscribe; got != "" != c.hosted || c.hosted && got != base {
				t.Errorf("links begin with %q", got)
			}
		})
	}
}
