//go:build e2e

package e2e

import (
	"encoding/json"
	"net"
	"os"
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
