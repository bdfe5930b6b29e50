package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plainKeys keeps secrets as they are.
type plainKeys struct{}

func (plainKeys) OpenWebhook(w store.Webhook) (s store.WebhookSecrets, err error) {
	err = json.Unmarshal(w.Sealed, &s)
	return s, err
}

// rig is a sender above a real engine.
type rig struct {
	testing.TB
	*local.Store
	dir   string
	every time.Duration // between checkpoints
}

func newRig(t testing.TB, webhooks ...store.Webhook) *rig {
	t.Helper()
	return newRigEvery(t, 10*time.Millisecond, webhooks...)
}

// newRigEvery is newRig for clocks that run fast.
func newRigEvery(t testing.TB, every time.Duration, webhooks ...store.Webhook) *rig {
	t.Helper()
	r := &rig{TB: t, dir: filepath.Join(t.TempDir(), "data"), every: every}
	r.open()
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "Shop", DeliveryType: store.Live}}}
	for i := range (len(webhooks) + store.MaxWebhooks) / store.MaxWebhooks {
		changes = append(changes, store.Change{Stream: &store.Stream{Server: 1, ID: streamOf(i * store.MaxWebhooks), Kind: store.Transactional, Mode: store.ModeLive}})
	}
	for i := range webhooks {
		webhooks[i].Server = 1
		if webhooks[i].Stream == "" {
			webhooks[i].Stream = streamOf(i)
		}
		if len(webhooks[i].Sealed) == 0 {
			webhooks[i].Sealed = []byte(`{"key":"a2V5"}`)
		}
		changes = append(changes, store.Change{Webhook: &webhooks[i]})
	}
	if _, err := r.Change(t.Context(), 0, changes...); err != nil {
		t.Fatal(err)
	}
	return r
}

// streamOf is the stream of the webhook with that place in the list.
func streamOf(i int) string { return fmt.Sprintf("s%d", i/store.MaxWebhooks) }

func (r *rig) open() {
	r.Helper()
	s, err := local.Open(r.dir, local.Options{MinFree: -1, CheckpointEvery: r.every})
	if err != nil {
		r.Fatal(err)
	}
	r.Store = s
	r.Cleanup(func() { _ = s.Close() }) // twice where a test has closed it
}

// run runs a sender until the function that it returns is called.
func (r *rig) run(o Options) (stop func()) {
	r.Helper()
	if o.settleEvery == 0 {
		o.settleEvery = 5 * time.Millisecond
	}
	if o.Guard.Allow == nil {
		o.Guard = loopback
	}
	ctx, cancel := context.WithCancel(r.Context())
	ended := make(chan error, 1)
	s := New(r.Store, plainKeys{}, o)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.Errorf("Run = %v", err)
		}
	})
	r.Cleanup(stop)
	return stop
}

// mail accepts a message to one destination each.
func (r *rig) mail(stream string, to ...string) store.Message {
	r.Helper()
	m := store.Message{
		ID: store.NewID(), Server: 1, Stream: stream, Accepted: time.Now(), From: "app@example.com", Tag: "welcome", Metadata: map[string]string{"order": "4711"},
		Header: store.Display{Subject: "Hello", From: "App <app@example.com>", To: to},
	}
	var ds []store.Delivery
	for _, address := range to {
		ds = append(ds, store.Delivery{Destination: address, Due: m.Accepted, Expires: m.Accepted.Add(time.Hour), Recipients: []store.Recipient{{Address: address, State: store.Queued}}})
	}
	d, err := r.Begin(r.Context())
	if err == nil {
		_, err = d.Write([]byte("Subject: Hello\r\n\r\nHello\r\n"))
	}
	if err == nil {
		err = d.Commit(r.Context(), m, ds)
	}
	if err != nil {
		r.Fatal(err)
	}
	return m
}

// resolve ends the delivery of a part of a message with one event.
func (r *rig) resolve(m store.Message, part int, state store.State, e store.Event) {
	r.Helper()
	now := time.Now()
	c, err := r.Claim(r.Context(), store.DeliveryID{Message: m.ID, Part: part}, 0, now, now.Add(time.Minute))
	if err != nil {
		r.Fatal(err)
	}
	e.At, e.Part, e.Attempt, e.Recipient = now, part, 1, c.Delivery.Recipients[0].Address
	c.Delivery.Recipients[0].State = state
	if err := r.Resolve(r.Context(), store.Resolution{Delivery: c.Delivery, Events: []store.Event{e}}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) sent(m store.Message, part int) {
	r.Helper()
	r.resolve(m, part, store.Sent, store.Event{Kind: store.EventSent, Reply: store.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "queued as 4711", Command: "dot", Host: "mx.example.org"}})
}

// hit is a request that an endpoint got.
type hit struct {
	path, id string
	header   http.Header
	body     map[string]any
	raw      string
}

// endpoint takes events. It answers what answer says, 200 where that is nil.
type testEndpoint struct {
	*httptest.Server
	hits chan hit
}

func newEndpoint(t testing.TB, answer func(hit) int) *testEndpoint {
	t.Helper()
	e := &testEndpoint{hits: make(chan hit, 10_000)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		if err != nil {
			return // the client went away
		}
		h := hit{path: req.URL.Path, id: req.Header.Get("Webhook-Id"), header: req.Header, raw: string(raw)}
		if err := json.Unmarshal(raw, &h.body); err != nil {
			t.Errorf("body %q: %v", raw, err)
		}
		status := 200
		if answer != nil {
			status = answer(h)
		}
		w.WriteHeader(status)
		e.hits <- h
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *testEndpoint) next(t testing.TB) hit {
	t.Helper()
	select {
	case h := <-e.hits:
		return h
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
		return hit{}
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
	}
}

func (r *rig) queue(webhook int64) store.NotificationQueue {
	r.Helper()
	all, err := r.NotificationQueues(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for _, q := range all {
		if q.Webhook == webhook {
			return q
		}
	}
	r.Fatalf("no queue of webhook %d", webhook)
	return store.NotificationQueue{}
}

// drained waits until nothing waits for a webhook.
func (r *rig) drained(webhook int64) {
	r.Helper()
	eventually(r, "an empty queue", func() bool { return r.queue(webhook).Waiting == 0 })
}
