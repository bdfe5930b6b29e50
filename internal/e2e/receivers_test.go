//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReceivers delivers by MX to Postfix and Exim, found through a validating
// resolver.
func TestReceivers(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"what arrives is what was submitted", asSubmitted},
		{"where CHUNKING is offered it is used", inOneChunk},
		{"a large message of octets", largeMessage},
		{"more recipients than a transaction takes", manyRecipients},
		{"an address that needs SMTPUTF8", internationalAddress},
		{"mail hosts are found as RFC 5321 5.1 says", mailHosts},
		{"greylisting costs one more attempt", greylisted},
		{"an unknown user bounces to the sender", unknownUser},
		{"each recipient has a fate of its own", mixedFates},
		{"too large for the host bounces", tooLarge},
		{"domains that take no mail bounce at once", noMailTaken},
		{"a forged answer is not believed", bogusDomain},
		{"success is notified by the last host", successNotice},
	} {
		t.Run(c.name, func(t *testing.T) { w.t = t; c.test(t, w) })
	}
	w.t = t
}

// hard is a letter with what survives only where nobody touches the octets:
// the longest line that RFC 5322 allows, octets that are no UTF-8, odd folding
// and spaces before line ends.
func hard(mark string) string {
	return "Received: from nowhere.example by elsewhere.example; Mon, 23 Nov 2026 17:00:00 +0000\n" +
		"X-Odd:\t folded\n\t with a tab  \n" + letter(mark) +
		strings.Repeat("y", 998) + "\n\xe9\xff\x80 latin\n.\u00a0\n. \n...\ntrailing  \t\n\n\n"
}

func asSubmitted(t *testing.T, w *world) {
	for domain, dir := range map[string]string{"postfix.example": w.postfix.mail, "exim.example": w.exim.mail} {
		for kind, content := range map[string]string{"letter": letter("submitted-letter"), "hard": hard("submitted-hard")} {
			mark := "submitted-" + kind
			id := w.send(content, "<shop@sender.example> BODY=8BITMIME", "<buyer@"+domain+">")
			arrived(t, awaitMail(t, filepath.Join(dir, "buyer"), "Subject: "+mark+"\n", w.trail(id)), content)
		}
	}
}

// inOneChunk follows asSubmitted: "K" in Exim's log says that a message came by BDAT.
func inOneChunk(t *testing.T, w *world) {
	log, err := os.ReadFile(w.exim.main)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(log)) {
		if strings.Contains(l, " <= ") && !strings.Contains(l, " K ") {
			t.Errorf("not by BDAT: %s", l)
		}
	}
	if !strings.Contains(string(log), " <= ") {
		t.Errorf("no message in the log:\n%s", log)
	}
}

func largeMessage(t *testing.T, w *world) {
	var body strings.Builder
	for n := range 60_000 {
		fmt.Fprintf(&body, "%d: gr\xfc\xdfe, and enough text to make a line of seventy octets or more\n", n)
	}
	content := letter("large") + body.String()
	id := w.send(content, "<shop@sender.example> BODY=8BITMIME", "<buyer@postfix.example>")
	arrived(t, awaitMail(t, filepath.Join(w.postfix.mail, "buyer"), "Subject: large\n", w.trail(id)), content)
}

func manyRecipients(t *testing.T, w *world) {
	var rcpts []string
	for n := range 150 {
		rcpts = append(rcpts, fmt.Sprintf("<r%d@postfix.example>", n))
	}
	id := w.send(letter("many"), "<shop@sender.example>", rcpts...)
	dir := filepath.Join(w.postfix.mail, "many")
	if !until(20*time.Second, func() bool { return len(about(dir, "Subject: many\n")) >= len(rcpts) }) {
		t.Fatalf("%d of %d copies\n%s", len(mailbox(dir)), len(rcpts), w.trail(id)())
	}
	copies := map[string]int{}
	for _, m := range mailbox(dir) {
		_, to, _ := strings.Cut(m, "\nDelivered-To: ")
		to, _, _ = strings.Cut(to, "\n")
		copies["<"+to+">"]++
	}
	for _, r := range rcpts {
		if copies[r] != 1 {
			t.Errorf("%s got %d copies", r, copies[r])
		}
	}
}

func internationalAddress(t *testing.T, w *world) {
	id := w.send(letter("utf8"), "<shop@sender.example> SMTPUTF8 BODY=8BITMIME", "<müller@postfix.example>")
	arrived(t, awaitMail(t, filepath.Join(w.postfix.mail, "mueller"), "Subject: utf8\n", w.trail(id)), letter("utf8"))
}

func mailHosts(t *testing.T, w *world) {
	for _, domain := range []string{"second.example", "implicit.example", "alias.example", "wide.example"} {
		mark := "host-of-" + domain
		id := w.send(letter(mark), "<shop@sender.example>", "<buyer@"+domain+">")
		awaitMail(t, filepath.Join(w.postfix.mail, "buyer"), "Subject: "+mark+"\n", w.trail(id))
	}
}

func greylisted(t *testing.T, w *world) {
	id := w.send(letter("grey"), "<shop@sender.example>", "<slow@postfix.example>")
	awaitMail(t, filepath.Join(w.postfix.mail, "slow"), "Subject: grey\n", w.trail(id))
	got := w.trail(id)()
	if !strings.Contains(got, "deferred") || !strings.Contains(got, "450 4.7.1") || !strings.Contains(got, "greylisted, come back later") {
		t.Errorf("the timeline does not show the deferral and its reply:\n%s", got)
	}
}

// bounced waits for the notice about a message at sender.example and checks
// what it says.
func bounced(t *testing.T, w *world, id, mark string, want ...string) {
	t.Helper()
	got := awaitMail(t, filepath.Join(w.postfix.mail, "shop"), mark, w.trail(id))
	for _, s := range append(want, "Return-Path: <>\n", "multipart/report", "report-type=delivery-status", "Action: failed\n") {
		if !strings.Contains(strings.ReplaceAll(got, "\n\t", " "), s) {
			t.Errorf("the notice lacks %q:\n%s", s, got)
		}
	}
}

func unknownUser(t *testing.T, w *world) {
	for domain, diagnostic := range map[string]string{
		"postfix.example": "550 5.1.1 <nobody-here@postfix.example>: Recipient address rejected",
		"exim.example":    "550 Unrouteable address",
	} {
		mark := "unknown-at-" + domain
		id := w.send(letter(mark), "<shop@sender.example>", "<nobody-here@"+domain+">")
		bounced(t, w, id, "Subject: "+mark+"\n", "Final-Recipient: rfc822; nobody-here@"+domain, "Status: 5.", "Diagnostic-Code: smtp; "+diagnostic, "Remote-MTA: dns; mx."+domain)
	}
}

func mixedFates(t *testing.T, w *world) {
	content := letter("mixed")
	id := w.send(content, "<shop@sender.example>", "<buyer@postfix.example>", "<stranger@postfix.example>", "<buyer@exim.example>", "<second@exim.example>")
	for _, dir := range []string{filepath.Join(w.postfix.mail, "buyer"), filepath.Join(w.exim.mail, "buyer"), filepath.Join(w.exim.mail, "second")} {
		arrived(t, awaitMail(t, dir, "Subject: mixed\n", w.trail(id)), content)
	}
	bounced(t, w, id, "Subject: mixed\n", "Final-Recipient: rfc822; stranger@postfix.example")
	want := map[string]string{"buyer@postfix.example": "sent", "stranger@postfix.example": "bounced", "buyer@exim.example": "sent", "second@exim.example": "sent"}
	if !until(10*time.Second, func() bool { return maps.Equal(w.states(id), want) }) {
		t.Errorf("recipients are %v, want %v", w.states(id), want)
	}
}

func tooLarge(t *testing.T, w *world) {
	content := letter("too-large") + strings.Repeat(strings.Repeat("z", 70)+"\n", 4000)
	id := w.send(content, "<shop@sender.example>", "<buyer@exim.example>")
	bounced(t, w, id, "Subject: too-large\n", "Final-Recipient: rfc822; buyer@exim.example", "Status: 5.3.4")
}

func noMailTaken(t *testing.T, w *world) {
	for domain, status := range map[string]string{"nowhere.example": "Status: 5.1.2", "null.example": "Status: 5.1.10", "empty.example": "Status: 5.1.2"} {
		mark := "none-at-" + domain
		id := w.send(letter(mark), "<shop@sender.example>", "<buyer@"+domain+">")
		bounced(t, w, id, "Subject: "+mark+"\n", "Final-Recipient: rfc822; buyer@"+domain, status)
	}
	refusedAtOnce(t, w)
}

// refusedAtOnce is what an earlier delivery has taught of domains, at RCPT.
func refusedAtOnce(t *testing.T, w *world) {
	t.Helper()
	c, err := w.relay.session(w.relay.serverToken, w.relay.serverToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range []struct {
		code int
		line string
	}{{250, "MAIL FROM:<shop@sender.example>"}, {556, "RCPT TO:<buyer@null.example>"}, {550, "RCPT TO:<buyer@nowhere.example>"}, {250, "RCPT TO:<buyer@postfix.example>"}} {
		if text, err := command(c.Text, s.code, s.line); err != nil {
			t.Errorf("%s: %s %v, want %d", s.line, text, err, s.code)
		}
	}
}

// bogusDomain has signatures that do not fit: whoever answers is not the owner.
// That may end, so the message waits.
func bogusDomain(t *testing.T, w *world) {
	id := w.send(letter("bogus"), "<shop@sender.example>", "<buyer@shop.bogus>")
	deferred := func() bool { return strings.Contains(w.trail(id)(), "deferred") }
	if !until(20*time.Second, deferred) || w.states(id)["buyer@shop.bogus"] != "queued" {
		t.Errorf("want the message deferred:\n%s", w.trail(id)())
	}
}

// successNotice asks for a notice of success with the parameters of RFC 3461;
// Postfix, which makes the final delivery, has to get all of them to answer so.
func successNotice(t *testing.T, w *world) {
	id := w.send(letter("success"), "<shop@sender.example> RET=HDRS ENVID=order+2B4711",
		"<buyer@postfix.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orders@postfix.example")
	got := awaitMail(t, filepath.Join(w.postfix.mail, "shop"), "Original-Envelope-Id: order+4711", w.trail(id))
	for _, s := range []string{"Reporting-MTA: dns; mx.postfix.example", "Action: delivered", "Original-Recipient: rfc822;orders@postfix.example", "Final-Recipient: rfc822; buyer@postfix.example", "text/rfc822-headers"} {
		if !strings.Contains(got, s) {
			t.Errorf("the notice lacks %q:\n%s", s, got)
		}
	}
	if n := len(about(filepath.Join(w.postfix.mail, "shop"), "Subject: success\n")); n != 1 {
		t.Errorf("%d notices, want that of the last host alone", n)
	}
}
