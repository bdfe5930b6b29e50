package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// world is a DNS server, a policy host and a cache that knows no other.
type world struct {
	t     *testing.T
	dns   *testdns.Server
	cache *Cache
	dir   string
	opts  Options

	mu      sync.Mutex
	handler http.HandlerFunc
	hits    int
	dialled []string
}

func serve(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

func policyFile(mode Mode, mx string, maxAge time.Duration) http.HandlerFunc {
	return serve(fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: %d\r\n", mode, mx, int(maxAge/time.Second)))
}

// newWorld serves a policy to enforce mx.example.com for a week, under the id "1".
func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), handler: policyFile(Enforce, "mx.example.com", 7*24*time.Hour)}
	w.dns = testdns.New(t, `_mta-sts.example.com. TXT "v=STSv1; id=1;"`)
	ca := testmx.NewCA(t)
	host := httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	host.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Certificate("mta-sts.example.com", "mta-sts.other.example")}}
	host.Config.ErrorLog = log.New(io.Discard, "", 0)
	host.StartTLS()
	t.Cleanup(host.Close)
	w.opts = Options{
		LookupTXT: w.lookup, RootCAs: ca.Pool(), Timeout: 5 * time.Second,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			w.mu.Lock()
			w.dialled = append(w.dialled, address)
			w.mu.Unlock()
			return new(net.Dialer).DialContext(ctx, network, host.Listener.Addr().String())
		},
	}
	if change != nil {
		change(&w.opts)
	}
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	c, err := Open(w.dir, w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cache = c
}

func (w *world) close() {
	w.t.Helper()
	if err := w.cache.Close(); err != nil {
		w.t.Error(err)
	}
}

// lookup asks the DNS server of the test with the standard library.
func (w *world) lookup(ctx context.Context, name string) ([]string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.dns.Addr())
	}}
	records, err := r.LookupTXT(ctx, name+".")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil, nil
	}
	return records, err
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.hits++
	handler := w.handler
	w.mu.Unlock()
	if r.URL.Path != "/.well-known/mta-sts.txt" || r.Method != http.MethodGet {
		w.t.Errorf("asked for %s %s", r.Method, r.URL)
	}
	handler(rw, r)
}

func (w *world) answer(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = h
}

func (w *world) fetches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hits
}

func (w *world) record(text string) {
	w.dns.Remove("_mta-sts.example.com")
	if text != "" {
		w.dns.Add(fmt.Sprintf("_mta-sts.example.com. TXT %q", text))
	}
}

// want asks for the policy of example.com and checks the mode ("" for none), the kind of FetchError, and the fetches made so far.
func (w *world) want(step string, after time.Duration, mode Mode, kind Kind, fetches int) Policy {
	w.t.Helper()
	p, found, err := w.cache.Policy(w.t.Context(), "example.com", start.Add(after))
	if p.Mode != mode || found != (mode != "") {
		w.t.Errorf("%s: mode %q, found %v; want %q", step, p.Mode, found, mode)
	}
	var fe *FetchError
	switch {
	case kind == "" && err != nil:
		w.t.Errorf("%s: %v", step, err)
	case kind != "" && (!errors.As(err, &fe) || fe.Kind != kind || fe.Result() != string(kind) || fe.Domain != "example.com"):
		w.t.Errorf("%s: error %v, want %s", step, err, kind)
	}
	if n := w.fetches(); n != fetches {
		w.t.Errorf("%s: %d fetches, want %d", step, n, fetches)
	}
	return p
}
