package local

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// FuzzBounce: whatever stands in the index, reading it ends in a value or an
// error, and what was written is read as it was.
func FuzzBounce(f *testing.F) {
	b := store.Bounce{ID: 5, Server: 1, Stream: "outbound", Message: store.ID{7}, At: moment, Type: "HardBounce", Recipient: "ada@example.org", Tag: "t"}
	f.Add(bounceKey(&b), bounceValue(&b))
	f.Add([]byte{}, []byte{})
	f.Add(bounceKey(&store.Bounce{}), bounceValue(&store.Bounce{}))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		k, v = slices.Clone(k), slices.Clone(v)
		key := bytes.Clone(k)
		b, err := parseBounce(k, v, "outbound")
		if err != nil || b.At.Year() < 1678 || b.At.Year() > 2261 { // beyond what keys tell apart
			return
		}
		clear(k)
		clear(v) // nothing of them is kept
		if !bytes.Equal(bounceKey(&b), key) {
			t.Errorf("key %x was read as %+v, whose key is %x", key, b, bounceKey(&b))
		}
		again, err := parseBounce(bounceKey(&b), bounceValue(&b), "")
		if err != nil || again != b {
			t.Errorf("%+v was written and read as %+v, %v", b, again, err)
		}
	})
}

func TestCheck_FindsBouncesThatDoNotBelong(t *testing.T) {
	for name, change := range map[string]func(*buckets, *store.Bounce) error{
		"missing":        func(w *buckets, b *store.Bounce) error { return w.bounce.Delete(bounceKey(b)) },
		"missing number": func(w *buckets, b *store.Bounce) error { return w.bounceID.Delete(bounceIDKey(b)) },
		"another recipient": func(w *buckets, b *store.Bounce) error {
			c := *b
			c.Recipient = "x"
			return w.bounce.Put(bounceKey(b), bounceValue(&c))
		},
		"orphan": func(w *buckets, b *store.Bounce) error {
			c := *b
			c.ID++
			return w.bounce.Put(bounceKey(&c), bounceValue(&c))
		},
		"orphan number": func(w *buckets, b *store.Bounce) error { c := *b; c.ID++; return w.bounceID.Put(bounceIDKey(&c), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openT(t, t.TempDir(), smallOptions())
			id := acceptT(t, s, 10)
			deliverT(t, s, id)
			event := store.Event{At: time.Now(), Kind: store.EventDelayed, Bounce: "Transient"}
			if err := s.Return(t.Context(), store.Return{Message: id, Was: store.Sent, State: store.Sent, Events: []store.Event{event}}); err != nil {
				t.Fatal(err)
			}
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || !r.OK() {
				t.Fatalf("Check before the change = %+v, %v", r, err)
			}
			st, err := s.find(id)
			if err != nil {
				t.Fatal(err)
			}
			b := st.bounces()[0]
			if err := s.db.write(func(tx *bbolt.Tx) error { w := openBuckets(tx); return change(&w, &b) }); err != nil {
				t.Fatal(err)
			}
			for _, full := range []bool{false, true} {
				if r, err := s.Check(t.Context(), CheckOptions{Full: full}); err != nil || r.OK() {
					t.Errorf("Check (full %t) = %+v, %v, want a problem", full, r, err)
				}
			}
		})
	}
}
