package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// endpoint is where a client reaches a listener.
type endpoint struct{ host, port, tls string }

func (e endpoint) String() string { return net.JoinHostPort(e.host, e.port) }

// cleartext tells whether a client may log in there without TLS, as far as that
// can be said without knowing the client's address: on this machine.
func (e endpoint) cleartext(cfg Config) bool {
	ip, err := netip.ParseAddr(e.host)
	return err == nil && ip.IsLoopback() && slices.ContainsFunc(cfg.SMTP.CleartextAuth, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// endpointOf returns how to reach the first listener of the kind. A listener on
// every address is reached by the host name.
func endpointOf(cfg Config, implicit bool) (endpoint, bool) {
	for _, l := range cfg.SMTP.Listeners {
		if (l.TLS == tlsImplicit) != implicit {
			continue
		}
		host, port, err := net.SplitHostPort(l.Address)
		if err != nil {
			continue
		}
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			host = hostname(cfg)
		}
		return endpoint{host, port, l.TLS}, true
	}
	return endpoint{}, false
}

// pasteLines writes what to paste into a shell and into a framework's settings.
// The secret is among it: out is a terminal or the caller's pipe, never the log.
func pasteLines(out io.Writer, cfg Config, username, password string) error {
	var b strings.Builder
	fmt.Fprintln(&b, "Try it:")
	swaksLines(&b, cfg, username, password)
	envLines(&b, cfg, username, password)
	_, err := io.WriteString(out, b.String())
	return err
}

func swaksLines(b *strings.Builder, cfg Config, username, password string) {
	const mail = "--from you@example.com --to someone@example.org"
	login := fmt.Sprintf("--auth PLAIN --auth-user %s --auth-password %s", username, password)
	line := func(e endpoint, flag string) {
		fmt.Fprintf(b, "  swaks --server %s%s %s \\\n      %s\n", e, flag, mail, login)
	}
	if e, ok := endpointOf(cfg, false); ok {
		if e.cleartext(cfg) {
			line(e, "")
		}
		if e.tls == tlsStart {
			line(e, " --tls")
		}
	}
	if e, ok := endpointOf(cfg, true); ok {
		line(e, " --tls-on-connect")
	}
}

func envLines(b *strings.Builder, cfg Config, username, password string) {
	e, ok := endpointOf(cfg, false)
	scheme := "smtp"
	if !ok {
		e, _ = endpointOf(cfg, true)
		scheme = "smtps"
	}
	fmt.Fprintf(b, "\n.env for your application:\n")
	for _, kv := range [][2]string{
		{"SMTP_HOST", e.host}, {"SMTP_PORT", e.port}, {"SMTP_USERNAME", username}, {"SMTP_PASSWORD", password},
		{"SMTP_URL", fmt.Sprintf("%s://%s:%s@%s", scheme, username, password, e)},
	} {
		fmt.Fprintf(b, "  %s=%s\n", kv[0], kv[1])
	}
}
