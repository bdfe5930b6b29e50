//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// submission is one call of a client.
type submission struct {
	relay      *relay
	tls        string // none, starttls, implicit
	mechanism  string // PLAIN, LOGIN or "" for the client's choice
	user, pass string
	from, to   string
	message    string // LF line ends
	source     string // loopback address to come from, "" for the usual one
}

func (s submission) hostPort() (string, string) {
	address := s.relay.plain
	if s.tls == "implicit" {
		address = s.relay.implicit
	}
	host, port, _ := net.SplitHostPort(address)
	if s.tls != "none" {
		host = "localhost" // the name in the certificate
	}
	return host, port
}

func (s submission) ca() string { return filepath.Join(s.relay.dir, "data", "tls.crt") }

// client runs a real client and returns what it printed.
type client func(s submission) (string, error)

func run(stdin string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// swaks takes the password from its environment, so it stays out of the list of
// processes.
func swaks(s submission) (string, error) {
	host, port := s.hostPort()
	args := []string{"--server", host, "--port", port, "--from", s.from, "--to", s.to, "--data", "-", "--timeout", "20"}
	switch s.tls {
	case "starttls":
		args = append(args, "--tls", "--tls-ca-path", s.ca(), "--tls-verify")
	case "implicit":
		args = append(args, "--tls-on-connect", "--tls-ca-path", s.ca(), "--tls-verify")
	}
	if s.source != "" {
		args = append(args, "--local-interface", s.source)
	}
	auth := s.mechanism
	if auth == "" {
		auth = "PLAIN"
	}
	message := strings.TrimSuffix(s.message, "\n") // swaks ends the last line itself
	return run(message, []string{"SWAKS_OPT_auth_password=" + s.pass}, "swaks", append(args, "--auth", auth, "--auth-user", s.user)...)
}

func (s submission) env() []string {
	host, port := s.hostPort()
	return []string{"HOST=" + host, "PORT=" + port, "TLS=" + s.tls, "CA=" + s.ca(),
		"USER_NAME=" + s.user, "PASSWORD=" + s.pass, "FROM=" + s.from, "TO=" + s.to, "SOURCE=" + s.source}
}

func smtplib(s submission) (string, error) {
	return run(s.message, s.env(), "python3", "clients/send.py")
}

func nodemailer(s submission) (string, error) {
	return run(s.message, s.env(), "node", "clients/send.mjs")
}

func msmtp(s submission) (string, error) {
	host, port := s.hostPort()
	config := fmt.Sprintf("host %s\nport %s\nfrom %s\nauth %s\nuser %s\npasswordeval printenv PASSWORD\ntls %s\ntls_starttls %s\ntls_trust_file %s\ntimeout 20\n",
		host, port, s.from, map[string]string{"LOGIN": "login"}[s.mechanism]+map[bool]string{true: "plain"}[s.mechanism != "LOGIN"], s.user,
		onOff(s.tls != "none"), onOff(s.tls == "starttls"), s.ca())
	if s.tls == "none" {
		config = strings.Replace(config, "tls_trust_file "+s.ca()+"\n", "", 1)
	}
	file := filepath.Join(s.relay.t.TempDir(), "msmtprc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", err
	}
	return run(s.message, s.env(), "msmtp", "-d", "-C", file, s.to)
}

func onOff(b bool) string { return map[bool]string{true: "on", false: "off"}[b] }

func curl(s submission) (string, error) {
	host, port := s.hostPort()
	scheme := map[bool]string{true: "smtps", false: "smtp"}[s.tls == "implicit"]
	file := filepath.Join(s.relay.t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(s.message, "\n", "\r\n")), 0o600); err != nil {
		return "", err
	}
	config := fmt.Sprintf("url = \"%s://%s:%s\"\nuser = \"%s:%s\"\nmail-from = \"%s\"\nmail-rcpt = \"%s\"\nupload-file = \"%s\"\nmax-time = 20\nverbose\nsilent\n",
		scheme, host, port, s.user, s.pass, s.from, s.to, file)
	if s.tls != "none" {
		config += fmt.Sprintf("ssl-reqd\ncacert = \"%s\"\n", s.ca())
	}
	if s.source != "" {
		config += fmt.Sprintf("interface = \"%s\"\n", s.source)
	}
	if s.mechanism != "" {
		config += fmt.Sprintf("login-options = \"AUTH=%s\"\n", s.mechanism)
	}
	return run(config, nil, "curl", "-K", "-")
}

var clients = map[string]client{"swaks": swaks, "smtplib": smtplib, "nodemailer": nodemailer, "msmtp": msmtp, "curl": curl}

// letter is a message with what clients and relays like to break: a line that
// begins with a dot, 8-bit text, a long line, an empty line at the end.
func letter(mark string) string {
	return "From: Shop <shop@sender.example>\nTo: <buyer@dest.example>\nSubject: " + mark + "\n" +
		"Date: Mon, 23 Nov 2026 18:00:00 +0000\nMessage-ID: <" + mark + "@sender.example>\n" +
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" +
		"Grüße\n.dot\n..two dots\n" + strings.Repeat("x", 900) + "\nFrom here\n\nlast line\n"
}

func TestRealClients_WhatTheySubmitIsWhatArrives(t *testing.T) {
	rcv := newReceiver(t)
	r := newRelay(t, rcv.address)
	credentials := map[string][2]string{"server token": {r.serverToken, r.serverToken}, "SMTP token": {r.accessKey, r.secret}}
	n := 0
	for name, send := range clients {
		for kind, pair := range credentials {
			for _, tls := range []string{"none", "starttls", "implicit"} {
				for _, mechanism := range []string{"PLAIN", "LOGIN"} {
					if (name == "smtplib" || name == "nodemailer") && mechanism == "LOGIN" {
						continue // they choose the mechanism themselves
					}
					n++
					s := submission{relay: r, tls: tls, mechanism: mechanism, user: pair[0], pass: pair[1],
						from: "shop@sender.example", to: "buyer@dest.example", message: letter(fmt.Sprintf("case-%d", n))}
					t.Run(strings.Join([]string{name, kind, tls, mechanism}, "/"), func(t *testing.T) { arrives(t, rcv, send, s) })
				}
			}
		}
	}
}

func arrives(t *testing.T, rcv *receiver, send client, s submission) {
	out, err := send(s)
	if err != nil {
		t.Fatalf("client failed: %v\n%s", err, out)
	}
	mark := strings.Split(strings.SplitAfter(s.message, "Subject: ")[1], "\n")[0]
	if !until(10*time.Second, func() bool { return len(rcv.about("Subject: "+mark+"\r\n")) > 0 }) {
		t.Fatalf("not delivered; client said:\n%s", out)
	}
	got := rcv.about("Subject: " + mark + "\r\n")
	want := strings.ReplaceAll(s.message, "\n", "\r\n")
	switch {
	case len(got) != 1:
		t.Errorf("delivered %d times", len(got))
	case !strings.HasSuffix(got[0].data, want):
		t.Errorf("received\n%q\nwant it to end in\n%q", got[0].data, want)
	case strings.Count(strings.TrimSuffix(got[0].data, want), "\r\nReceived:")+1 != 1 || !strings.HasPrefix(got[0].data, "Received: "):
		t.Errorf("more than one trace field was added: %q", strings.TrimSuffix(got[0].data, want))
	case got[0].from != s.from || len(got[0].to) != 1 || got[0].to[0] != s.to:
		t.Errorf("envelope %q -> %q, want %q -> %q", got[0].from, got[0].to, s.from, s.to)
	}
}

func TestRealClients_WrongPairsAre535(t *testing.T) {
	r := newRelay(t, newReceiver(t).address)
	other := r.made("smtp-token", "create", "--stream", "broadcast", "--name", "other")
	revoked := r.made("token", "server", "create", "--name", "revoked")
	r.run("token", "server", "revoke", revoked["id"])
	pairs := map[string][2]string{
		"swapped secret":            {r.accessKey, other["secret_key"]},
		"account token":             {r.accountToken, r.accountToken},
		"secret as user name":       {r.secret, r.secret},
		"access key twice":          {r.accessKey, r.accessKey},
		"revoked token":             {revoked["token"], revoked["token"]},
		"server token, wrong pass":  {r.serverToken, r.secret},
		"server token, no username": {"someone", r.serverToken},
	}
	n := 0
	for what, pair := range pairs {
		for name, send := range clients {
			n++
			source := fmt.Sprintf("127.0.7.%d", n) // failures of one address are answered ever later
			if name == "msmtp" || name == "curl" && what != "swapped secret" {
				continue // one pair is enough to see their words; the throttle is for guessers
			}
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel() // each failure is answered late
				out, err := send(submission{relay: r, tls: "starttls", user: pair[0], pass: pair[1],
					from: "a@sender.example", to: "b@dest.example", message: letter("wrong"), source: source})
				if err == nil || !strings.Contains(out, "535") || !strings.Contains(out, "5.7.8") {
					t.Errorf("want 535 5.7.8, got error %v and\n%s", err, out)
				}
			})
		}
	}
}
