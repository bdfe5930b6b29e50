package mtasts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/internal/testdns"
)

const day = 24 * time.Hour

func TestFetch(t *testing.T) {
	w := newWorld(t, nil)
	p := w.want("first", 0, Enforce, "", 1)
	want := Policy{ID: "1", Mode: Enforce, MX: []string{"mx.example.com"}, MaxAge: 7 * day, Fetched: start}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"mta-sts.example.com:443"}, w.dialled); d != "" {
		t.Error(d)
	}
	if tr := newClient(w.opts).Transport.(*http.Transport); tr.Proxy != nil {
		t.Error("policies would be fetched through a proxy")
	}
}

func TestFetchFailures(t *testing.T) {
	redirect := func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://mta-sts.example.com/.well-known/mta-sts.txt?again", http.StatusFound)
	}
	typed := func(media string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header()["Content-Type"] = []string{media}
			_, _ = rw.Write([]byte(example))
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			rw.WriteHeader(code)
			_, _ = rw.Write([]byte(example))
		}
	}
	for _, tt := range []struct {
		clause  string
		handler http.HandlerFunc
		kind    Kind
	}{
		{"8461 3.3 redirects are not followed", redirect, FetchFailed},
		{"8461 3.3 404", status(404), FetchFailed},
		{"8461 3.3 500", status(500), FetchFailed},
		{"8461 3.3 203", status(203), FetchFailed},
		{"8461 3.3 HTML", typed("text/html"), Invalid},
		{"8461 3.3 no media type", typed(""), Invalid},
		{"8461 3.2 malformed", serve("version: STSv1\n"), Invalid},
		{"8461 3.3 larger than 64 KiB", serve(example + "x: " + strings.Repeat("a", 70<<10) + "\r\n"), Invalid},
		{"connection cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, FetchFailed},
	} {
		w := newWorld(t, nil)
		w.answer(tt.handler)
		w.want(tt.clause, 0, "", tt.kind, 1)
	}
}

// TestLog is what the operator is told of a domain, and how often.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	})
	const broken = `level=WARN msg="MTA-STS policy not to be had" domain=example.com in_force=false err="policy host answered 404"` + "\n"
	good := policyFile(Enforce, "mx.example.com", 7*day)
	for i, step := range []struct {
		handler http.HandlerFunc
		id      string
		want    string
	}{
		{http.NotFound, "1", broken},
		{http.NotFound, "1", ""},
		{good, "1", "level=INFO msg=\"MTA-STS policy\" domain=example.com mode=enforce id=1 mx=[mx.example.com]\n"},
		{good, "1", ""},
		{policyFile(Testing, "mx.example.com", 7*day), "2", "level=INFO msg=\"MTA-STS policy\" domain=example.com mode=testing id=2 mx=[mx.example.com]\n"},
		{http.NotFound, "3", strings.Replace(broken, "in_force=false", "in_force=true", 1)},
	} {
		w.answer(step.handler)
		w.dns.Remove("_mta-sts.example.com")
		w.dns.Add(`_mta-sts.example.com. TXT "v=STSv1; id=` + step.id + `;"`)
		log.Reset()
		_, _, _ = w.cache.Policy(t.Context(), "example.com", start.Add(time.Duration(i)*time.Hour))
		if log.String() != step.want {
			t.Errorf("step %d logs %q, want %q", i+1, log.String(), step.want)
		}
	}
}

func TestPolicyHostCertificate(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		clause, domain string
		found          bool
	}{
		{"8461 3.3 valid for the policy host", "other.example", true},
		{"8461 3.3 for other names", "third.example", false},
	} {
		w.dns.Add("_mta-sts." + tt.domain + `. TXT "v=STSv1; id=1"`)
		_, found, err := w.cache.Policy(t.Context(), tt.domain, start)
		var fe *FetchError
		if found != tt.found || errors.As(err, &fe) == tt.found || (fe != nil && fe.Kind != WebPKIFailed) {
			t.Errorf("%s: found %v, %v", tt.clause, found, err)
		}
	}
	stranger := newWorld(t, func(o *Options) { o.RootCAs = nil })
	stranger.want("8461 3.3 unknown authority", 0, "", WebPKIFailed, 0)
}

func TestDefaultDialerRefusesPrivateAddresses(t *testing.T) {
	w := newWorld(t, nil)
	permit := Options{}.withDefaults().Permit
	conn, err := guarded(permit)(t.Context(), "tcp", w.dns.Addr())
	if !errors.Is(err, errNotPublic) {
		t.Errorf("dialling loopback: %v, %v", conn, err)
	}
	conn, err = guarded(func(netip.Addr) bool { return true })(t.Context(), "tcp", w.dns.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2600::1": true, "127.0.0.1": false, "::1": false, "10.1.2.3": false, "192.168.1.1": false, "172.16.0.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false, "fe80::1": false, "fd00::1": false, "224.0.0.1": false, "ff02::1": false,
		"255.255.255.255": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "198.18.0.1": false,
	} {
		if got := permit(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is permitted: %v", addr, got)
		}
	}
}

func TestLifeOfAPolicy(t *testing.T) {
	w := newWorld(t, nil)
	w.want("first", 0, Enforce, "", 1)
	w.want("not looked at again so soon", time.Minute, Enforce, "", 1)
	if n := w.dns.Count("_mta-sts.example.com", "TXT"); n != 1 {
		t.Errorf("%d TXT lookups", n)
	}
	w.want("same id", 10*time.Minute, Enforce, "", 1)

	w.record("v=STSv1; id=2")
	w.answer(policyFile(Testing, "mx.example.com", 7*day))
	w.want("8461 3.3 new id", 20*time.Minute, Testing, "", 2)

	w.record("v=STSv1; id=3")
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	w.want("8461 5.1 new policy cannot be had", 30*time.Minute, Testing, FetchFailed, 3)
	w.want("8461 3.3 and is not asked for at once again", 34*time.Minute, Testing, FetchFailed, 3)
	w.want("but later", 40*time.Minute, Testing, FetchFailed, 4)

	w.answer(policyFile(None, "mx.example.com", day))
	w.want("8461 5 the domain leaves", 50*time.Minute, None, "", 5)
}

func TestCachedPolicyOutlivesItsRecord(t *testing.T) {
	for _, tt := range []struct {
		clause string
		lose   func(w *world)
		is     error
	}{
		{"8461 3.1 no record", func(w *world) { w.record("") }, ErrNoRecord},
		{"8461 3.1 malformed record", func(w *world) { w.record("v=STSv1; nonsense") }, nil},
		{"8461 3.1 SERVFAIL", func(w *world) { w.dns.Fail("_mta-sts.example.com", testdns.ServFail) }, nil},
	} {
		w := newWorld(t, nil)
		w.want(tt.clause, 0, Enforce, "", 1)
		tt.lose(w)
		p, found, err := w.cache.Policy(t.Context(), "example.com", start.Add(6*day))
		if !found || p.Mode != Enforce || err == nil || (tt.is != nil && !errors.Is(err, tt.is)) {
			t.Errorf("%s: %v, %v, %v", tt.clause, p, found, err)
		}
		_, found, err = w.cache.Policy(t.Context(), "example.com", start.Add(7*day))
		if found || (tt.is != nil && err != nil) || (tt.is == nil && err == nil) {
			t.Errorf("%s, run out: %v, %v", tt.clause, found, err)
		}
	}
}

func TestRunningOut(t *testing.T) {
	w := newWorld(t, nil)
	w.answer(policyFile(Enforce, "mx.example.com", 4*time.Minute))
	w.want("short-lived", 0, Enforce, "", 1)
	w.want("still", time.Minute, Enforce, "", 1)
	w.want("8461 3.2 over, though DNS was asked just now", 4*time.Minute, Enforce, "", 2)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	w.want("over, and no other to be had", 8*time.Minute, "", FetchFailed, 3)
	w.want("not asked for again at once", 9*time.Minute, "", FetchFailed, 3)
}

func TestOldPolicyIsFetchedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.want("first", 0, Enforce, "", 1)
	w.want("8461 10.2 after a day", day, Enforce, "", 2)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	w.want("8461 10.2 fails, the old one stays", 2*day, Enforce, FetchFailed, 3)
	w.want("until it runs out, a week after the last success", 8*day-time.Second, Enforce, FetchFailed, 4)
	w.want("run out", 8*day, "", FetchFailed, 4)
}

func TestNegative(t *testing.T) {
	w := newWorld(t, nil)
	w.record("")
	w.want("none", 0, "", "", 0)
	w.record("v=STSv1; id=1")
	w.want("remembered", 4*time.Minute, "", "", 0)
	w.want("briefly", 5*time.Minute, Enforce, "", 1)
	for _, domain := range []string{"", "localhost", "[192.0.2.1]", "192.0.2.1", "a..b", "-.example", strings.Repeat("a.", 125) + "b", "../../etc/passwd.x"} {
		if p, found, err := w.cache.Policy(t.Context(), domain, start); found || err != nil {
			t.Errorf("%q: %v, %v", domain, p, err)
		}
	}
	if n := len(w.dns.Queries()); n != 2 {
		t.Errorf("%d queries, want 2", n)
	}
	if files := listing(t, w.dir); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
}

func TestOneFetchAtATime(t *testing.T) {
	w := newWorld(t, nil)
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			p, found, err := w.cache.Policy(t.Context(), "Example.COM.", start)
			if !found || err != nil || p.Mode != Enforce {
				t.Errorf("%v, %v, %v", p, found, err)
			}
		})
	}
	waiting.Wait()
	if n, q := w.fetches(), w.dns.Count("_mta-sts.example.com", "TXT"); n != 1 || q != 1 {
		t.Errorf("%d fetches, %d queries", n, q)
	}
}

func TestCallerWhoLeavesDoesNotEndTheFetch(t *testing.T) {
	w := newWorld(t, nil)
	asked, release := make(chan struct{}), make(chan struct{})
	serve := w.handler
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		serve(rw, r)
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	go func() {
		<-asked
		cancel(stop)
	}()
	if _, found, err := w.cache.Policy(ctx, "example.com", start); found || !errors.Is(err, stop) {
		t.Errorf("caller who left: %v, %v", found, err)
	}
	close(release)
	w.want("the next one", 0, Enforce, "", 1)
}

// hang answers nothing, not even once the client has gone: it may still read what comes between its close_notify and its FIN.
func hang(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

func TestSlowPolicyHost(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Timeout = 100 * time.Millisecond })
	w.answer(func(_ http.ResponseWriter, r *http.Request) { hang(r) })
	w.want("8461 3.3 timeout", 0, "", FetchFailed, 1)
}

func TestCloseEndsFetches(t *testing.T) {
	w := newWorld(t, nil)
	w.answer(func(_ http.ResponseWriter, r *http.Request) {
		go w.cache.cancel() // what Close does first
		hang(r)
	})
	w.want("under way", 0, "", FetchFailed, 1)
	w.close()
	if _, found, err := w.cache.Policy(t.Context(), "new.example", start); found || !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, %v", found, err)
	}
}

func TestRestart(t *testing.T) {
	w := newWorld(t, nil)
	before := w.want("first", 0, Enforce, "", 1)
	w.close()
	w.open()
	w.dns.Fail("_mta-sts.example.com", testdns.ServFail)
	after, found, err := w.cache.Policy(t.Context(), "example.com", start.Add(6*day))
	if !found || err == nil {
		t.Errorf("8461 3.3 durable: %v, %v", found, err)
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Error(d)
	}
}

func TestDamagedFiles(t *testing.T) {
	w := newWorld(t, nil)
	w.want("first", 0, Enforce, "", 1)
	w.close()
	good, err := os.ReadFile(filepath.Join(w.dir, "example.com.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"half.example.json":  string(good[:len(good)/2]),
		"empty.example.json": "",
		"moved.example.json": string(good), // names another domain
		"mode.example.json":  strings.NewReplacer("example.com", "mode.example", "enforce", "other").Replace(string(good)),
		"large.example.json": strings.Repeat(" ", maxFile+1),
		"tmp-123":            "left by a crash",
		"README":             "not ours",
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.open()
	if d := cmp.Diff([]string{"README", "example.com.json"}, listing(t, w.dir)); d != "" {
		t.Error(d)
	}
	w.want("the good one", time.Hour, Enforce, "", 1)
}

func TestUnwritableDirectory(t *testing.T) {
	w := newWorld(t, nil)
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	p, found, err := w.cache.Policy(t.Context(), "example.com", start)
	if !found || p.Mode != Enforce || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v, %v", p, found, err)
	}
	if _, err := Open(filepath.Join(os.DevNull, "x"), Options{}); err == nil {
		t.Error("a cache was opened in a device")
	}
}

func TestBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxEntries = 20 })
	w.want("first", 0, Enforce, "", 1)
	ask := func(from, to int) {
		for i := range to - from {
			if _, found, err := w.cache.Policy(t.Context(), fmt.Sprintf("d%d.example", from+i), start.Add(time.Minute)); found || err != nil {
				t.Fatal(found, err)
			}
			if n := len(w.cache.entries); n > 20 {
				t.Fatalf("%d entries", n)
			}
		}
	}
	ask(0, 60)
	w.want("domains without a policy go first", 2*time.Minute, Enforce, "", 1)
	if n := len(w.cache.entries); n < 18 {
		t.Errorf("%d entries are left", n)
	}
	w.close()
	for i := range 30 {
		s := saved{Domain: fmt.Sprintf("p%d.example", i), Used: start.Add(time.Duration(i) * time.Second), Policy: Policy{ID: "1", Mode: None, MaxAge: day, Fetched: start}}
		if err := store(w.dir, s); err != nil {
			t.Fatal(err)
		}
	}
	w.open()
	files := listing(t, w.dir)
	if len(files) != 18 || len(w.cache.entries) != 18 || !w.cache.entries["p29.example"].held {
		t.Errorf("after a start with too many: %d files, %d entries", len(files), len(w.cache.entries))
	}
	w.want("the one not used for longest went", 3*time.Minute, Enforce, "", 2)
	w.close()
	w.opts.MaxEntries = 19
	w.open()
	w.dns.Add(`_mta-sts.other.example. TXT "v=STSv1; id=1"`)
	if _, found, err := w.cache.Policy(t.Context(), "other.example", start.Add(4*time.Minute)); !found || err != nil {
		t.Errorf("one more: %v, %v", found, err)
	}
	if files := listing(t, w.dir); len(files) != 17 || len(files) != len(w.cache.entries) {
		t.Errorf("%d files, %d entries", len(files), len(w.cache.entries))
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t, nil)
	w.want("first", 0, Enforce, "", 1)
	refresh := func(step string, after time.Duration, fetches int, fails bool) {
		t.Helper()
		if err := w.cache.Refresh(t.Context(), start.Add(after)); (err != nil) != fails {
			t.Errorf("%s: %v", step, err)
		}
		if n := w.fetches(); n != fetches {
			t.Errorf("%s: %d fetches, want %d", step, n, fetches)
		}
	}
	refresh("young", time.Hour, 1, false)
	for i := range 29 {
		refresh("8461 10.2 daily", time.Duration(i+1)*day, i+2, false)
	}
	refresh("not for a domain that gets no mail", 31*day, 30, false)
	w.want("still in force then", 35*day, Enforce, "", 31)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	refresh("failing", 37*day, 32, true)
	refresh("run out", 50*day, 32, false)
	if files := listing(t, w.dir); len(files) != 0 || len(w.cache.entries) != 0 {
		t.Errorf("left: %q, %v", files, w.cache.entries)
	}
}

func TestShortLivedPolicyIsFetchedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.answer(policyFile(Enforce, "mx.example.com", 20*time.Minute))
	w.want("first", 0, Enforce, "", 1)
	w.want("before half its life", 9*time.Minute, Enforce, "", 1)
	w.want("after it", 14*time.Minute, Enforce, "", 2)
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
