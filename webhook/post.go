package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/mailchute/mailchute/store"
)

const (
	connectTimeout = 5 * time.Second
	maxAnswer      = 64 << 10 // octets of an answer that are read
	maxHops        = 10       // redirects of one try
	userAgent      = "mailchute"
)

var errRedirects = errors.New("redirected in vain")

// poster makes requests.
type poster struct {
	guard   Guard
	client  *http.Client
	timeout time.Duration
	now     func() time.Time
}

func newPoster(o *Options) *poster {
	transport := o.transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  nil, // a proxy would connect where the guard does not see it
			DialContext:            o.Guard.dialer(o.Resolver).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    o.Timeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           o.Total,
			MaxIdleConnsPerHost:    o.PerEndpoint,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxAnswer,
		}
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &poster{o.Guard, client, o.Timeout, o.Now}
}

// letter is one request.
type letter struct {
	url       string
	secrets   store.WebhookSecrets
	id        string
	remaining int // tries after this one
	body      []byte
}

// post sends a letter and follows redirects. Those that keep the method (RFC
// 9110 15.4.8, 15.4.9) and the older ones that should (15.4.2, 15.4.3) get the
// event again; 303 would fetch something else, and the event would be lost.
func (p *poster) post(ctx context.Context, l *letter) answer {
	first, err := p.guard.CheckURL(l.url)
	if err != nil {
		return answer{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	to := first
	for hop := 0; ; hop++ {
		resp, err := p.once(ctx, l, to, trusted(first, to))
		if err != nil {
			return answer{err: err}
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return answer{status: resp.StatusCode, retryAfter: retryAfter(resp.Header, p.now())}
		}
		if hop == maxHops {
			return answer{err: fmt.Errorf("more than %d redirects: %w", maxHops, errRedirects)}
		}
		if to, err = p.follow(to, resp); err != nil {
			return answer{err: err}
		}
	}
}

func (p *poster) follow(from *url.URL, resp *http.Response) (*url.URL, error) {
	next, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("status %d without a place to go: %w", resp.StatusCode, errRedirects)
	}
	if from.Scheme == "https" && next.Scheme == "http" {
		return nil, fmt.Errorf("from https to http: %w", errRedirects)
	}
	next.Fragment = ""
	to, err := p.guard.CheckURL(next.String())
	if err != nil {
		return nil, fmt.Errorf("redirect: %w", err)
	}
	return to, nil
}

// trusted tells whether a place that an endpoint sent us to may have the
// endpoint's credentials.
func trusted(first, to *url.URL) bool {
	if !strings.EqualFold(first.Hostname(), to.Hostname()) {
		return false
	}
	upgraded := first.Scheme == "http" && to.Scheme == "https" && port(first) == 80 && port(to) == 443
	return upgraded || first.Scheme == to.Scheme && port(first) == port(to)
}

// once makes one request. The body of its answer has been read and closed.
func (p *poster) once(ctx context.Context, l *letter, to *url.URL, trusted bool) (*http.Response, error) {
	clean := *to
	clean.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, clean.String(), bytes.NewReader(l.body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", ErrURL)
	}
	p.head(req.Header, l, trusted)
	resp, err := p.client.Do(req)
	if err != nil {
		var wrapped *url.Error // its text has the URL, which may hold secrets
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the status has said it all; read so that the connection can be used again
	_ = resp.Body.Close()
	return resp, nil
}

func (p *poster) head(h http.Header, l *letter, trusted bool) {
	now := p.now()
	h.Set("User-Agent", userAgent)
	if s := &l.secrets; trusted {
		user, password := s.Username, s.Password
		if user == "" && password == "" {
			user, password = splitUserinfo(s.Userinfo)
		}
		for _, f := range s.Headers {
			h.Set(f.Name, f.Value)
		}
		if user != "" || password != "" {
			h.Set("Authorization", basic(user, password))
		}
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-PM-Retries-Remaining", strconv.Itoa(l.remaining))
	h.Set("X-PM-Webhook-Trace-Id", l.id)
	h.Set(headerID, l.id)
	h.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(headerSignature, signatures(&l.secrets, l.id, now, l.body))
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func splitUserinfo(text string) (user, password string) {
	u, err := url.Parse("http://" + text + "@x")
	if text == "" || err != nil || u.User == nil {
		return "", ""
	}
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// retryAfter reads the header of RFC 9110 10.2.3, 0 for none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return min(at.Sub(now), maxRetryAfter)
	}
	return 0
}

// reserved are the fields that belong to the connection, the content or us.
var reserved = [...]string{
	"Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection",
	"Proxy-Authorization", "Te", "Trailer", "Upgrade", "Expect", "X-Pm-Retries-Remaining", "X-Pm-Webhook-Trace-Id",
	headerID, headerTimestamp, headerSignature,
}

const (
	maxFields = 30
	maxField  = 4096
)

// CheckHeaders tells whether the fields may be sent with every request.
func CheckHeaders(fields []store.HeaderField) error {
	if len(fields) > maxFields {
		return fmt.Errorf("more than %d header fields: %w", maxFields, store.ErrInvalid)
	}
	for _, f := range fields {
		if !httpguts.ValidHeaderFieldName(f.Name) || len(f.Name) > 100 {
			return fmt.Errorf("header field name %q: %w", f.Name, store.ErrInvalid)
		}
		for _, r := range reserved {
			if strings.EqualFold(r, f.Name) {
				return fmt.Errorf("header field %q is not yours to set: %w", r, store.ErrInvalid)
			}
		}
		if !httpguts.ValidHeaderFieldValue(f.Value) || len(f.Value) > maxField {
			return fmt.Errorf("value of header field %q: %w", f.Name, store.ErrInvalid)
		}
	}
	return nil
}
