//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestBounces_OfPostfixFindTheirMessage has Postfix accept mail for an alias
// whose mailbox is gone, and bounce it afterwards to the reverse-path of the
// recipient, which leads to our listener.
func TestBounces_OfPostfixFindTheirMessage(t *testing.T) {
	address := net.JoinHostPort(postfixHost, commonPort(t, postfixHost))
	back := freePort(t)
	p := newPostfix(t, postfixConfig{name: "mx.postfix.example", listeners: address + " inet n - n - - smtpd\n", settings: fmt.Sprintf(`
virtual_mailbox_domains = postfix.example
virtual_mailbox_maps = inline:{ buyer@postfix.example=buyer/ }
virtual_alias_maps = inline:{ moved@postfix.example=gone@postfix.example }
smtpd_recipient_restrictions = reject_unauth_destination, reject_unlisted_recipient
transport_maps = inline:{ bounces.example=smtp:[%s]:%s }
`, "127.0.0.1", portOf(back))})
	r := startRelay(t, "bounces:\n  host: bounces.example\n  listeners: [{address: \""+back+"\", tls: starttls}]\n")
	w := &world{t: t, relay: r, postfix: p, exim: &exim{log: &shadow{}}}
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", address, "--tls", "none")
	id := w.send(letter("late"), "<shop@sender.example>", "<moved@postfix.example>")
	found := bouncesOf(t, r, id)
	if len(found) != 1 {
		t.Fatalf("want the bounce of %s recorded once: %+v\n%s", id, found, w.trail(id)())
	}
	if b := found[0]; b.Type != "HardBounce" || b.Recipient != "moved@postfix.example" {
		t.Errorf("recorded as %+v", b)
	}
	if out := string(r.run("bounce", "show", id)); !strings.Contains(out, "unknown user: \"gone@postfix.example\"") {
		t.Errorf("the words of Postfix are not shown:\n%s", out)
	}
}

type bounceRow struct{ Message, Type, Recipient string }

// bouncesOf waits for what came back of a message.
func bouncesOf(t *testing.T, r *relay, id string) []bounceRow {
	t.Helper()
	var rows []bounceRow
	until(20*time.Second, func() bool {
		rows = nil
		var all []bounceRow
		if err := json.Unmarshal(r.run("bounce", "list", "--json"), &all); err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			if b.Message == id {
				rows = append(rows, b)
			}
		}
		return len(rows) > 0
	})
	return rows
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
