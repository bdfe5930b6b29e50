//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
)

// TestSmarthost_PostfixWithPassword delivers through Postfix as a smarthost that
// wants TLS and a password, and shows what is refused without the right one.
func TestSmarthost_PostfixWithPassword(t *testing.T) {
	ca := testmx.NewCA(t)
	certs := sharedDir(t)
	roots := put(t, filepath.Join(certs, "ca.pem"), string(ca.PEM()))
	address := net.JoinHostPort(postfixHost, commonPort(t, postfixHost))
	p := submissionPostfix(t, address, issue(t, ca, filepath.Join(certs, "smarthost"), postfixHost))
	r := startRelay(t, "delivery: {ca_file: "+roots+", schedule: [500ms]}\n")
	w := &world{t: t, relay: r, postfix: p, exim: &exim{log: &shadow{}}}
	wrong := put(t, filepath.Join(certs, "wrong"), "not the password\n")
	route := func(password string) {
		r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", address, "--tls", "starttls", "--username", "relay@smarthost", "--password-file", password)
	}
	route(wrong)
	id := w.send(letter("by-smarthost"), "<shop@sender.example>", "<buyer@postfix.example>")
	waiting := func() bool {
		got := w.trail(id)()
		return strings.Contains(got, "deferred") && strings.Contains(got, "535 5.7.8")
	}
	if !until(20*time.Second, waiting) {
		t.Fatalf("a wrong password must keep the mail waiting:\n%s", w.trail(id)())
	}
	route(put(t, filepath.Join(certs, "right"), "correct horse\n"))
	arrived(t, awaitMail(t, filepath.Join(p.mail, "buyer"), "Subject: by-smarthost\n", w.trail(id)), letter("by-smarthost"))
}

// submissionPostfix takes mail for anywhere, but only from those who log in
// under TLS. Passwords come from a sasldb of its own.
func submissionPostfix(t testing.TB, address string, cert certificate) *postfix {
	t.Helper()
	dir := sharedDir(t)
	library := "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: " + filepath.Join(dir, "sasldb2") + "\n"
	cmd := exec.Command("/usr/sbin/saslpasswd2", "-p", "-c", "-f", filepath.Join(dir, "sasldb2"), "-u", "smarthost", "relay")
	cmd.Stdin = strings.NewReader("correct horse")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	give(t, dir, account(t, "postfix"))
	return newPostfix(t, postfixConfig{name: "smarthost.example", listeners: address + " inet n - n - - smtpd\n", sasl: library, settings: fmt.Sprintf(`
virtual_mailbox_domains = postfix.example
virtual_mailbox_maps = static:buyer/
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
smtpd_tls_received_header = yes
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
`, cert.cert, cert.key)})
}

// TestPostfixClient_RelaysThroughUs is what operators configure on machines
// whose programs only know sendmail: a relayhost with a server token, TLS
// verified.
func TestPostfixClient_RelaysThroughUs(t *testing.T) {
	rcv := newReceiver(t)
	r := newRelay(t, rcv.address)
	_, port, _ := net.SplitHostPort(r.plain)
	_, tlsPort, _ := net.SplitHostPort(r.implicit)
	for name, relayhost := range map[string]string{"starttls": "[localhost]:" + port, "implicit": "[localhost]:" + tlsPort} {
		t.Run(name, func(t *testing.T) {
			p := newPostfix(t, postfixConfig{name: "app.sender.example", settings: clientSettings(r, relayhost, name == "implicit")})
			content := letter("via-postfix-" + name)
			p.submit(t, "shop@sender.example", "buyer@dest.example", content)
			delivered(t, rcv, p, content, "via-postfix-"+name)
		})
	}
}

func clientSettings(r *relay, relayhost string, wrapped bool) string {
	return fmt.Sprintf(`
relayhost = %s
smtp_host_lookup = native
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{ { %s = %s:%s } }
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_wrappermode = %s
smtp_tls_CAfile = %s
`, relayhost, relayhost, r.serverToken, r.serverToken, map[bool]string{true: "yes", false: "no"}[wrapped], filepath.Join(r.dir, "data", "tls.crt"))
}

// delivered checks the body and the header; Postfix adds a trace field of its
// own, and nothing else.
func delivered(t *testing.T, rcv *receiver, p *postfix, content, mark string) {
	t.Helper()
	subject := "Subject: " + mark + "\r\n"
	if !until(20*time.Second, func() bool { return len(rcv.about(subject)) > 0 }) {
		t.Fatalf("not delivered; Postfix said:\n%s", p.log)
	}
	got := rcv.about(subject)[0]
	head, found := strings.CutSuffix(got.data, strings.ReplaceAll(content, "\n", "\r\n"))
	if !found {
		t.Errorf("received\n%q\nwant it to end in\n%q", got.data, content)
	}
	if n := strings.Count(head, "Received: "); n != 2 {
		t.Errorf("%d trace fields above the message, want 2:\n%s", n, head)
	}
	if got.from != "shop@sender.example" || len(got.to) != 1 || got.to[0] != "buyer@dest.example" {
		t.Errorf("envelope %q -> %q", got.from, got.to)
	}
	if len(rcv.about(subject)) != 1 {
		t.Errorf("delivered %d times", len(rcv.about(subject)))
	}
}
