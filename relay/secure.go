package relay

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/relay/mtasts"
	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
)

// SecureResolver is a resolver that knows what was authenticated. *dane.Resolver is one.
type SecureResolver interface {
	LookupMX(ctx context.Context, domain string) (dane.MXAnswer, error)
	LookupHost(ctx context.Context, host string) (dane.Host, error)
	LookupTLSA(ctx context.Context, h dane.Host, port int) (dane.Set, error)
}

// PolicySource finds MTA-STS policies. *mtasts.Cache is one.
type PolicySource interface {
	Policy(ctx context.Context, domain string, now time.Time) (p mtasts.Policy, found bool, err error)
}

// SessionRecorder counts how TLS fared, for reports. *tlsrpt.Recorder is one. It must not block.
type SessionRecorder interface {
	Record(s tlsrpt.Session, now time.Time)
}

// modeDANE demands a certificate that the TLSA records of the host name. No route can ask for it: only DNS can.
const modeDANE store.TLSMode = "dane"

// atLeast returns the stronger of what the route and a policy demand. A route without TLS stays without: its operator said so.
func atLeast(route, policy store.TLSMode) store.TLSMode {
	order := []store.TLSMode{store.TLSOpportunistic, store.TLSRequired, store.TLSVerified, modeDANE, store.TLSNone}
	if slices.Index(order, policy) > slices.Index(order, route) {
		return policy
	}
	return route
}

// pact is what the policies of a domain say about the TLS of one of its hosts. The zero pact is that of a smarthost.
type pact struct {
	domain  string         // whom reports go to; "" means that nothing is reported
	policy  tlsrpt.Policy  // the one in force
	because string         // who demands it, for people; "" means the route
	earned  store.Security // what a certificate that is accepted proves; "" means the host's name
	set     dane.Set
	names   []string      // the domain's, which a certificate may carry under DANE
	testing bool          // the certificate is looked at, and nothing follows from it
	flaw    tlsrpt.Result // what was wrong before the connection, and did not stop it
	info    string
}

func (g pact) demander() string {
	if g.because == "" {
		return "the route"
	}
	return g.because
}

// guarded finds out what a host owes us: DANE, or else MTA-STS (RFC 8461 2), and never less than the route and the message
// demand. A fault means that the host may not be used.
func (w *walk) guarded(ctx context.Context, h dane.Host, implicit bool) (pact, store.TLSMode, *fault) {
	if w.mode == store.TLSNone || w.wish == wishLift {
		return w.bound(h)
	}
	g, mode, f := w.published(ctx, h)
	if f != nil {
		return g, mode, w.n.unmetPolicy(w.wish, f)
	}
	return w.insisted(g, mode, h, implicit)
}

// bound is guarded where nothing that is published counts.
func (w *walk) bound(h dane.Host) (pact, store.TLSMode, *fault) {
	switch {
	case w.wish == wishLift && w.mode != store.TLSNone:
		return pact{}, store.TLSOpportunistic, nil
	case w.mode == store.TLSNone && (w.wish == wishRequire || w.wish == wishNotice):
		return pact{}, "", w.n.unwilling(detailEncryption, "the message demands REQUIRETLS, and its route has no TLS")
	case w.mode == store.TLSNone:
		return pact{}, w.mode, nil
	}
	return w.insisted(pact{}, w.mode, h, true)
}

// published finds out what the domain says of its hosts.
func (w *walk) published(ctx context.Context, h dane.Host) (pact, store.TLSMode, *fault) {
	g := pact{domain: w.domain, policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: w.domain}}
	if w.answer.Authentic {
		set, err := w.tlsa(ctx, h)
		if err != nil {
			g.policy = tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: h.Name}
			w.n.record(g, tlsrpt.DNSSECInvalid, tlsrpt.Detail{ReceivingMX: h.Name, Info: escape(err.Error())})
			f := w.n.lookupFault(ctx, "TLSA records", h.Name, err)
			f.reply.Enhanced = [3]int{4, detailTLS[0], detailTLS[1]}
			return g, "", f
		}
		if set.Level() != dane.None {
			transcriptOf(ctx).note("TLSA records of %s: %s", set.Base, strings.Join(set.Strings(), ", "))
			return w.byDANE(g, h, set)
		}
	}
	return w.bySTS(ctx, g, h)
}

func (w *walk) tlsa(ctx context.Context, h dane.Host) (dane.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, w.n.opts.Timeouts.DNS)
	defer cancel()
	return w.n.dns.LookupTLSA(ctx, h, w.n.opts.MXPort)
}

func (w *walk) byDANE(g pact, h dane.Host, set dane.Set) (pact, store.TLSMode, *fault) {
	g.policy = tlsrpt.Policy{Type: tlsrpt.TLSA, Strings: set.Strings(), Domain: set.Base}
	g.because = "the DANE record of " + h.Name
	if set.Level() == dane.Encrypt {
		return g, atLeast(w.mode, store.TLSRequired), nil
	}
	g.earned, g.set, g.names = store.SecurityDANE, set, []string{w.domain, w.answer.Name}
	return g, atLeast(w.mode, modeDANE), nil
}

func (w *walk) bySTS(ctx context.Context, g pact, h dane.Host) (pact, store.TLSMode, *fault) {
	p, found := w.policy(ctx, &g)
	if !found || p.Mode == mtasts.None {
		return g, w.mode, nil
	}
	g.policy = tlsrpt.Policy{Type: tlsrpt.STS, Strings: p.Strings(), Domain: w.domain, MXHosts: p.MX}
	allowed := p.Match(h.Name)
	if !allowed {
		g.flaw, g.info = tlsrpt.ValidationFailure, "the host is not in the policy"
	}
	if p.Mode == mtasts.Testing {
		g.testing = true
		return g, w.mode, nil
	}
	if !allowed {
		w.n.record(g, g.flaw, tlsrpt.Detail{ReceivingMX: h.Name, Info: g.info})
		err := fmt.Errorf("%w: %s, of the domain %s", errNotInPolicy, h.Name, w.domain)
		return g, "", broken(phaseTLS, detailTLS, err, w.n.opts.Now())
	}
	g.because, g.earned, g.flaw = "the MTA-STS policy of "+w.domain, store.SecuritySTS, ""
	return g, atLeast(w.mode, store.TLSVerified), nil
}

var errNotInPolicy = errors.New("mail host is not in the MTA-STS policy")

// policy asks for the MTA-STS policy once a walk. Without one the domain counts as having none, whatever the reason (RFC
// 8461 3.3); the reason goes into the report.
func (w *walk) policy(ctx context.Context, g *pact) (mtasts.Policy, bool) {
	if w.n.opts.STS == nil {
		return mtasts.Policy{}, false
	}
	if !w.asked {
		w.asked = true
		w.sts, w.stsFound, w.stsErr = w.n.opts.STS.Policy(ctx, w.domain, w.n.opts.Now())
		w.told(transcriptOf(ctx))
	}
	var fetch *mtasts.FetchError
	if !w.stsFound && errors.As(w.stsErr, &fetch) {
		g.policy = tlsrpt.Policy{Type: tlsrpt.STS, Domain: w.domain}
		g.flaw, g.info = tlsrpt.ResultOf(fetch), escape(fetch.Error())
	}
	return w.sts, w.stsFound
}

// told puts into the conversation which policy there is, or why there is none where there could be one.
func (w *walk) told(t *transcript) {
	switch {
	case w.stsFound:
		t.note("MTA-STS policy of %s, mode %s: %s", w.domain, w.sts.Mode, strings.Join(w.sts.MX, ", "))
	case w.stsErr != nil:
		t.note("goes on without an MTA-STS policy: %v", w.stsErr)
	}
}

// proof tells apart connections that were checked against different things. The names of the domain take part only where
// an authority is named instead of the host's own key (RFC 7672 3.1.1, 3.2.1).
func (g pact) proof() string {
	if len(g.set.Records) == 0 {
		return ""
	}
	parts := append([]string{g.set.Base}, g.set.Strings()...)
	if slices.ContainsFunc(g.set.Records, func(r dane.TLSA) bool { return r.Usage == dane.UsageTA }) {
		parts = append(append(parts, ""), g.names...)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}

// tlsConfig verifies as the target demands. For a smarthost that is the name that the operator configured (RFC 9525); for
// a mail host the name from DNS, which a policy or the operator's demand has vouched for. Opportunistic TLS keeps out
// listeners only, so any certificate will do (RFC 7435).
func (n *network) tlsConfig(t target, g pact) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: n.opts.RootCAs, ServerName: strings.TrimSuffix(t.host, ".")}
	if t.tls == modeDANE {
		config.ServerName = strings.TrimSuffix(g.set.Base, ".")
		config.InsecureSkipVerify = true // the authorities of the PKIX have no say under DANE
		config.VerifyConnection = func(s tls.ConnectionState) error { return g.set.Verify(s, g.names, n.opts.Now()) }
		return config
	}
	if !t.verified() {
		config.InsecureSkipVerify = true
		if _, err := netip.ParseAddr(config.ServerName); err == nil {
			config.ServerName = ""
		}
	}
	return config
}

// achieved describes the TLS of a connection whose handshake has succeeded.
func achieved(t target, g pact, s tls.ConnectionState) store.TLS {
	out := store.TLS{Security: proven(t, g), Version: tls.VersionName(s.Version), Cipher: tls.CipherSuiteName(s.CipherSuite)}
	if len(s.PeerCertificates) > 0 {
		out.Subject = subject(s.PeerCertificates[0])
	}
	return out
}

// proven is what a handshake that the target demanded has shown to those who are bound by the pact.
func proven(t target, g pact) store.Security {
	switch {
	case t.verified() && g.earned != "":
		return g.earned
	case t.verified():
		return store.SecurityVerified
	}
	return store.SecurityEncrypted
}

// under makes a kept connection tell what its certificate says to the domain that uses it now: another may have opened it.
func (c *conn) under(g pact) {
	if s := proven(c.target, g); c.tls.Security != store.SecurityNone && c.tls.Security != s {
		c.tls.Security = s
		c.secure = words(c.tls)
	}
}

// subject names a certificate for people. New ones often leave the subject empty.
func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return escape(s)
	}
	return escape(strings.Join(c.DNSNames, ", "))
}

// words is how the TLS achieved is told to people.
func words(t store.TLS) string {
	how := map[store.Security]string{
		store.SecurityDANE: "authenticated by DANE", store.SecuritySTS: "authenticated under MTA-STS",
		store.SecurityVerified: "certificate verified", store.SecurityEncrypted: "certificate not verified",
	}
	return fmt.Sprintf("%s %s, %s", t.Version, t.Cipher, how[t.Security])
}

// rehearse checks a certificate as MTA-STS in enforce mode would.
func (n *network) rehearse(host string, s tls.ConnectionState) tlsrpt.Result {
	if len(s.PeerCertificates) == 0 {
		return tlsrpt.ValidationFailure
	}
	opts := x509.VerifyOptions{Roots: n.opts.RootCAs, DNSName: strings.TrimSuffix(host, "."), Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return tlsrpt.ResultOf(err)
}

// recordSession reports how TLS fared on a connection that was opened, or failed to be, with a view to TLS.
func (n *network) recordSession(c *conn, f *fault) {
	detail := tlsrpt.Detail{ReceivingMX: c.target.host, ReceivingIP: ipOf(c.raw.RemoteAddr()), SendingIP: ipOf(c.raw.LocalAddr()), Info: c.pact.info}
	switch {
	case f != nil && f.tls != "":
		detail.Info = f.reply.Text
		n.record(c.pact, f.tls, detail)
	case f != nil: // it failed for another reason
	case c.flaw != "":
		n.record(c.pact, c.flaw, detail)
	case c.tls.Security == store.SecurityNone:
		n.record(c.pact, tlsrpt.STARTTLSNotSupported, detail)
	default:
		n.record(c.pact, tlsrpt.Success, tlsrpt.Detail{})
	}
}

func ipOf(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().WithZone("").String()
}

func (n *network) record(g pact, r tlsrpt.Result, d tlsrpt.Detail) {
	if n.opts.TLSReports == nil || g.domain == "" {
		return
	}
	n.opts.TLSReports.Record(tlsrpt.Session{Domain: g.domain, Policy: g.policy, Result: r, Detail: d}, n.opts.Now())
}

// plainDNS is a Resolver whose answers are never authentic.
type plainDNS struct{ Resolver }

func (p plainDNS) LookupMX(ctx context.Context, domain string) (dane.MXAnswer, error) {
	records, err := p.Resolver.LookupMX(ctx, domain)
	return dane.MXAnswer{Records: records, Name: domain, TTL: unknownHopeless}, err
}

func (p plainDNS) LookupHost(ctx context.Context, host string) (dane.Host, error) {
	addrs, err := p.LookupIP(ctx, host)
	return dane.Host{Addrs: addrs, Name: host, Canonical: host}, err
}

func (p plainDNS) LookupTLSA(context.Context, dane.Host, int) (dane.Set, error) {
	return dane.Set{}, nil
}
