package relay

import (
	"crypto/tls"
	"errors"

	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/relay/mtasts"
	"github.com/mailchute/mailchute/store"
)

// wish is what a message itself says about the TLS on its way (RFC 8689).
type wish uint8

const (
	noWish      wish = iota
	wishRequire      // REQUIRETLS: hosts that prove their names and promise the same, or nobody
	wishNotice       // REQUIRETLS with the null reverse-path: over TLS, and the promise where it is to be had (RFC 8689 5)
	wishLift         // "TLS-Required: No": whatever policies say, delivery comes first
)

func wishOf(m store.Message) wish {
	switch {
	case m.RequireTLS && m.From == "":
		return wishNotice
	case m.RequireTLS:
		return wishRequire
	case m.TLSOptional:
		return wishLift
	}
	return noWish
}

// Enhanced status details of RFC 8689 4.2.1.
var (
	detailEncryption = [2]int{7, 10} // encryption needed
	detailRequireTLS = [2]int{7, 30} // REQUIRETLS support required
)

// unwilling is the permanent failure that RFC 8689 4.2.1 asks for where a demand of the message is not met. It has the
// phase in which the demand would be passed on.
func (n *network) unwilling(detail [2]int, format string, args ...any) *fault {
	return own(phaseMail, 550, detail, n.opts.Now(), format, args...)
}

// insisted raises what a mail host owes us to what the message demands. implicit says that the host is the domain itself,
// whose name no answer of DNS can have changed.
func (w *walk) insisted(g pact, mode store.TLSMode, h dane.Host, implicit bool) (pact, store.TLSMode, *fault) {
	least := store.TLSVerified
	switch {
	case w.wish == wishNotice:
		least = store.TLSRequired
	case w.wish != wishRequire:
		return g, mode, nil
	case !implicit && !w.answer.Authentic && !w.named(h):
		if f := w.unknownPolicy(); f != nil {
			return g, mode, f
		}
		return g, mode, w.n.unwilling(detailRequireTLS, "the message demands REQUIRETLS, and neither DNSSEC nor MTA-STS says that %s is a mail host of %s", h.Name, w.domain)
	}
	if stronger := atLeast(mode, least); stronger != mode {
		mode = stronger
		g.because = "the message (REQUIRETLS)"
	}
	return g, mode, nil
}

// unknownPolicy is why nobody can tell at present whether the domain has a policy.
func (w *walk) unknownPolicy() *fault {
	var fetch *mtasts.FetchError
	if w.stsErr == nil || errors.As(w.stsErr, &fetch) && fetch.Kind == mtasts.Invalid {
		return nil
	}
	return broken(phaseTLS, detailTLS, w.stsErr, w.n.opts.Now())
}

// named tells whether the MTA-STS policy of the domain names the host. One that is being tested names it as well.
func (w *walk) named(h dane.Host) bool {
	return w.stsFound && w.sts.Mode != mtasts.None && w.sts.Match(h.Name)
}

// demanded is smarthostTarget for a message with a wish of its own: a smarthost is known by the name that the operator
// gave, and its TLS is never lowered, since it protects a password.
func (n *network) demanded(t target, w wish) (target, *fault) {
	if w != wishRequire && w != wishNotice {
		return t, nil
	}
	switch t.tls {
	case store.TLSNone:
		return t, n.unwilling(detailEncryption, "the message demands REQUIRETLS, and the route through %s has no TLS", t.host)
	case store.TLSOpportunistic, store.TLSRequired:
		t.tls = store.TLSStartTLS
	}
	return t, nil
}

// unmet turns what a message with REQUIRETLS cannot live with into its failure. What may be different in an hour stays
// temporary.
func (n *network) unmet(e *errand, f *fault) *fault {
	if f == nil || wishOf(e.env.message) != wishRequire || f.tls == "" || f.reply.Code/100 == 4 || f.err != nil && !settledTLS(f.err) {
		return f
	}
	return n.unwilling(detailEncryption, "the message demands REQUIRETLS: %s", f.reply.Text)
}

// unmetPolicy is unmet for a host that the domain's own policy excludes.
func (n *network) unmetPolicy(w wish, f *fault) *fault {
	if w != wishRequire || !errors.Is(f.err, errNotInPolicy) {
		return f
	}
	return n.unwilling(detailEncryption, "the message demands REQUIRETLS: %s", f.reply.Text)
}

// settledTLS tells whether TLS failed for what the host is, and not for the network.
func settledTLS(err error) bool {
	var cert *tls.CertificateVerificationError
	var mismatch *dane.MismatchError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.Is(err, errNoSTARTTLS) || errors.As(err, &cert) || errors.As(err, &mismatch) || errors.As(err, &alert) || errors.As(err, &record)
}

var errNoSTARTTLS = errors.New("does not offer STARTTLS")

// promises tells whether the host may get the message: it has to offer REQUIRETLS where the message has it.
func (n *network) promises(c *conn, e *errand) *fault {
	if wishOf(e.env.message) != wishRequire || c.ext.requireTLS && c.target.verified() {
		return nil
	}
	return n.unwilling(detailRequireTLS, "the message demands REQUIRETLS, which %s does not offer", c.target.host)
}
