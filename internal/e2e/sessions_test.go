//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
)

// TestSessions_EximTakesThreeMessagesEach sends one message to ten recipients,
// each with a return path and so a transaction of its own, to a host that ends
// its sessions with 421 after three: all get it in the first attempt.
func TestSessions_EximTakesThreeMessagesEach(t *testing.T) {
	address := net.JoinHostPort(eximHost, commonPort(t, eximHost))
	back := freePort(t)
	cert := issueFor(t, testmx.NewCA(t), filepath.Join(sharedDir(t), "exim"), "Debian-exim", "mx.exim.example")
	e := newExim(t, address, cert)
	r := startRelay(t, "delivery: {schedule: [1h]}\nbounces:\n  host: bounces.example\n  listeners: [{address: \""+back+"\", tls: starttls}]\n")
	w := &world{t: t, relay: r, exim: e, postfix: &postfix{log: &shadow{}}}
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", address, "--tls", "none")
	var rcpts []string
	for n := range 10 {
		rcpts = append(rcpts, fmt.Sprintf("<r%d@exim.example>", n))
	}
	id := w.send(letter("ten"), "<shop@sender.example>", rcpts...)
	for n := range 10 {
		dir := filepath.Join(e.mail, fmt.Sprintf("r%d", n))
		awaitMail(t, dir, "Subject: ten\n", w.trail(id))
		if m := about(dir, "Subject: ten\n"); len(m) != 1 || !strings.Contains(m[0], "@bounces.example>") {
			t.Errorf("r%d has %d copies:\n%s", n, len(m), strings.Join(m, "\n"))
		}
	}
	sent := func() bool { return strings.Count(string(r.run("message", "show", id)), "sent ") >= 10 }
	if !until(10*time.Second, sent) || strings.Contains(w.trail(id)(), "deferred") {
		t.Errorf("want all sent by one attempt:\n%s", w.trail(id)())
	}
	if trail := w.trail(id)(); !strings.Contains(trail, "message 3 on this connection") || strings.Contains(trail, "message 4 on this connection") {
		t.Errorf("want three messages in a session:\n%s", trail)
	}
	if sites := string(r.run("queue", "sites")); strings.Contains(sites, "421") {
		t.Errorf("the end of a session counts against the host:\n%s", sites)
	}
}
