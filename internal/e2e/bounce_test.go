//go:build e2e

package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBounce_ComesBackThroughARealClient: swaks brings a report to the return path that the receiver saw.
func TestBounce_ComesBackThroughARealClient(t *testing.T) {
	rcv := newReceiver(t)
	r := newRelay(t, rcv.address)
	listener := freePort(t)
	r.stop()
	config, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	r.write(string(config) + "bounces:\n  host: bounces.example.com\n  listeners: [{address: \"" + listener + "\", tls: starttls}]\n")
	r.start()
	if !until(10*time.Second, func() bool { return dials(listener) }) {
		t.Fatal("nobody listens for bounces")
	}
	if out, err := swaks(submission{relay: r, tls: "starttls", from: "shop@sender.example", to: "gone@dest.example", user: r.serverToken, pass: r.serverToken, message: letter("comes-back")}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !until(10*time.Second, func() bool { return len(rcv.about("comes-back")) == 1 }) {
		t.Fatal("not delivered")
	}
	tag := rcv.about("comes-back")[0].from
	if local, _, _ := strings.Cut(tag, "@"); len(local) != 47 || !strings.HasSuffix(tag, "@bounces.example.com") {
		t.Fatalf("return path %q", tag)
	}
	host, port, err := net.SplitHostPort(listener)
	if err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile("../../message/bounce/testdata/postfix-user-unknown.eml")
	if err != nil {
		t.Fatal(err)
	}
	send := func(to string) (string, error) {
		return run(strings.ReplaceAll(string(report), "\r\n", "\n"), nil, "swaks", "--server", host, "--port", port, "--tls", "--from", "<>", "--to", to, "--data", "-", "--timeout", "20")
	}
	if out, err := send("b" + tag[2:]); err == nil || !strings.Contains(out, "550 5.1.1 no such address here") {
		t.Errorf("a tag that lacks one character: %v\n%s", err, out)
	}
	if out, err := send(tag); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var bounces []struct{ Recipient, Type, Kept string }
	if err := json.Unmarshal(r.run("bounce", "list", "--json"), &bounces); err != nil || len(bounces) != 1 {
		t.Fatalf("%v, %v", bounces, err)
	}
	if b := bounces[0]; b.Recipient != "gone@dest.example" || b.Type != "HardBounce" || b.Kept == "" {
		t.Errorf("%+v", b)
	}
	if !until(10*time.Second, func() bool { return len(rcv.about("Undelivered mail returned to sender")) == 1 }) {
		t.Error("the sender was not told")
	}
}

// TestBounce_OfPostfix: Postfix takes a message for two recipients, finds later that it cannot deliver one of them, and its
// notice comes back to that recipient's return path.
func TestBounce_OfPostfix(t *testing.T) {
	listener := freePort(t)
	_, port, err := net.SplitHostPort(listener)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(postfixHost, commonPort(t, postfixHost))
	p := newPostfix(t, postfixConfig{name: "smarthost.example", listeners: address + " inet n - n - - smtpd\n", settings: `
smtpd_relay_restrictions = check_client_access static:OK, reject
smtpd_reject_unlisted_recipient = no
virtual_mailbox_domains = postfix.example
virtual_mailbox_maps = static:buyer/
transport_maps = inline:{ { bounces.example.com = smtp:[127.0.0.1]:` + port + ` } }
default_transport = error:5.1.1 nobody lives there
`})
	r := startRelay(t, "bounces:\n  host: bounces.example.com\n  listeners: [{address: \""+listener+"\", tls: starttls}]\n")
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", address, "--tls", "none")
	w := &world{t: t, relay: r, postfix: p, exim: &exim{log: &shadow{}}}
	id := w.send(letter("half-of-it"), "<shop@postfix.example>", "<buyer@postfix.example>", "<gone@elsewhere.example>")
	mail := awaitMail(t, filepath.Join(p.mail, "buyer"), "Subject: half-of-it\n", w.trail(id))
	if !regexp.MustCompile(`(?m)^Return-Path: <b[0-9a-z]{46}@bounces\.example\.com>$`).MatchString(mail) {
		t.Errorf("delivered with another return path:\n%s", mail)
	}
	if !until(20*time.Second, func() bool { return w.states(id)["gone@elsewhere.example"] == "bounced" }) {
		t.Fatalf("the notice of Postfix did not come back:\n%s", w.trail(id)())
	}
	if !until(10*time.Second, func() bool { return w.states(id)["buyer@postfix.example"] == "sent" }) {
		t.Errorf("the other recipient is %s", w.states(id)["buyer@postfix.example"])
	}
	shown := string(r.run("bounce", "show", id))
	for _, want := range []string{"gone@elsewhere.example", "HardBounce (1)", "came back", "nobody lives there", "as rfc3464 from smarthost.example"} {
		if !strings.Contains(shown, want) {
			t.Errorf("bounce show lacks %q:\n%s", want, shown)
		}
	}
	// The sender is told by us, and nothing of it goes round in circles.
	notice := awaitMail(t, filepath.Join(p.mail, "buyer"), "Undelivered mail returned to sender", w.trail(id))
	if !strings.Contains(notice, "Return-Path: <>\n") || !strings.Contains(notice, "Final-Recipient: rfc822; gone@elsewhere.example") {
		t.Errorf("notice:\n%s", notice)
	}
}
