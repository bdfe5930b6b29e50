package unsubscribe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a real engine, a real key file and the handler.
type world struct {
	*testing.T
	db      *local.Store
	keys    *auth.Keyring
	links   Links
	handler *Handler
	broken  *breakable
}

// breakable fails where it is told to.
type breakable struct {
	Store
	mu               sync.Mutex // guards what follows
	suppress, record error
	stale            int // calls of Return that are too late
}

func (b *breakable) Suppress(ctx context.Context, all ...store.Suppression) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.suppress != nil {
		return 0, b.suppress
	}
	return b.Store.Suppress(ctx, all...)
}

func (b *breakable) Return(ctx context.Context, r store.Return) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stale > 0 {
		b.stale--
		return store.ErrStale
	}
	if b.record != nil {
		return b.record
	}
	return b.Store.Return(ctx, r)
}

func (b *breakable) set(suppress, record error, stale int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.suppress, b.record, b.stale = suppress, record, stale
}

var errDisk = errors.New("no disk")

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t}
	var err error
	w.db, err = local.Open(filepath.Join(t.TempDir(), "data"), local.Options{MinFree: -1})
	w.must(err)
	t.Cleanup(func() { w.must(w.db.Close()) })
	w.keys, err = auth.OpenKeyring(filepath.Join(t.TempDir(), "key"))
	w.must(err)
	w.links = Links{Keys: w.keys}
	server := store.Server{ID: 7, Name: "shop", DeliveryType: store.Live}
	stream := store.Stream{Server: 7, ID: "broadcast", Kind: store.Broadcast, Mode: store.ModeLive}
	_, err = w.db.Change(t.Context(), 0, store.Change{Server: &server}, store.Change{Stream: &stream})
	w.must(err)
	w.broken = &breakable{Store: w.db}
	w.handler = New(w.broken, w.links, Options{Prefix: "/u/"})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// send stores a message that was sent to the addresses.
func (w *world) send(to ...string) store.Message { return w.store(store.Sent, to...) }

func (w *world) store(state store.State, to ...string) store.Message {
	w.Helper()
	m := store.Message{ID: store.NewID(), Server: 7, Stream: "broadcast", Accepted: time.Now(), From: "news@example.com", Unsubscribe: "https://mail.example.com/u/"}
	var all []store.Delivery
	for i, address := range to {
		all = append(all, store.Delivery{
			ID: store.DeliveryID{Message: m.ID, Part: i}, Server: 7, Stream: "broadcast", Destination: "dest.example", Due: m.Accepted, Expires: m.Accepted.Add(time.Hour),
			Recipients: []store.Recipient{{Address: address, State: state}},
		})
	}
	draft, err := w.db.Begin(w.Context())
	w.must(err)
	_, err = draft.Write([]byte("Subject: news\r\n\r\n"))
	w.must(err)
	w.must(draft.Commit(w.Context(), m, all))
	return m
}

func (w *world) path(m store.Message, number int, address string) string {
	w.Helper()
	fields := string(w.links.Fields(m, number, address))
	_, rest, _ := strings.Cut(fields, "<https://mail.example.com")
	path, _, ok := strings.Cut(rest, ">")
	if !ok {
		w.Fatalf("fields %q", fields)
	}
	return path
}

func (w *world) do(method, path, kind, body string) *http.Response {
	w.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec.Result()
}

func (w *world) post(path string) int {
	w.Helper()
	form := url.Values{"List-Unsubscribe": {"One-Click"}}
	return w.do("POST", path, "application/x-www-form-urlencoded", form.Encode()).StatusCode
}

// left lists what the stream does not write to, with reason and origin.
func (w *world) left() string {
	w.Helper()
	all, _, err := w.db.ListSuppressions(w.Context(), store.SuppressionFilter{}, "", 100)
	w.must(err)
	var out []string
	for _, s := range all {
		out = append(out, s.Stream+" "+s.Address+" "+string(s.Reason)+" "+string(s.Origin))
	}
	return strings.Join(out, ", ")
}

// told counts the events of leaving, by recipient.
func (w *world) told(id store.ID) map[string]int {
	w.Helper()
	r, err := w.db.Record(w.Context(), id)
	w.must(err)
	out := map[string]int{}
	for _, e := range r.Events {
		if e.Kind == store.EventUnsubscribed {
			out[e.Recipient]++
		}
	}
	return out
}

func text(r *http.Response) string {
	b, _ := io.ReadAll(r.Body) // of a recorder
	return string(b)
}
