package unsubscribe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/store"
)

const ada = "broadcast ada@dest.example ManualSuppression Recipient"

func TestPostUnsubscribesOnce(t *testing.T) {
	w := newWorld(t)
	m := w.send("bob@dest.example", "Ada@Dest.Example")
	path := w.path(m, 1, "Ada@Dest.Example")
	var clicks sync.WaitGroup
	for range 8 {
		clicks.Go(func() {
			if status := w.post(path); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
	}
	clicks.Wait()
	if got := w.left(); got != ada {
		t.Errorf("list: %s", got)
	}
	if diff := cmp.Diff(map[string]int{"Ada@Dest.Example": 1}, w.told(m.ID)); diff != "" {
		t.Error(diff)
	}
	list, err := w.db.SuppressionHistory(t.Context(), 7, "broadcast", "ada@dest.example")
	if err != nil || len(list) != 1 || list[0].Message != m.ID {
		t.Errorf("history %+v, %v", list, err)
	}
}

// Who was let back in by hand and leaves again by the same link has left again.
func TestPostAfterReactivation(t *testing.T) {
	w := newWorld(t)
	m := w.send("ada@dest.example")
	path := w.path(m, 0, "ada@dest.example")
	w.post(path)
	if _, _, err := w.db.Reactivate(t.Context(), store.Reactivation{Server: 7, Stream: "broadcast", Addresses: []string{"ada@dest.example"}, Binding: true, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w.post(path)
	if got, n := w.left(), w.told(m.ID)["ada@dest.example"]; got != ada || n != 2 {
		t.Errorf("list: %s; told %d times", got, n)
	}
}

func TestPostOutweighsABounceAndYieldsToAComplaint(t *testing.T) {
	for reason, want := range map[store.SuppressionReason]string{
		store.SuppressedHardBounce:    ada,
		store.SuppressedSpamComplaint: "broadcast ada@dest.example SpamComplaint Recipient",
	} {
		w := newWorld(t)
		m := w.send("ada@dest.example")
		if _, err := w.db.Suppress(t.Context(), store.Suppression{Server: 7, Stream: "broadcast", Address: "ada@dest.example", Reason: reason, Origin: store.OriginRecipient, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if status := w.post(w.path(m, 0, "ada@dest.example")); status != http.StatusOK {
			t.Errorf("%s: status %d", reason, status)
		}
		if got, n := w.left(), w.told(m.ID)["ada@dest.example"]; got != want || n != 1 {
			t.Errorf("%s: list: %s; told %d times", reason, got, n)
		}
	}
}

// A GET is made by programs that look for malware.
func TestGetChangesNothingAndGivesNothingAway(t *testing.T) {
	w := newWorld(t)
	m := w.send("ada@dest.example", "bob@dest.example")
	path := w.path(m, 0, "ada@dest.example")
	before := text(w.do("GET", path, "", ""))
	for _, method := range []string{"GET", "HEAD"} {
		r := w.do(method, path+"?List-Unsubscribe=One-Click", "", "")
		if r.StatusCode != http.StatusOK || len(r.Cookies()) > 0 || r.Header.Get("Location") != "" {
			t.Errorf("%s: %d %v", method, r.StatusCode, r.Header)
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex, nofollow",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", method, name, got, want)
			}
		}
		if policy := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
			t.Errorf("policy %q", policy)
		}
	}
	if w.left() != "" || len(w.told(m.ID)) > 0 {
		t.Error("a GET unsubscribed")
	}
	if strings.Contains(before, "ada@") || strings.Contains(before, "bob") || !strings.Contains(before, "a…@dest.example") || !strings.Contains(before, `<form method="post">`) {
		t.Errorf("page:\n%s", before)
	}
	w.post(path)
	if after := text(w.do("GET", path, "", "")); after != before {
		t.Error("the page tells who has left")
	}
}

// changed returns a path with another last character.
func changed(path string) string {
	end := "A"
	if strings.HasSuffix(path, end) {
		end = "Q"
	}
	return path[:len(path)-1] + end
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	m := w.send("ada@dest.example")
	path := w.path(m, 0, "ada@dest.example")
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, method, path, kind, body string
		want                           int
	}{
		{"no form", "POST", path, "", "", 400},
		{"empty form", "POST", path, form, "", 400},
		{"another word", "POST", path, form, "List-Unsubscribe=No", 400},
		{"in the query", "POST", path + "?List-Unsubscribe=One-Click", form, "", 400},
		{"JSON", "POST", path, "application/json", `{"List-Unsubscribe":"One-Click"}`, 400},
		{"multipart without end", "POST", path, "multipart/form-data; boundary=b", "--b\r\n", 400},
		{"too large", "POST", path, form, strings.Repeat("x=y&", maxBody) + "List-Unsubscribe=One-Click", 400},
		{"other method", "PUT", path, form, "List-Unsubscribe=One-Click", 405},
		{"changed token", "POST", changed(path), form, "List-Unsubscribe=One-Click", 404},
		{"no token", "POST", "/u/", form, "List-Unsubscribe=One-Click", 404},
		{"below the token", "POST", path + "/x", form, "List-Unsubscribe=One-Click", 404},
		{"elsewhere", "POST", "/x/" + strings.TrimPrefix(path, "/u/"), form, "List-Unsubscribe=One-Click", 404},
	} {
		if r := w.do(c.method, c.path, c.kind, c.body); r.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, r.StatusCode, c.want)
		}
	}
	if got := w.left(); got != "" {
		t.Errorf("list: %s", got)
	}
}

func TestMultipartForm(t *testing.T) {
	w := newWorld(t)
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	w.must(form.WriteField("List-Unsubscribe", "One-Click"))
	w.must(form.Close())
	m := w.send("ada@dest.example")
	if r := w.do("POST", w.path(m, 0, "ada@dest.example"), form.FormDataContentType(), b.String()); r.StatusCode != http.StatusOK {
		t.Errorf("status %d", r.StatusCode)
	}
	if got := w.left(); got != ada {
		t.Errorf("list: %s", got)
	}
}

// Who gets a rerouted copy is put on the list of the stream that they got the mail from, and on that of the one that sends.
func TestPostForAReroutedCopy(t *testing.T) {
	w := newWorld(t)
	spare := store.Stream{Server: 7, ID: "spare", Kind: store.Broadcast, Mode: store.ModeLive}
	_, err := w.db.Change(t.Context(), w.db.Snapshot().Revision, store.Change{Stream: &spare})
	w.must(err)
	m := w.store(store.Queued, "bob@dest.example", "ada@dest.example")
	n, err := w.db.Alter(t.Context(), store.Alteration{Amendment: store.Reroute, By: "ops", At: time.Now(), Stream: "spare"}, store.DeliveryID{Message: m.ID, Part: 1})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	for range 2 {
		if status := w.post(w.path(m, 1, "ada@dest.example")); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	if got, want := w.left(), ada+", spare ada@dest.example ManualSuppression Recipient"; got != want {
		t.Errorf("list: %s, want %s", got, want)
	}
	if n := w.told(m.ID)["ada@dest.example"]; n != 1 {
		t.Errorf("told %d times", n)
	}
	w.post(w.path(m, 0, "bob@dest.example"))
	if got := w.left(); strings.Contains(got, "spare bob@") || !strings.Contains(got, "broadcast bob@") {
		t.Errorf("list: %s", got)
	}
}

// The link carries all that is needed.
func TestLinkOutlivesMessageAndStream(t *testing.T) {
	w := newWorld(t)
	m := w.send("ada@dest.example")
	path := w.path(m, 0, "ada@dest.example")
	if n, err := w.db.Prune(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	stream := w.db.Snapshot().Streams[store.StreamKey{Server: 7, Stream: "broadcast"}]
	if _, err := w.db.Change(t.Context(), w.db.Snapshot().Revision, store.Change{Delete: true, Stream: &stream}); err != nil {
		t.Fatal(err)
	}
	if status := w.post(path); status != http.StatusOK || w.left() != ada {
		t.Errorf("%d; list: %s", status, w.left())
	}
	server := w.db.Snapshot().Servers[7]
	other := w.path(m, 1, "bob@dest.example")
	if _, err := w.db.Change(t.Context(), w.db.Snapshot().Revision, store.Change{Delete: true, Server: &server}); err != nil {
		t.Fatal(err)
	}
	if status := w.post(other); status != http.StatusOK || w.left() != "" {
		t.Errorf("server gone: %d; list: %s", status, w.left())
	}
}

// What a failure leaves undone, the next click does.
func TestFailuresAreMadeGood(t *testing.T) {
	w := newWorld(t)
	m := w.send("ada@dest.example")
	path := w.path(m, 0, "ada@dest.example")
	for _, set := range []func(){func() { w.broken.set(errDisk, nil, 0) }, func() { w.broken.set(nil, errDisk, 0) }} {
		set()
		r := w.do("POST", path, "application/x-www-form-urlencoded", "List-Unsubscribe=One-Click")
		if page := text(r); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || strings.Contains(page, "disk") {
			t.Errorf("%d %v\n%s", r.StatusCode, r.Header, page)
		}
	}
	if w.left() != ada || len(w.told(m.ID)) != 0 {
		t.Fatalf("list: %s, told %v", w.left(), w.told(m.ID))
	}
	w.broken.set(nil, nil, maxTries-1)
	if status := w.post(path); status != http.StatusOK || w.told(m.ID)["ada@dest.example"] != 1 {
		t.Errorf("%d, told %v", status, w.told(m.ID))
	}
}

func TestNetworkWithTooManyRequests(t *testing.T) {
	w := newWorld(t)
	path := w.path(w.send("ada@dest.example"), 0, "ada@dest.example")
	now := time.Now()
	w.handler.opts.Now = func() time.Time { return now }
	for range burst {
		if r := w.do("GET", path, "", ""); r.StatusCode != http.StatusOK {
			t.Fatalf("status %d", r.StatusCode)
		}
	}
	if r := w.do("GET", path, "", ""); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	now = now.Add(time.Second)
	if r := w.do("GET", path, "", ""); r.StatusCode != http.StatusOK {
		t.Errorf("status %d a second later", r.StatusCode)
	}
}

func TestFields(t *testing.T) {
	w := newWorld(t)
	m := store.Message{ID: store.NewID(), Server: 1, Stream: "broadcast", Accepted: time.Now(), Unsubscribe: "https://mail.example.com/u/"}
	fields := string(w.links.Fields(m, 3, "somebody@customers.example.org"))
	u, post, ok := strings.Cut(strings.TrimPrefix(fields, "List-Unsubscribe: <"), ">\r\n")
	if parsed, err := url.Parse(u); !ok || err != nil || post != "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" || parsed.Scheme != "https" {
		t.Errorf("fields:\n%s", fields)
	}
	if len(u) > 130 {
		t.Errorf("the URL has %d octets: %s", len(u), u)
	}
	if again := string(w.links.Fields(m, 3, "somebody@customers.example.org")); again != fields {
		t.Error("made twice, they differ")
	}
	seen := map[string]bool{fields: true}
	for _, other := range []string{string(w.links.Fields(m, 4, "somebody@customers.example.org")), string(w.links.Fields(m, 4, "x@example.org"))} {
		if seen[other] {
			t.Error("two recipients have one link")
		}
		seen[other] = true
	}
	if m.Unsubscribe = ""; len(w.links.Fields(m, 3, "somebody@customers.example.org")) > 0 {
		t.Error("fields for a message that has none")
	}
	if m.Unsubscribe = "https://mail.example.com/u/"; len(w.links.Fields(m, 0, "no address")) > 0 {
		t.Error("fields for what is no address")
	}
}

func TestRunServesAndStops(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.handler.Run(ctx, Listener{Listener: l}) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	m := w.send("ada@dest.example")
	r, err := client.PostForm(fmt.Sprintf("http://%s%s", l.Addr(), w.path(m, 0, "ada@dest.example")), url.Values{"List-Unsubscribe": {"One-Click"}})
	w.must(err)
	_, _ = io.Copy(io.Discard, r.Body)
	w.must(r.Body.Close())
	if r.StatusCode != http.StatusOK || w.left() != ada {
		t.Errorf("%d; list: %s", r.StatusCode, w.left())
	}
	stop()
	w.must(<-ended)
}

func FuzzOpen(f *testing.F) {
	keys := fixed{}
	l := Links{Keys: keys}
	m := store.Message{ID: store.ID{1}, Server: 3, Stream: "s"}
	f.Add(l.token(m, 300, "a@b.example"))
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, token string) {
		got, ok := l.open(token)
		if !ok {
			return
		}
		if got.number < 0 || got.address == "" {
			t.Errorf("%+v", got)
		}
	})
}

// fixed encrypts nothing, so that the fuzzer gets behind the encryption.
type fixed struct{}

func (fixed) SealLink(_ time.Time, _ [24]byte, b []byte) []byte      { return b }
func (fixed) OpenLink(_ [24]byte, sealed []byte) (b []byte, ok bool) { return sealed, true }
