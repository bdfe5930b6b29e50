//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
)

// TestDANE_DecidesDeliveries delivers to a host that shows the published key,
// and to one that shows another: the first gets its mail, the second never
// does, though it offers TLS.
func TestDANE_DecidesDeliveries(t *testing.T) {
	ca := testmx.NewCA(t)
	port := commonPort(t, postfixHost, eximHost)
	certs := sharedDir(t)
	cert := issue(t, ca, filepath.Join(certs, "postfix"), "mx.postfix.example")
	key := sha256.Sum256(cert.leaf.RawSubjectPublicKeyInfo)
	names := newNameservers(t, interopZone+fmt.Sprintf("_%[1]s._tcp.mx.postfix TLSA 3 1 1 %[2]x\n_%[1]s._tcp.mx.exim TLSA 3 1 1 %064[3]d\n", port, key, 1))
	w := &world{
		t:       t,
		postfix: postfixReceiver(t, net.JoinHostPort(postfixHost, port), cert),
		exim:    newExim(t, net.JoinHostPort(eximHost, port), issueFor(t, ca, filepath.Join(certs, "exim"), "Debian-exim", "mx.exim.example")),
		relay: startRelay(t, fmt.Sprintf(`delivery:
  resolver: %s
  resolver_trusted: true
  mx_port: %s
  allow_private: true
  mta_sts: false
  schedule: [500ms]
`, names.resolver, port)),
	}
	w.relay.run("stream", "set", "outbound", "--mode", "live", "--mx")
	id := w.send(letter("dane-right"), "<shop@sender.example>", "<buyer@postfix.example>")
	awaitMail(t, filepath.Join(w.postfix.mail, "buyer"), "Subject: dane-right\n", w.trail(id))
	if !until(10*time.Second, func() bool { return strings.Contains(w.trail(id)(), "DANE") }) {
		t.Errorf("the timeline does not tell that DANE was used:\n%s", w.trail(id)())
	}
	id = w.send(letter("dane-wrong"), "<shop@sender.example>", "<buyer@exim.example>")
	if !until(20*time.Second, func() bool { return strings.Count(w.trail(id)(), "deferred") >= 2 }) {
		t.Errorf("mail for a host with another key must wait:\n%s", w.trail(id)())
	}
	if got := w.states(id)["buyer@exim.example"]; got != "queued" {
		t.Errorf("recipient is %q, want it queued", got)
	}
	if got := about(filepath.Join(w.exim.mail, "buyer"), "dane-wrong"); len(got) != 0 {
		t.Errorf("a host with another key got the mail:\n%s", got)
	}
}
