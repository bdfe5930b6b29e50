package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

const (
	signature = "DKIM-Signature: v=1; b=x\r\n"
	keyName   = "s1._domainkey.sender.test"
)

// fakeSigner reads the message and does what it is told.
type fakeSigner struct {
	mu     sync.Mutex // guards err and asked
	err    error
	asked  int
	fields string
}

func (f *fakeSigner) Sign(ctx context.Context, _ store.Message, open func(context.Context) (io.ReadCloser, error)) ([]byte, []string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	r, err := open(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("opening: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, nil, fmt.Errorf("reading: %w", err)
	}
	if f.err != nil || f.fields == "" {
		return nil, nil, f.err
	}
	return []byte(f.fields), []string{keyName}, nil
}

// TestSigning_PutsTheFieldsOnTop also sees that SIZE tells the truth: testmx compares it with what comes.
func TestSigning_PutsTheFieldsOnTop(t *testing.T) {
	w, mx := single(t, testmx.Script{Extra: []string{"SIZE 100000"}})
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", RequireDKIM: true})
	o := w.options()
	o.Signer = &fakeSigner{fields: signature}
	start(t, q, d, o)
	id := q.submit("outbound", time.Now(), "b@example.test")
	got := mx.Wait(1)[0]
	if string(got.Body) != signature+body {
		t.Errorf("delivered %q, want the signature and then the stored octets", got.Body)
	}
	if want := fmt.Sprintf("SIZE=%d", len(signature)+len(body)); !strings.Contains(got.Params, want) {
		t.Errorf("MAIL with %q, want %s", got.Params, want)
	}
	q.until(t, "the result", func() bool { return q.delivery(id).Done() })
	events := q.timeline(id)
	if e := events[len(events)-1]; e.Kind != store.EventSent || len(e.SignedBy) != 1 || e.SignedBy[0] != keyName || !strings.Contains(e.Detail, "signed for "+keyName) {
		t.Errorf("event %+v, want one that names the key", e)
	}
}

func TestSigning_WithoutASignature(t *testing.T) {
	for _, tc := range []struct {
		name     string
		required bool
		err      error
		sent     bool
		told     string
	}{
		{name: "nobody signs", sent: true},
		{name: "nobody signs, required", required: true, told: "no active DKIM key"},
		{name: "key fault", err: errors.New("key of s1 is gone"), sent: true, told: "not signed: key of s1 is gone"},
		{name: "key fault, required", required: true, err: errors.New("key of s1 is gone"), told: "the stream requires a DKIM signature: key of s1 is gone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", RequireDKIM: tc.required})
				signer := &fakeSigner{err: tc.err}
				bodies := 0
				tr := &fakeTransport{func(ctx context.Context, j relay.Job) []relay.Result {
					r, err := j.Open(ctx)
					if err != nil {
						t.Error(err)
					}
					if text, _ := io.ReadAll(r); tc.sent && string(text) != body {
						t.Errorf("sent %q, want it as stored", text)
					}
					bodies++
					return all(j, delivered())
				}}
				start(t, q, d, relay.Options{Transport: tr, Signer: signer, Policy: relay.Policy{Jitter: -1}})
				id := q.submit("outbound", time.Now(), "b@example.test")
				synctest.Wait()
				events := q.timeline(id)
				e := events[len(events)-1]
				if (bodies == 1) != tc.sent || !strings.Contains(e.Detail+e.Reply.Text, tc.told) {
					t.Fatalf("sent %d, event %+v; want sent %v, %q", bodies, e, tc.sent, tc.told)
				}
				if tc.sent {
					return
				}
				if e.Kind != store.EventDeferred || e.Reply.Enhanced != [3]int{4, 7, 5} {
					t.Errorf("event %+v, want deferred 4.7.5", e)
				}
				signer.mu.Lock()
				signer.err, signer.fields = nil, signature
				signer.mu.Unlock()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if bodies != 1 || !q.delivery(id).Done() {
					t.Errorf("after the key came back: sent %d", bodies)
				}
			})
		})
	}
}

// A notice of ours leaves though nobody signs for our own name.
func TestSigning_NoticesAreExempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", RequireDKIM: true})
		var from []string
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			from = append(from, j.Message.From)
			if j.Message.Bounce {
				return all(j, delivered())
			}
			return all(j, refused(550, "rcpt"))
		}}
		start(t, q, d, relay.Options{Transport: tr, Signer: signFor{"sender@sender.test"}, Hostname: "relay.test"})
		q.submit("outbound", time.Now(), "b@example.test")
		synctest.Wait()
		if fmt.Sprint(from) != "[sender@sender.test ]" {
			t.Errorf("sent from %q, want the message and its notice", from)
		}
	})
}

// signFor signs for one reverse-path only.
type signFor struct{ from string }

func (s signFor) Sign(_ context.Context, m store.Message, _ func(context.Context) (io.ReadCloser, error)) ([]byte, []string, error) {
	if m.From != s.from {
		return nil, nil, nil
	}
	return []byte(signature), []string{keyName}, nil
}

// A message that cannot be read says nothing about the keys: it is damage, and nobody is connected to.
func TestSigning_DamagedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
		tr := &fakeTransport{func(_ context.Context, j relay.Job) []relay.Result {
			t.Error("sent a damaged message")
			return all(j, delivered())
		}}
		id := q.submit("outbound", time.Now(), "b@example.test")
		q.damaged[id] = true
		start(t, q, d, relay.Options{Transport: tr, Signer: &fakeSigner{fields: signature}, Holder: q})
		synctest.Wait()
		if q.delivery(id).Held.IsZero() {
			t.Errorf("not held: %+v", q.timeline(id))
		}
	})
}
