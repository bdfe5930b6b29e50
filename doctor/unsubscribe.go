package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ownPage is the header by which our page is told from that of another program at the same address.
const ownPage, ownWord = "X-Robots-Tag", "noindex, nofollow"

// unsubscribe asks the public URL of hosted links for one that does not exist: mailbox providers must reach it by HTTPS,
// without a redirect (RFC 8058 3.1), and behind it must be we.
func (e *exam) unsubscribe(ctx context.Context) {
	if e.UnsubscribeURL == "" {
		return
	}
	a := e.chart.about("unsubscribe", e.UnsubscribeURL)
	if u, err := url.Parse(e.UnsubscribeURL); err != nil || u.Scheme != "https" {
		a.fail("set unsubscribe.url to an https:// URL", "is not https: mailbox providers do not offer it (RFC 8058)")
		return
	}
	answer, err := e.ask(ctx, e.UnsubscribeURL+"doctor")
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		a.fail("get a certificate of a public authority for its host", "has a certificate that does not verify: %v", untrusted.Err)
	case err != nil:
		a.warn("see that it leads to unsubscribe.listeners or api.listeners, from outside too", "cannot be reached from here: %v", err)
	case answer.StatusCode/100 == 3:
		a.fail("let it answer by itself", "redirects to %s, which one-click unsubscription must not", plain(answer.Header.Get("Location")))
	case answer.StatusCode != http.StatusNotFound || !strings.Contains(answer.Header.Get(ownPage), ownWord):
		a.fail("see that the proxy passes on the path as it is", "is answered by something else than mailchute, with %d", answer.StatusCode)
	default:
		a.ok("answers")
	}
}

// ask makes one request and reads no body.
func (e *exam) ask(ctx context.Context, link string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: e.Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: e.Roots, Time: func() time.Time { return e.Clock.Now }}}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	return answer, answer.Body.Close()
}

// bounceCertificate looks whether hosts that verify can hand us what comes back.
func (e *exam) bounceCertificate(hosts []string) {
	if !e.BounceTLS || len(e.Certificate.Chain) == 0 || len(hosts) == 0 {
		return // without TLS or a certificate it has been said already
	}
	a := e.chart.about("bounce certificate", e.BounceHost)
	leaf := e.Certificate.Chain[0]
	var wrong []string
	for _, h := range hosts {
		if valid(leaf, h) != nil {
			wrong = append(wrong, plain(h))
		}
	}
	if len(wrong) > 0 {
		a.warn("get one that has that name too", "is not valid for %s, the mail host of %s: hosts that verify refuse to bounce", strings.Join(wrong, " and "), e.BounceHost)
		return
	}
	a.ok("valid for %s", strings.Join(hosts, " and "))
}

func valid(leaf *x509.Certificate, host string) error {
	return leaf.VerifyHostname(strings.TrimSuffix(host, "."))
}
