package confirm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api/confirm"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// outbox keeps what was submitted.
type outbox struct {
	envelope intake.Envelope
	octets   string
	err      error
}

func (o *outbox) Submit(_ context.Context, e intake.Envelope, content io.Reader) (store.ID, error) {
	b, err := io.ReadAll(content)
	if err != nil {
		return store.ID{}, err
	}
	o.envelope, o.octets = e, string(b)
	return store.NewID(), o.err
}

type world struct {
	t      *testing.T
	store  *local.Store
	outbox *outbox
	desk   *confirm.Desk
	now    time.Time
	opts   confirm.Options
	keys   confirm.Keys
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := local.Open(filepath.Join(dir, "data"), local.Options{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	k, err := auth.OpenKeyring(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: db, outbox: &outbox{}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), keys: k}
	w.change(store.Change{Account: &store.Account{Name: "Shop & Co"}},
		store.Change{Signature: &store.Signature{ID: 7, Email: "ada@example.org", Name: "Ada <b>", Note: "please\nhttps://evil.example", Created: w.now}},
		store.Change{Signature: &store.Signature{ID: 8, Email: "bob@example.org", Name: "Bob", Created: w.now}})
	w.opts = confirm.Options{
		URL: "https://relay.example/confirm/", Prefix: "/confirm/", From: message.Address{Local: "postmaster", Domain: "relay.example"},
		Stream: func(*store.Snapshot) (store.Stream, bool) { return store.Stream{Server: 3, ID: "outbound"}, true },
		Now:    func() time.Time { return w.now },
	}
	w.desk = confirm.New(db, k, w.outbox, w.opts)
	return w
}

func (w *world) change(changes ...store.Change) {
	w.t.Helper()
	if _, err := store.Update(w.t.Context(), w.store, func(*store.Snapshot) ([]store.Change, error) { return changes, nil }); err != nil {
		w.t.Fatal(err)
	}
}

var link = regexp.MustCompile(`https://relay\.example(/confirm/[A-Za-z0-9_-]+)`)

// ask returns the path of the link that the owner gets.
func (w *world) ask(id int64) string {
	w.t.Helper()
	if err := w.desk.Ask(w.t.Context(), w.store.Snapshot().Signatures[id]); err != nil {
		w.t.Fatal(err)
	}
	found := link.FindStringSubmatch(strings.ReplaceAll(w.outbox.octets, "=\r\n", ""))
	if found == nil {
		w.t.Fatalf("no link in\n%s", w.outbox.octets)
	}
	return found[1]
}

func (w *world) do(method, path string) (int, string) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.desk.ServeHTTP(rec, httptest.NewRequestWithContext(w.t.Context(), method, path, nil))
	h := rec.Header()
	if h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" ||
		!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		w.t.Errorf("%s %s: header %v", method, path, h)
	}
	return rec.Code, rec.Body.String()
}

func (w *world) confirmed(id int64) bool { return !w.store.Snapshot().Signatures[id].Verified.IsZero() }

func TestConfirm_ByTheLinkInTheMessage(t *testing.T) {
	w := newWorld(t)
	path := w.ask(7)
	e := w.outbox.envelope
	if e.Principal.Server != 3 || e.Principal.Stream != "outbound" || e.From != "postmaster@relay.example" || fmt.Sprint(e.Recipients) != "[{ada@example.org  }]" {
		t.Errorf("envelope %+v", e)
	}
	for _, want := range []string{"Shop & Co wants to send mail as Ada <b> <ada@example.org>", "> please\r\n> https://evil.example", "Auto-Submitted: auto-generated\r\n", "within 7 days"} {
		if !strings.Contains(strings.ReplaceAll(w.outbox.octets, "=\r\n", ""), want) {
			t.Errorf("the message lacks %q:\n%s", want, w.outbox.octets)
		}
	}
	for range 2 {
		if status, body := w.do("GET", path); status != http.StatusOK || !strings.Contains(body, "<button") || !strings.Contains(body, "Shop &amp; Co") || w.confirmed(7) {
			t.Errorf("GET %d, confirmed %t:\n%s", status, w.confirmed(7), body)
		}
	}
	for range 2 {
		if status, body := w.do("POST", path); status != http.StatusOK || strings.Contains(body, "<button") || !w.confirmed(7) {
			t.Errorf("POST %d, confirmed %t:\n%s", status, w.confirmed(7), body)
		}
	}
	if at := w.store.Snapshot().Signatures[7].Verified; !at.Equal(w.now) || w.confirmed(8) {
		t.Errorf("confirmed at %v, and another: %t", at, w.confirmed(8))
	}
	if status, body := w.do("GET", path); status != http.StatusOK || strings.Contains(body, "<button") {
		t.Errorf("GET of what is confirmed: %d\n%s", status, body)
	}
	if status, _ := w.do("PUT", path); status != http.StatusMethodNotAllowed {
		t.Errorf("PUT %d", status)
	}
}

func TestConfirm_NoOtherLinkWorks(t *testing.T) {
	w := newWorld(t)
	path := w.ask(7)
	last := map[byte]string{'A': "E"}[path[len(path)-1]]
	if last == "" {
		last = "A"
	}
	for name, other := range map[string]string{
		"empty": "/confirm/", "changed": path[:len(path)-1] + last, "of another signature": strings.Replace(path, "/confirm/B", "/confirm/C", 1),
		"short": path[:len(path)-4], "long": path + "AAAA", "no base64": "/confirm/%%%25", "elsewhere": "/x" + path,
	} {
		if other == path {
			t.Fatalf("%s: the link was not changed", name)
		}
		if status, _ := w.do("POST", strings.ReplaceAll(other, "%%%25", "%25")); status != http.StatusNotFound {
			t.Errorf("%s: %d", name, status)
		}
	}
	stranger, err := auth.OpenKeyring(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	ours := w.desk
	w.desk = confirm.New(w.store, stranger, w.outbox, w.opts)
	if status, _ := w.do("POST", path); status != http.StatusNotFound {
		t.Errorf("with other keys: %d", status)
	}
	w.desk = ours
	g := w.store.Snapshot().Signatures[7]
	w.change(store.Change{Delete: true, Signature: &g}, store.Change{Signature: &store.Signature{ID: 7, Email: "eve@example.org", Created: w.now}})
	if status, _ := w.do("POST", path); status != http.StatusNotFound || w.confirmed(7) {
		t.Errorf("a link for another address of that number: %d", status)
	}
}

func TestConfirm_LinksEnd(t *testing.T) {
	w := newWorld(t)
	path := w.ask(7)
	w.now = w.now.Add(7 * 24 * time.Hour)
	if status, _ := w.do("GET", path); status != http.StatusOK {
		t.Errorf("at the last moment: %d", status)
	}
	w.now = w.now.Add(time.Second)
	for _, method := range []string{"GET", "POST"} {
		if status, _ := w.do(method, path); status != http.StatusNotFound || w.confirmed(7) {
			t.Errorf("%s behind it: %d", method, status)
		}
	}
}

func TestAsk_SaysWhatFailed(t *testing.T) {
	w := newWorld(t)
	g := w.store.Snapshot().Signatures[7]
	w.outbox.err = &intake.Refusal{Kind: intake.KindSuppressed}
	var r *intake.Refusal
	if err := w.desk.Ask(t.Context(), g); !errors.As(err, &r) || r.Kind != intake.KindSuppressed {
		t.Errorf("Ask = %v", err)
	}
	w.opts.Stream = func(*store.Snapshot) (store.Stream, bool) { return store.Stream{}, false }
	if err := confirm.New(w.store, w.keys, w.outbox, w.opts).Ask(t.Context(), g); !errors.Is(err, confirm.ErrNoStream) {
		t.Errorf("Ask without a stream = %v", err)
	}
}

// A stranger is not asked without end.
func TestAsk_NotTooOften(t *testing.T) {
	w := newWorld(t)
	ask := func(id int64) intake.Kind {
		var r *intake.Refusal
		if err := w.desk.Ask(t.Context(), w.store.Snapshot().Signatures[id]); errors.As(err, &r) {
			return r.Kind
		} else if err != nil {
			t.Fatal(err)
		}
		return 0
	}
	for i := range 6 {
		if got, want := ask(7), map[bool]intake.Kind{true: intake.KindBusy}[i == 5]; got != want {
			t.Errorf("question %d: %v, want %v", i+1, got, want)
		}
	}
	if got := ask(8); got != 0 {
		t.Errorf("another address: %v", got)
	}
	w.now = w.now.Add(10 * time.Minute)
	if got := ask(7); got != 0 {
		t.Errorf("later: %v", got)
	}
	if got := ask(7); got != intake.KindBusy {
		t.Errorf("at once after that: %v", got)
	}
}

// FuzzPath: whatever stands in the path, nothing is confirmed and nothing breaks.
func FuzzPath(f *testing.F) {
	f.Add([]byte("B_abc"))
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	k, err := auth.OpenKeyring(filepath.Join(f.TempDir(), "key"))
	if err != nil {
		f.Fatal(err)
	}
	snap, err := (&store.Snapshot{}).With(store.Change{Signature: &store.Signature{ID: 1, Email: "ada@example.org"}})
	if err != nil {
		f.Fatal(err)
	}
	desk := confirm.New(still{snap}, k, &outbox{}, confirm.Options{Prefix: "/", Log: nil})
	f.Fuzz(func(t *testing.T, token []byte) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
		r.URL.Path = "/" + string(token)
		rec := httptest.NewRecorder()
		desk.ServeHTTP(rec, r)
		if rec.Code != http.StatusNotFound {
			t.Errorf("status %d", rec.Code)
		}
	})
}

// still is a directory that nobody changes.
type still struct{ snap *store.Snapshot }

func (s still) Snapshot() *store.Snapshot      { return s.snap }
func (s still) Changed(uint64) <-chan struct{} { return nil }
func (s still) Change(context.Context, uint64, ...store.Change) (*store.Snapshot, error) {
	return nil, errors.New("changed")
}
