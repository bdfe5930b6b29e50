package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

var loopback = Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

func testPoster(t *testing.T, o Options) *poster {
	t.Helper()
	o = o.withDefaults()
	p := newPoster(&o)
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

func letterTo(url string) *letter {
	return &letter{
		url: url, id: "the-id", remaining: 6, body: []byte(`{"a":1}`),
		secrets: store.WebhookSecrets{Key: []byte("key"), Username: "user", Password: "pass", Headers: []store.HeaderField{{Name: "x-own", Value: "secret"}}},
	}
}

func TestPost_Request(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, body = r, readAll(r) }))
	defer srv.Close()
	now := time.Unix(1e9, 0)
	p := testPoster(t, Options{Guard: loopback, Now: func() time.Time { return now }})
	if a := p.post(t.Context(), letterTo(srv.URL+"/hook?x=y")); a.status != 200 || a.err != nil {
		t.Fatalf("post = %+v", a)
	}
	user, pass, _ := got.BasicAuth()
	if got.Method != "POST" || got.URL.String() != "/hook?x=y" || string(body) != `{"a":1}` || user != "user" || pass != "pass" {
		t.Errorf("request %s %s %s, %s:%s", got.Method, got.URL, body, user, pass)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "mailchute", "X-Own": "secret", "X-PM-Retries-Remaining": "6", "X-PM-Webhook-Trace-Id": "the-id",
		"Webhook-Id": "the-id", "Webhook-Timestamp": "1000000000", "Webhook-Signature": Sign([]byte("key"), "the-id", now, body), "Content-Length": "7",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	l := letterTo(srv.URL)
	l.secrets.Username, l.secrets.Password, l.secrets.Userinfo = "", "", "ada:p%40ss"
	if p.post(t.Context(), l); got.Header.Get("Authorization") != basic("ada", "p@ss") {
		t.Errorf("Authorization of a URL with user: %q", got.Header.Get("Authorization"))
	}
}

func readAll(r *http.Request) []byte {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	return b
}

// TestPost_InternalAddresses reaches nothing on loopback by any way of writing it, and by no redirect.
func TestPost_InternalAddresses(t *testing.T) {
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the canary was reached") }))
	defer canary.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(canary.URL, "http://"), ":")
	p := testPoster(t, Options{})
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "localhost."} {
		if a := p.post(t.Context(), letterTo("http://"+host+":"+port)); !errors.Is(a.err, ErrInternal) && !errors.Is(a.err, ErrURL) {
			t.Errorf("%s: %+v", host, a)
		}
	}
	// A name that leads to loopback, past the check of the URL: the dialler stops it.
	req, err := http.NewRequestWithContext(t.Context(), "POST", canary.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, ErrInternal) {
		t.Errorf("dialling loopback: %v", err)
	}
	// A redirect from an endpoint that may be reached to one that may not.
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://[::1]:"+port, http.StatusTemporaryRedirect)
	}))
	defer outer.Close()
	some := testPoster(t, Options{Guard: Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	if a := some.post(t.Context(), letterTo(outer.URL)); !errors.Is(a.err, ErrInternal) {
		t.Errorf("redirected: %+v", a)
	}
}

func TestPost_Redirects(t *testing.T) {
	var seen []string
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprintf("other %s %q %q %s", r.Method, r.Header.Get("Authorization"), r.Header.Get("X-Own"), readAll(r)))
	}))
	defer other.Close()
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprintf("%s %s %v %s", r.Method, r.URL, r.Header.Get("Authorization") != "", readAll(r)))
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
	})
	mux.HandleFunc("/see", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusSeeOther) })
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) })
	mux.HandleFunc("/ftp", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "ftp://x.example/", http.StatusFound)
	})
	mux.HandleFunc("/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		to := "/done"
		if n > 1 {
			to = "/" + strconv.Itoa(n-1)
		}
		http.Redirect(w, r, to, []int{301, 302, 307, 308}[n%4])
	})
	mux.HandleFunc("/done", func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprintf("%s done %v %s", r.Method, r.Header.Get("Authorization") != "", readAll(r)))
	})
	p := testPoster(t, Options{Guard: loopback})
	for _, tc := range []struct {
		path, seen string
		status     int
		err        error
	}{
		{"/10", `POST done true {"a":1}`, 200, nil},
		{"/11", "", 0, errRedirects},
		{"/away", `other POST "" "" {"a":1}`, 200, nil},
		{"/see", "", 303, nil},
		{"/nowhere", "", 0, errRedirects},
		{"/ftp", "", 0, ErrURL},
	} {
		seen = nil
		a := p.post(t.Context(), letterTo(srv.URL+tc.path))
		if a.status != tc.status || !errors.Is(a.err, tc.err) || strings.Join(seen, ";") != tc.seen {
			t.Errorf("%s: %+v, seen %q", tc.path, a, seen)
		}
	}
}

func TestPost_NotFromHTTPSToHTTP(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached in the clear") }))
	defer plain.Close()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL, http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if a := testPoster(t, Options{Guard: loopback, RootCAs: roots}).post(t.Context(), letterTo(srv.URL)); !errors.Is(a.err, errRedirects) {
		t.Errorf("post = %+v", a)
	}
	if a := testPoster(t, Options{Guard: loopback}).post(t.Context(), letterTo(srv.URL)); a.err == nil || !strings.Contains(explain(a), "certificate") {
		t.Errorf("an unknown certificate: %+v", a)
	}
}

func TestPost_BoundedAnswers(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(503)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { readAll(r); <-r.Context().Done() }))
	defer silent.Close()
	if a := testPoster(t, Options{Guard: loopback}).post(t.Context(), letterTo(endless.URL)); a.status != 503 || a.retryAfter != 2*time.Minute {
		t.Errorf("endless: %+v", a)
	}
	a := testPoster(t, Options{Guard: loopback, Timeout: 50 * time.Millisecond}).post(t.Context(), letterTo(silent.URL))
	if a.err == nil || explain(a) != "no answer in time" {
		t.Errorf("silent: %+v: %s", a, explain(a))
	}
}

func TestPost_ErrorsHideTheURL(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	a := testPoster(t, Options{Guard: loopback}).post(t.Context(), letterTo(strings.Replace(srv.URL, "http://", "http://canary:canary@", 1)+"/canary?canary"))
	if text := fmt.Sprint(a.err, explain(a)); a.err == nil || strings.Contains(text, "canary") {
		t.Errorf("post = %s", text)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "30": 30 * time.Second, "99999999": time.Hour,
		"Wed, 04 Mar 2026 05:07:07 GMT": time.Minute, "Wed, 04 Mar 2026 05:05:07 GMT": 0, "Wed, 04 Mar 2027 05:05:07 GMT": time.Hour,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestCheckHeaders(t *testing.T) {
	for _, f := range []store.HeaderField{
		{Name: "host", Value: "x"}, {Name: "Content-Length", Value: "1"}, {Name: "transfer-encoding", Value: "chunked"}, {Name: "Connection", Value: "close"},
		{Name: "webhook-signature", Value: "x"}, {Name: "X-PM-Webhook-Trace-Id", Value: "x"}, {Name: "", Value: "x"}, {Name: "a b", Value: "x"}, {Name: "x:", Value: "x"},
		{Name: "x", Value: "a\r\nb: c"}, {Name: "x", Value: "a\x00"}, {Name: "x", Value: strings.Repeat("a", 5000)},
	} {
		if err := CheckHeaders([]store.HeaderField{f}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("CheckHeaders(%q: %.20q) = %v", f.Name, f.Value, err)
		}
	}
	if err := CheckHeaders([]store.HeaderField{{Name: "Authorization", Value: "Bearer x"}, {Name: "X-Api-Key", Value: ""}}); err != nil {
		t.Errorf("CheckHeaders = %v", err)
	}
	if err := CheckHeaders(make([]store.HeaderField, 31)); err == nil {
		t.Error("31 fields passed")
	}
}
