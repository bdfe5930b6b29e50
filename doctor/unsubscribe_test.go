package doctor

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestExamine_UnsubscribeURL(t *testing.T) {
	ours := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/u/doctor" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("X-Robots-Tag", "noindex, nofollow")
		w.WriteHeader(http.StatusNotFound)
	}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		url     string
		trusted bool
		down    bool
		level   Level
		detail  string
	}{
		{"right", ours, "https://example.com/u/", true, false, OK, "answers"},
		{"in the clear", ours, "http://example.com/u/", true, false, Fail, "not https"},
		{"certificate of nobody", ours, "https://example.com/u/", false, false, Fail, "does not verify"},
		{"another name", ours, "https://mail.example.org/u/", true, false, Fail, "does not verify"},
		{"not there", ours, "https://example.com/u/", true, true, Warn, "cannot be reached"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://www.example.com/", http.StatusFound)
		}, "https://example.com/u/", true, false, Fail, "https://www.example.com"},
		{"another program", http.NotFound, "https://example.com/u/", true, false, Fail, "something else"},
	} {
		srv := httptest.NewTLSServer(c.handler)
		e := &exam{Case: Case{UnsubscribeURL: c.url, Clock: Clock{Now: time.Now()}, Roots: x509.NewCertPool()}, chart: &chart{}}
		if c.trusted {
			e.Roots.AddCert(srv.Certificate())
		}
		e.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
		}
		if c.down {
			srv.Close()
		}
		e.unsubscribe(t.Context())
		srv.Close()
		if len(e.chart.findings) != 1 {
			t.Fatalf("%s: %+v", c.name, e.chart.findings)
		}
		if f := e.chart.findings[0]; f.Level != c.level || !strings.Contains(f.Detail, c.detail) || (f.Advice == "") != (f.Level == OK) {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}
