package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// FetchError says that a domain announces a policy which could not be had.
type FetchError struct {
	Domain string
	// Kind is the result type for TLS reports (RFC 8460 4.3.2.2).
	Kind Kind
	Err  error
}

// Kind is what went wrong with a policy.
type Kind string

// The kinds, in the words of TLS reports.
const (
	FetchFailed  Kind = "sts-policy-fetch-error"
	Invalid      Kind = "sts-policy-invalid"
	WebPKIFailed Kind = "sts-webpki-invalid"
)

// Error implements error.
func (e *FetchError) Error() string {
	return fmt.Sprintf("MTA-STS policy of %s: %v", e.Domain, e.Err)
}

// Unwrap returns the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// Result is the result type for TLS reports.
func (e *FetchError) Result() string { return string(e.Kind) }

func policyHost(domain string) string { return "mta-sts." + domain }

// newClient returns the only kind of client that may fetch policies: no proxy, no redirect, no HTTP cache, no compression, a certificate
// that is valid for the policy host (RFC 8461 3.3).
func newClient(o Options) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            o.Dial,
			TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    o.Timeout,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxPolicy,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       o.Timeout,
	}
}

// fetch gets and parses the policy of a domain. Its errors are *FetchErrors.
func (c *Cache) fetch(ctx context.Context, domain, id string, now time.Time) (Policy, error) {
	body, err := c.get(ctx, domain)
	if err != nil {
		return Policy{}, err
	}
	p, err := ParsePolicy(body)
	if err != nil {
		return Policy{}, &FetchError{domain, Invalid, err}
	}
	p.ID, p.Fetched = id, now
	return p, nil
}

func (c *Cache) get(ctx context.Context, domain string) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+policyHost(domain)+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, &FetchError{domain, FetchFailed, err}
	}
	req.Header.Set("User-Agent", "mailchute")
	resp, err := c.client.Do(req)
	if err != nil {
		var untrusted *tls.CertificateVerificationError
		if errors.As(err, &untrusted) {
			return nil, &FetchError{domain, WebPKIFailed, err}
		}
		return nil, &FetchError{domain, FetchFailed, err}
	}
	defer func() {
		if cerr := resp.Body.Close(); cerr != nil && err == nil {
			body, err = nil, &FetchError{domain, FetchFailed, cerr}
		}
	}()
	if resp.StatusCode != http.StatusOK {
		return nil, &FetchError{domain, FetchFailed, fmt.Errorf("policy host answered %d", resp.StatusCode)}
	}
	// Guards against hosts where strangers can put files (RFC 8461 3.3).
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != "text/plain" {
		return nil, &FetchError{domain, Invalid, errors.New("policy is not text/plain")}
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err != nil {
		return nil, &FetchError{domain, FetchFailed, err}
	}
	return body, nil
}
