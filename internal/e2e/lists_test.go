//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
)

// TestPostmarkClient_ListsAndSenders: a hard bounce from a scripted host is a
// bounce and a suppression, and activating it lets the next message pass.
func TestPostmarkClient_ListsAndSenders(t *testing.T) {
	mx := testmx.New(t, testmx.Script{TLS: testmx.NoTLS, Steps: map[testmx.Phase][]testmx.Step{testmx.Rcpt: {{Reply: "550 5.1.1 no such user"}}}})
	address := freePort(t)
	t.Setenv("MAILCHUTE_API_LISTENERS", address+"/none")
	dns := testdns.New(t, "")
	r := startRelay(t, "delivery: {resolver: \""+dns.Addr()+"\"}\nsenders: {url: \"http://localhost/confirm\", stream: \"My First Server/outbound\", from: postmaster@relay.example}\n")
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", mx.Addr(), "--tls", "none")
	const to = "buyer@dest.example"
	out, err := run("", []string{"API=" + checkedAPI(t, address), "SERVER_TOKEN=" + r.serverToken, "ACCOUNT_TOKEN=" + r.accountToken,
		"FROM=shop@sender.example", "TO=" + to, "OFF=off@dest.example"}, "node", "clients/lists.mjs")
	if err != nil || !strings.Contains(out, "done") {
		t.Fatalf("%v\n%s", err, out)
	}
	arrived := func(subject, to string) func() bool {
		return func() bool {
			return slices.ContainsFunc(mx.Messages(), func(m testmx.Message) bool {
				return strings.Contains(string(m.Body), "Subject: "+subject+"\r\n") && slices.ContainsFunc(m.To, func(r testmx.Recipient) bool { return r.Address == to })
			})
		}
	}
	for _, want := range [][2]string{{"lists-partly", to}, {"Confirm your sender address ada@lists.example", "ada@lists.example"}} {
		if !until(10*time.Second, arrived(want[0], want[1])) {
			t.Errorf("%s did not arrive at %s", want[0], want[1])
		}
	}
	if arrived("lists-partly", "off@dest.example")() || arrived("lists-refused", to)() {
		t.Error("a suppressed or refused message arrived")
	}
}
