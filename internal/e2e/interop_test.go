//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/testmx"
)

// The addresses of the mail hosts. All listen on one port, as they do in life.
const (
	postfixHost = "127.0.0.2"
	eximHost    = "127.0.0.3"
	deadHost    = "127.0.0.9" // nobody listens
)

const interopZone = `
sender        MX 10 mx.postfix
postfix       MX 10 mx.postfix
mx.postfix    A  127.0.0.2
exim          MX 10 mx.exim
mx.exim       A  127.0.0.3
null          MX 0 .
second        MX 10 dead
second        MX 20 mx.postfix
dead          A  127.0.0.9
implicit      A  127.0.0.2
alias         CNAME postfix
empty         TXT "no address and no mail host"
`

// wideZone is a domain whose mail hosts do not fit into a datagram.
func wideZone() string {
	zone := "wide MX 1 mx.postfix\n"
	for n := range 60 {
		zone += fmt.Sprintf("wide MX 50 a-mail-host-with-a-rather-long-name-%d.%s\n", n, strings.Repeat("x", 40))
	}
	return zone
}

// world is a mailchute that delivers by MX to real servers.
type world struct {
	t       testing.TB
	relay   *relay
	postfix *postfix
	exim    *exim
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ca := testmx.NewCA(t)
	port := commonPort(t, postfixHost, eximHost, deadHost)
	certs := sharedDir(t)
	names := newNameservers(t, interopZone+wideZone())
	w := &world{
		t:       t,
		postfix: postfixReceiver(t, net.JoinHostPort(postfixHost, port), issue(t, ca, filepath.Join(certs, "postfix"), "mx.postfix.example")),
		exim:    newExim(t, net.JoinHostPort(eximHost, port), issueFor(t, ca, filepath.Join(certs, "exim"), "Debian-exim", "mx.exim.example")),
	}
	w.relay = startRelay(t, fmt.Sprintf(`delivery:
  resolver: %s
  mx_port: %s
  allow_private: true
  schedule: [500ms, 1s, 1s, 1s]
`, names.resolver, port))
	for _, stream := range []string{"outbound", "broadcast"} {
		w.relay.run("stream", "set", stream, "--mode", "live", "--mx")
	}
	return w
}

// issueFor is issue, with files that one user may read.
func issueFor(t testing.TB, ca *testmx.CA, dir, owner string, names ...string) certificate {
	t.Helper()
	c := issue(t, ca, dir, names...)
	give(t, dir, account(t, owner))
	return c
}

// send submits one message with parameters for MAIL and RCPT, if any, and
// returns its ID.
func (w *world) send(content, mail string, rcpts ...string) string {
	w.t.Helper()
	c, err := w.relay.session(w.relay.serverToken, w.relay.serverToken)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	steps := []string{"MAIL FROM:" + mail}
	for _, r := range rcpts {
		steps = append(steps, "RCPT TO:"+r)
	}
	for _, s := range steps {
		if text, err := command(c.Text, 250, s); err != nil {
			w.t.Fatalf("%s: %s %v", s, text, err)
		}
	}
	if text, err := command(c.Text, 354, "DATA"); err != nil {
		w.t.Fatalf("DATA: %s %v", text, err)
	}
	dot := c.Text.DotWriter()
	fmt.Fprint(dot, content)
	dot.Close()
	_, text, err := c.Text.ReadResponse(250)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimPrefix(text, "2.0.0 queued as ")
}

// trail is what to read when a message did not arrive.
func (w *world) trail(id string) func() string {
	return func() string {
		return string(w.relay.run("message", "show", id)) + w.postfix.log.String() + w.exim.log.String()
	}
}

// states returns the state of each recipient.
func (w *world) states(id string) map[string]string {
	w.t.Helper()
	var shown struct {
		Deliveries []struct {
			Recipients []struct{ Address, State string }
		}
	}
	if err := json.Unmarshal(w.relay.run("message", "show", id, "--json"), &shown); err != nil {
		w.t.Fatal(err)
	}
	states := map[string]string{}
	for _, d := range shown.Deliveries {
		for _, r := range d.Recipients {
			states[r.Address] = r.State
		}
	}
	return states
}

// arrived checks a delivered message: above it only trace, ours being one
// field; below, what was submitted to the last octet.
func arrived(t *testing.T, got, want string) {
	t.Helper()
	head, found := strings.CutSuffix(got, want)
	if !found {
		t.Errorf("received\n%q\nwant it to end in\n%q", got, want)
	}
	ours := 0
	for line := range strings.Lines(head) {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case line[0] == ' ' || line[0] == '\t':
		case name == "Received":
			ours++
		case name != "Return-Path" && name != "X-Original-To" && name != "Delivered-To" && name != "Return-path" && name != "Envelope-to" && name != "Delivery-date":
			t.Errorf("field %q was added", line)
		}
	}
	if ours != 2 {
		t.Errorf("%d Received fields, want the receiver's and ours:\n%s", ours, head)
	}
	if !strings.Contains(head, "TLS1.3") && !strings.Contains(head, "TLSv1.3") {
		t.Errorf("delivered without TLS 1.3:\n%s", head)
	}
}
