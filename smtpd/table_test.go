package smtpd

import (
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// row is one line of the table of inputs and replies.
type row struct {
	id     string
	what   string
	opts   func(*Options)
	rig    func(*rig)
	tls    bool   // dial the implicit port
	script string // after the banner, unless it begins with S: itself
	run    func(*testing.T, *rig)
	queued int
}

const (
	data   = "C: DATA\nS: 354 …\n"
	okMail = "R: From: a@example.org\\r\\n\\r\\nx\\r\\n.\\r\\n\nS: 250 2.0.0 queued as …\n"
	alive  = "C: NOOP\nS: 250 2.0.0 ok\n"
)

// refusedBy is a message that the fake intake refuses with a kind.
func refusedBy(k intake.Kind, want string) string {
	return "LOGIN\nMAIL\n" + data + fmt.Sprintf("R: X-Refuse: %d why\\r\\n\\r\\n.\\r\\n\nS: %s\n", int(k), want)
}

func long(n int) string { return strings.Repeat("x", n) }

// rows has at least one line for each of S1 to S48.
func rows() []row {
	return append(append(append(connectionRows(), commandRows()...), addressRows()...), contentRows()...)
}

func connectionRows() []row {
	return []row{
		{id: "S1", what: "too many connections in all", opts: func(o *Options) { o.MaxConns = 1 }, run: func(t *testing.T, r *rig) {
			r.dial().play("S: 220 …")
			r.dial().play("S: 421 4.3.2 …\nS: CLOSED")
			r.dialTLS().play("S: 421 4.3.2 …\nS: CLOSED")
		}},
		{id: "S2", what: "too many of one network", opts: func(o *Options) { o.MaxConnsPerNet = 1 }, run: func(t *testing.T, r *rig) {
			first := r.dial()
			first.play("S: 220 …")
			r.dial().play("S: 421 4.7.0 …\nS: CLOSED")
			r.dialTLS().play("S: 421 4.7.0 …\nS: CLOSED")
			first.play("C: QUIT\nS: 221 …\nS: CLOSED")
		}},
		{id: "S2", what: "too many new ones", opts: func(o *Options) { o.NewConnsPerMinute = 2 }, run: func(t *testing.T, r *rig) {
			r.dial().play("S: 220 …")
			r.dial().play("S: 220 …")
			r.dial().play("S: 421 4.7.0 …\nS: CLOSED")
		}},
		{id: "S3", what: "boxed network", rig: func(r *rig) { r.auth.boxed.Store(true) }, script: "S: 421 4.7.0 …\nS: CLOSED"},
		{id: "S4", what: "shutting down", run: func(t *testing.T, r *rig) {
			p := r.dial()
			p.play("S: 220 …\nLOGIN")
			go r.stop()
			p.play("S: 421 4.3.2 …\nS: CLOSED")
		}},
		{id: "S5", what: "store not healthy", opts: func(o *Options) { o.Healthy = func() error { return store.ErrDamaged } },
			script: "LOGIN\nC: MAIL FROM:<a@example.org>\nS: 451 4.3.0 …\n" + alive},
		{id: "S6", what: "no space, asked", opts: func(o *Options) { o.Healthy = func() error { return fmt.Errorf("x: %w", store.ErrFull) } },
			script: "LOGIN\nC: MAIL FROM:<a@example.org>\nS: 452 4.3.1 …\n" + alive},
		{id: "S6", what: "no space, found", script: "LOGIN\nC: MAIL FROM:<full@example.org>\nS: 452 4.3.1 …\n" + alive +
			strings.TrimPrefix(refusedBy(intake.KindFull, "452 4.3.1 …"), "LOGIN\n")},
		{id: "S7", what: "early talk", opts: func(o *Options) { o.GreetDelay = 5 * time.Second }, run: func(t *testing.T, r *rig) {
			r.dial().play("C: EHLO x\nS: 554 5.5.0 …\nS: CLOSED")
		}},
		{id: "S8", what: "TLS ClientHello", script: "R: \\x16\\x03\\x01\\x02\\x00\\x01\nS: 554 5.5.1 …\nS: CLOSED"},
		{id: "S8", what: "HTTP", script: "C: POST / HTTP/1.1\nS: 554 5.5.1 …\nS: CLOSED"},
		{id: "S9", what: "handshake fails", script: "C: EHLO x\nS: 250 …\nC: STARTTLS\nS: 220 …\nC: EHLO x\nR: MAIL FROM:<a@b.c>\\r\\n\nEOF", run: func(t *testing.T, r *rig) {}},
		{id: "S9", what: "handshake timeout", opts: func(o *Options) { o.Handshake = 50 * time.Millisecond },
			script: "C: EHLO x\nS: 250 …\nC: STARTTLS\nS: 220 …\nS: CLOSED"},
		{id: "S10", what: "octets behind STARTTLS", script: "C: EHLO x\nS: 250 …\nR: STARTTLS\\r\\nNOOP\\r\\n\nS: 554 5.5.0 …\nS: CLOSED"},
		{id: "S11", what: "STARTTLS argument", script: "C: EHLO x\nS: 250 …\nC: STARTTLS now\nS: 501 5.5.4 …\n" + alive},
		{id: "S11", what: "STARTTLS twice", tls: true, script: "C: EHLO x\nS: 250 …\nC: STARTTLS\nS: 503 5.5.1 …\n" + alive},
		{id: "S11", what: "STARTTLS not offered", opts: func(o *Options) { o.TLS = nil }, script: "C: EHLO x\nS: 250 …\nC: STARTTLS\nS: 502 5.5.1 …\n" + alive},
		{id: "S11", what: "STARTTLS after AUTH", script: "LOGIN\nC: STARTTLS\nS: 503 5.5.1 …\nMAIL\nC: STARTTLS\nS: 503 5.5.1 …\n" + alive},
	}
}

func commandRows() []row {
	return []row{
		{id: "S12", what: "EHLO arguments", script: `C: EHLO
			S: 501 5.5.4 …
			C: EHLO a b
			S: 501 5.5.4 …
			R: EHLO a\x07b\r\n
			S: 501 5.5.4 …
			C: HELO
			S: 501 5.5.4 …
			C: EHLO under_score
			S: 250 …
			C: EHLO [IPv6:whatever::1]
			S: 250 …`},
		{id: "S13", what: "out of order", script: `C: MAIL FROM:<a@example.org>
			S: 503 5.5.1 …
			C: RCPT TO:<a@example.org>
			S: 503 5.5.1 …
			C: DATA
			S: 503 5.5.1 …
			C: AUTH PLAIN
			S: 503 5.5.1 …
			C: STARTTLS
			S: 503 5.5.1 …
			LOGIN
			C: RCPT TO:<a@example.org>
			S: 503 5.5.1 …
			MAIL
			C: MAIL FROM:<c@example.org>
			S: 503 5.5.1 …
			R: BDAT 3\r\nabc
			S: 250 2.0.0 chunk taken
			C: DATA
			S: 503 5.5.1 …
			` + alive},
		{id: "S14", what: "MAIL before AUTH, with TLS", tls: true, script: "C: EHLO x\nS: 250 …\nC: MAIL FROM:<a@example.org>\nS: 530 5.7.0 …\n" + alive},
		{id: "S14", what: "MAIL before TLS", script: "C: EHLO x\nS: 250 …\nC: MAIL FROM:<a@example.org>\nS: 530 5.7.0 …\n" + alive},
		{id: "S15", what: "AUTH before TLS", opts: func(o *Options) { o.CleartextAuth = cleartextNowhere() }, run: func(t *testing.T, r *rig) {
			r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nC: AUTH PLAIN " + plainIR(testUser, testSecret) + "\nS: 538 5.7.11 …\n" + alive)
			if r.auth.asked.Load() != 0 || !strings.Contains(r.log.String(), "exposed_in_clear") {
				t.Errorf("verifier asked %d times; log %s", r.auth.asked.Load(), r.log)
			}
		}},
		{id: "S16", what: "malformed AUTH", script: `C: EHLO x
			S: 250 …
			C: AUTH CRAM-MD5
			S: 504 5.5.4 …
			C: AUTH
			S: 501 5.5.4 …
			C: AUTH PLAIN %%%
			S: 501 5.5.2 …
			C: AUTH PLAIN
			S: 334 …
			C: %%%
			S: 501 5.5.2 …
			C: AUTH LOGIN
			S: 334 VXNlcm5hbWU6
			C: *
			S: 501 5.0.0 …
			C: AUTH PLAIN AGEAYgBj
			S: 501 5.5.2 …
			C: AUTH PLAIN AP8A/w==
			S: 501 5.5.2 …
			C: AUTH PLAIN =
			S: 501 5.5.2 …
			C: AUTH PLAIN ` + long(13000) + `
			S: 500 5.5.6 …
			C: AUTH PLAIN
			S: 334 …
			C: ` + long(13000) + `
			S: 500 5.5.6 …
			` + alive},
		{id: "S17", what: "wrong credential", script: "C: EHLO x\nS: 250 …\nC: AUTH PLAIN " + plainIR("who", "cares") +
			"\nS: 535 5.7.8 authentication failed\nC: AUTH LOGIN dXNlcg==\nS: 334 UGFzc3dvcmQ6\nC: d3Jvbmc=\nS: 535 5.7.8 authentication failed\n" + alive},
		// A disabled credential is not told apart: the verifier's errors are alike on purpose.
		{id: "S18", what: "disabled credential", script: "C: EHLO x\nS: 250 …\nC: AUTH PLAIN " + plainIR("disabled", "right") + "\nS: 535 5.7.8 …\n" + alive},
		{id: "S19", what: "third failure", script: "C: EHLO x\nS: 250 …\n" + strings.Repeat("C: AUTH PLAIN "+plainIR("a", "b")+"\nS: 535 5.7.8 …\n", 2) +
			"C: AUTH PLAIN " + plainIR("a", "b") + "\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S19", what: "verifier says close", script: "C: EHLO x\nS: 250 …\nC: AUTH PLAIN " + plainIR("last", "b") + "\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S19", what: "throttled network", script: "C: EHLO x\nS: 250 …\nC: AUTH PLAIN " + plainIR("throttled", "b") + "\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S20", what: "credentials unreadable", script: "C: EHLO x\nS: 250 …\nC: AUTH PLAIN " + plainIR("unavailable", "b") +
			"\nS: 454 4.7.0 authentication not possible now, try again later\n" + alive},
		{id: "S21", what: "AUTH in transaction and twice", script: "LOGIN\nC: AUTH PLAIN\nS: 503 5.5.1 …\nMAIL\nC: AUTH PLAIN\nS: 503 5.5.1 …\n" + alive},
	}
}

func addressRows() []row {
	mail := func(arg, want string) string { return "C: MAIL FROM:" + arg + "\nS: " + want + " …\n" }
	rcpt := func(arg, want string) string { return "C: RCPT TO:" + arg + "\nS: " + want + " …\n" }
	const from = "LOGIN\nC: MAIL FROM:<a@example.org>\nS: 250 …\n"
	return []row{
		{id: "S22", what: "sender address", script: "LOGIN\n" + mail("a@example.org", "501 5.1.7") + mail("<a@b@example.org>", "501 5.1.7") + mail("<>x", "501 5.1.7") +
			mail("<"+long(60)+"@"+strings.Repeat("long.", 45)+"example.org>", "501 5.1.7") + "R: MAIL FROM:<a\\x00b@example.org>\\r\\n\nS: 501 5.1.7 …\n" +
			mail("<ä@example.org>", "553 5.6.7") + mail("<a@host>", "554 5.1.8") + mail("<ä@example.org> SMTPUTF8", "250 2.1.0")},
		{id: "S23", what: "parameters", script: "LOGIN\n" + mail("<a@example.org> XYZ=1", "555 5.5.4") + mail("<a@example.org> SIZE=1 SIZE=2", "501 5.5.4") +
			mail("<a@example.org> BODY=BINARYMIME", "501 5.5.4") + mail("<a@example.org> RET=ALL", "501 5.5.4") + mail("<a@example.org> ENVID=a+zz", "501 5.5.4") +
			mail("<a@example.org> AUTH=<>", "250 2.1.0") + rcpt("<b@example.net> NOTIFY=NEVER,FAILURE", "501 5.5.4") + rcpt("<b@example.net> FOO", "555 5.5.4") +
			rcpt("<b@example.net> ORCPT=b@example.net", "501 5.5.4") + rcpt("<b@example.net> ORCPT=rfc822;a+0Ab", "501 5.5.4") +
			rcpt(`<b@example.net> ORCPT=utf-8;b\x{E4}@example.net`, "250 2.1.5")},
		{id: "S23", what: "REQUIRETLS without TLS", script: "LOGIN\n" + mail("<a@example.org> REQUIRETLS", "523 5.7.10") + alive},
		{id: "S23", what: "REQUIRETLS", tls: true, run: func(t *testing.T, r *rig) {
			r.dialTLS().play("S: 220 …\nLOGIN\n" + mail("<a@example.org> REQUIRETLS=yes", "501 5.5.4") + mail("<a@example.org> requiretls", "250 2.1.0") +
				rcpt("<b@example.net>", "250 2.1.5") + data + okMail)
			if !r.in.queued()[0].envelope.RequireTLS {
				t.Error("the envelope does not say so")
			}
		}, queued: 1},
		{id: "S24", what: "SIZE", opts: func(o *Options) { o.MaxMessageBytes = 1000 }, script: "LOGIN\n" + mail("<a@example.org> SIZE=1x", "501 5.5.4") +
			mail("<a@example.org> SIZE", "501 5.5.4") + mail("<a@example.org> SIZE=1001", "552 5.3.4") + mail("<a@example.org> SIZE=99999999999", "552 5.3.4") +
			mail("<a@example.org> SIZE=99999999999999999999", "552 5.3.4") + mail("<a@example.org> SIZE=999999999999999999999", "501 5.5.4") +
			mail("<a@example.org> SIZE=1000", "250 2.1.0")},
		{id: "S25", what: "sender not allowed", script: "LOGIN\n" + mail("<notmine@example.org>", "550 5.7.1") + mail("<>", "250 2.1.0") + alive},
		// Rates and budgets have no kind of their own; a refusal without one is temporary.
		{id: "S26", what: "budget used up", script: refusedBy(intake.KindUnavailable, "451 4.3.0 why") + alive},
		{id: "S27", what: "stream archived", script: refusedBy(intake.KindStream, "550 5.7.1 why") + alive},
		{id: "S28", what: "recipient address", script: from + rcpt("b@example.net", "501 5.1.3") + rcpt("<>", "501 5.1.3") + rcpt("<"+long(65)+"@example.net>", "501 5.1.3") +
			rcpt("<b@"+strings.Repeat("long.", 60)+"net>", "501 5.1.3") + "R: RCPT TO:<b\\tb@example.net>\\r\\n\nS: 501 5.1.3 …\n" + rcpt("<b@[300.1.1.1]>", "501 5.1.3") +
			rcpt("<ä@example.net>", "553 5.6.7") + rcpt("<refused@example.net>", "550 5.1.3") + alive},
		{id: "S29", what: "private literal", script: from + rcpt("<b@[127.0.0.1]>", "550 5.7.1") + rcpt("<b@[10.1.2.3]>", "550 5.7.1") + rcpt("<b@[IPv6:::1]>", "550 5.7.1") +
			rcpt("<b@[IPv6:::ffff:192.168.0.1]>", "550 5.7.1") + rcpt("<b@[203.0.114.7]>", "250 2.1.5")},
		{id: "S29", what: "private literal allowed", opts: func(o *Options) { o.AllowPrivateLiterals = true }, script: from + rcpt("<b@[127.0.0.1]>", "250 2.1.5")},
		{id: "S30", what: "dotless domain", script: from + rcpt("<b@host>", "554 5.1.2") + alive},
		{id: "S30", what: "dotless domain allowed", opts: func(o *Options) { o.SingleLabelDomains = []string{"localhost"} },
			script: "LOGIN\nC: MAIL FROM:<a@LocalHost>\nS: 250 …\n" + rcpt("<b@localhost>", "250 2.1.5") + rcpt("<b@host>", "554 5.1.2")},
		{id: "S31", what: "too many recipients", opts: func(o *Options) { o.MaxRecipients = 2 }, queued: 1, script: from + rcpt("<b@example.net>", "250 2.1.5") +
			rcpt("<c@example.net>", "250 2.1.5") + rcpt("<d@example.net>", "452 4.5.3") + data + okMail},
		{id: "S32", what: "recipient twice", run: func(t *testing.T, r *rig) {
			r.dial().play("S: 220 …\nLOGIN\nMAIL\nC: RCPT TO:<b@EXAMPLE.net>\nS: 250 2.1.5 …\nC: RCPT TO:<B@example.net>\nS: 250 2.1.5 …\n" + data + okMail)
			if got := r.in.queued()[0].envelope.Recipients; len(got) != 2 {
				t.Errorf("recipients %v, want b and B once each", got)
			}
		}, queued: 1},
		{id: "S33", what: "nobody to send to", script: "LOGIN\nC: DATA\nS: 503 5.5.1 …\nC: MAIL FROM:<a@example.org>\nS: 250 …\nC: DATA\nS: 503 5.5.1 …\n" +
			rcpt("<refused@example.net>", "550 5.1.3") + "C: DATA\nS: 554 5.5.1 …\nR: BDAT 6\\r\\nNOOP\\r\\n\nS: 554 5.5.1 …\nC: DATA now\nS: 501 5.5.4 …\n" + alive},
	}
}

func contentRows() []row {
	return []row{
		{id: "S34", what: "content too large", opts: func(o *Options) { o.MaxMessageBytes = 1000 }, script: "LOGIN\nMAIL\n" + data +
			"R: " + strings.Repeat(long(98)+"\\r\\n", 11) + ".\\r\\n\nS: 552 5.3.4 …\n" + alive + "MAIL\nR: BDAT 1001\\r\\n" + long(1001) + "\nS: 552 5.3.4 …\n" + alive},
		{id: "S34", what: "content exactly at the limit", opts: func(o *Options) { o.MaxMessageBytes = 1000 }, queued: 1, script: "LOGIN\nMAIL\n" + data +
			"R: " + strings.Repeat(long(98)+"\\r\\n", 10) + ".\\r\\n\nS: 250 2.0.0 …\n"},
		{id: "S34", what: "content far too large", opts: func(o *Options) { o.MaxMessageBytes = 1000 }, script: "LOGIN\nMAIL\n" + data +
			"R: " + strings.Repeat(long(98)+"\\r\\n", 100) + "\nS: 552 5.3.4 …\nS: CLOSED"},
		{id: "S34", what: "content too large and then silence", opts: func(o *Options) { o.MaxMessageBytes, o.RateWindow = 1000, 50*time.Millisecond }, script: "LOGIN\nMAIL\n" + data +
			"R: " + strings.Repeat(long(98)+"\\r\\n", 11) + "\nS: 552 5.3.4 …\nS: CLOSED"},
		{id: "S35", what: "smuggling", run: smuggling},
		{id: "S36", what: "bare LF normalised", script: "LOGIN\nMAIL\n" + data + "R: a\\nb\\r\\n.\\r\\n\nS: 250 2.0.0 …\n" + alive, queued: 1},
		{id: "S36", what: "bare LF refused by the stream", script: refusedBy(intake.KindBareLF, "550 5.5.2 why") + alive},
		{id: "S37", what: "bare LF in commands", script: "R: EHLO x\\n\nS: 500 5.5.2 …\nR: NOOP\\n\nS: 500 5.5.2 …\nS: CLOSED"},
		{id: "S37", what: "bare LF in commands, TLS", tls: true, script: "R: EHLO x\\n\nS: 500 5.5.2 …\nR: NOOP\\n\nS: 500 5.5.2 …\nS: CLOSED"},
		{id: "S38", what: "text line too long", script: refusedBy(intake.KindLineTooLong, "554 5.6.0 why") + alive},
		{id: "S39", what: "command line too long", script: "C: NOOP " + long(2100) + "\nS: 500 5.5.2 …\nS: CLOSED"},
		{id: "S39", what: "command line without end", script: "R: " + long(lineBuffer+1000) + "\nS: 500 5.5.2 …\nS: CLOSED"},
		{id: "S39", what: "AUTH without end", script: "R: AUTH PLAIN " + long(90000) + "\nS: 500 5.5.2 …\nS: CLOSED"},
		{id: "S40", what: "header section", script: refusedBy(intake.KindHeaderSyntax, "554 5.6.0 why") + alive},
		{id: "S41", what: "header fields", script: refusedBy(intake.KindHeaderFields, "550 5.6.0 why") + alive},
		{id: "S42", what: "mail loop", script: refusedBy(intake.KindLoop, "554 5.4.6 why") + alive},
		{id: "S43", what: "control header with a bad value", script: refusedBy(intake.KindControl, "550 5.6.0 why") + alive},
		{id: "S44", what: "idle", opts: func(o *Options) { o.Idle = 50 * time.Millisecond }, script: "R: EHL\nS: 421 4.4.2 …\nS: CLOSED"},
		{id: "S44", what: "slow upload", opts: func(o *Options) { o.RateWindow = 50 * time.Millisecond }, script: "LOGIN\nMAIL\n" + data + "C: x\nS: 421 4.4.2 …\nS: CLOSED"},
		{id: "S44", what: "endless upload", opts: func(o *Options) { o.MaxUpload = 50 * time.Millisecond }, script: "LOGIN\nMAIL\n" + data + "C: x\nS: 421 4.4.2 …\nS: CLOSED"},
		{id: "S45", what: "20 errors", script: strings.Repeat("C: BOGUS\nS: 500 5.5.2 …\n", 20) + "S: 421 4.7.0 …\nS: CLOSED"},
		{id: "S45", what: "100 commands without effect", script: strings.Repeat(alive, 100) + "C: NOOP\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S45", what: "3 errors while crowded", opts: func(o *Options) { o.MaxConns = 1 }, script: strings.Repeat("C: BOGUS\nS: 500 5.5.2 …\n", 3) + "S: 421 4.7.0 …\nS: CLOSED"},
		{id: "S45", what: "10 commands without effect while crowded", opts: func(o *Options) { o.MaxConns = 1 }, script: strings.Repeat(alive, 10) + "C: NOOP\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S45", what: "RSET and EHLO have no effect either", opts: func(o *Options) { o.MaxNoops = 3 }, script: "C: EHLO x\nS: 250 …\nC: EHLO x\nS: 250 …\nC: RSET\nS: 250 2.0.0 reset\nC: VRFY x\nS: 252 …\nC: RSET\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S45", what: "arguments that are none", script: "C: RSET now\nS: 501 5.5.4 …\nC: QUIT now\nS: 501 5.5.4 …\nC: HELP\nS: 502 5.5.1 …\nC: EXPN list\nS: 502 5.5.1 …\n" + alive},
		{id: "S45", what: "too many commands", opts: func(o *Options) { o.MaxCommands = 3 }, script: strings.Repeat(alive, 3) + "C: NOOP\nS: 421 4.7.0 …\nS: CLOSED"},
		{id: "S46", what: "messages on a connection", opts: func(o *Options) { o.MaxMessages = 2 }, queued: 2,
			script: "LOGIN\nMAIL\n" + data + okMail + "MAIL\n" + data + okMail + "S: 421 4.7.0 …\nS: CLOSED"},
		{id: "S47", what: "panics", run: panics},
		{id: "S48", what: "reply texts", run: replyTexts},
	}
}

// panics has what the session calls break in every command. What the client has
// sent behind it is not read, and its place is free again.
func panics(t *testing.T, r *rig) {
	const broken = "S: 421 4.3.0 …\nS: CLOSED"
	const content = "From: a@example.org\\r\\nX-Test: panic\\r\\n\\r\\nx\\r\\n"
	const next = "MAIL FROM:<a@example.org>\\r\\nRCPT TO:<b@example.net>\\r\\nBDAT 3 LAST\\r\\nx\\r\\n"
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	bdat := func(last string) string { return fmt.Sprintf("BDAT 41%s\\r\\n%s", last, content) }
	scripts := []string{
		"C: EHLO x\nS: 250 …\nR: AUTH PLAIN " + plainIR("panic", testSecret) + "\\r\\n" + next + "\n" + broken,
		"C: EHLO x\nS: 250 …\nC: AUTH LOGIN\nS: 334 …\nC: " + b64("panic") + "\nS: 334 …\nR: " + b64(testSecret) + "\\r\\n" + next + "\n" + broken,
		"LOGIN\nR: MAIL FROM:<panic@example.org>\\r\\n" + next + "\n" + broken,
		"LOGIN\nC: MAIL FROM:<a@example.org>\nS: 250 …\nR: RCPT TO:<panic@example.net>\\r\\n" + next + "\n" + broken,
		"LOGIN\nMAIL\n" + data + "R: " + content + ".\\r\\n" + next + "\n" + broken,
		"LOGIN\nMAIL\nR: " + bdat(" LAST") + next + "\n" + broken,
		"LOGIN\nMAIL\nR: " + bdat("") + "\nS: 250 …\nR: BDAT 0 LAST\\r\\n" + next + "\n" + broken,
	}
	for _, script := range scripts {
		r.dial().play("S: 220 …\n" + script)
		r.dialTLS().play("S: 220 …\n" + script)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for n, of := range r.server.gate.networks {
		if of.conns != 0 {
			t.Errorf("%d places of %s are taken", of.conns, n)
		}
	}
	incidents := regexp.MustCompile(`msg=panic .*incident=\S+`).FindAllString(r.log.String(), -1)
	if len(incidents) != 2*len(scripts) || r.server.gate.total != 0 || len(r.in.messages) != 0 || strings.Contains(r.log.String(), testSecret) {
		t.Errorf("%d incidents in %d pairs of sessions, %d places taken, %d messages queued, log:\n%s", len(incidents), len(scripts), r.server.gate.total, len(r.in.messages), r.log)
	}
}

// smuggling sends every way to write an end of data that some relay takes for
// one, followed by what would then be a second message.
func smuggling(t *testing.T, r *rig) {
	for _, odd := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r\n.\rX", "\r", "\x00", "a\r\r\n", "\n.\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<v@example.net>\r\nDATA\r\n"} {
		p := r.dial()
		p.play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: From: a@example.org\\r\\n\\r\\nx" + strings.Trim(strconv.Quote(odd), `"`) + "MAIL FROM:<evil@example.org>\\r\\n.\\r\\n")
		if got := p.reply(); !strings.HasPrefix(got, "550 5.5.2 ") {
			t.Errorf("%q: %s", odd, got)
		}
		if got := p.reply(); got != "CLOSED" {
			t.Errorf("%q: %s after the refusal", odd, got)
		}
	}
	if !strings.Contains(r.log.String(), "code=550") {
		t.Error("smuggling is not in the log")
	}
}

// replyTexts holds every reply that any error can produce to RFC 5321 4.5.3.1.5
// and to silence about ourselves.
func replyTexts(t *testing.T, r *rig) {
	p := r.dial()
	p.play("S: 220 …\nLOGIN\nC: MAIL FROM:<odd@example.org>\nS: 451 4.3.0 temporary fault, try again later\n" + alive)
	evil := &intake.Refusal{Kind: intake.KindStream, Reason: long(2000) + "\r\n250 2.0.0 ok\x00\xff"}
	if got := replyFor(evil); len(got) > 510 || strings.Trim(string(got[10:]), "x") != "" {
		t.Errorf("reply of %d octets: %q", len(got), got)
	}
	evil.Reason = "line\r\n250 2.0.0 ok\x00\xff"
	if got := replyFor(evil); got != "550 5.7.1 line??250 2.0.0 ok??" {
		t.Errorf("reply %q", got)
	}
}

// TestTable runs every row, each on a server of its own, and sees to it that no
// number is missing.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range rows() {
		seen[row.id] = true
		t.Run(row.id+" "+row.what, func(t *testing.T) {
			t.Parallel()
			row.test(t)
		})
	}
	for n := 1; n <= 48; n++ {
		if id := "S" + strconv.Itoa(n); !seen[id] {
			t.Errorf("no row for %s", id)
		}
	}
}

func (row row) test(t *testing.T) {
	opts := quick()
	if row.opts != nil {
		row.opts(&opts)
	}
	r := newRig(t, opts, func(r *rig) {
		if row.rig != nil {
			row.rig(r)
		}
	})
	if row.run != nil {
		row.run(t, r)
	}
	if row.script != "" {
		p := r.dial
		if row.tls {
			p = r.dialTLS
		}
		c := p()
		if !strings.HasPrefix(row.script, "S: ") {
			c.play("S: 220 …")
		}
		c.play(row.script)
		if row.id == "S9" {
			wantNothingButEOF(t, c.conn)
		}
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := len(r.in.queued()); got != row.queued {
		t.Errorf("%d messages queued, want %d", got, row.queued)
	}
}

// wantNothingButEOF is the end of a connection without a word in plaintext; a
// TLS alert may come.
func wantNothingButEOF(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if n > 0 && b[0] >= '0' && b[0] <= '9' {
			t.Fatalf("plaintext after a failed handshake: %q", b[:n])
		}
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Fatal("connection stays open")
			}
			return
		}
	}
}
