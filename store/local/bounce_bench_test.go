package local

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// BenchmarkListBounces defends the index: a stream with 100,000 bounces of which a filter selects a few old ones, which is the most that a
// page can cost, and the newest page.
func BenchmarkListBounces(b *testing.B) {
	s := openT(b, b.TempDir(), smallOptions())
	const total = 100_000
	err := s.db.write(func(tx *bbolt.Tx) error {
		w := openBuckets(tx)
		for i := range total {
			m := store.Message{ID: store.NewID(), Server: 1, Stream: "outbound", Tag: "shipping"}
			one := m.Bounces([]store.Event{{At: moment.Add(time.Duration(i) * time.Second), Kind: store.EventBounced, Bounce: "HardBounce", Recipient: fmt.Sprintf("somebody%d@example.org", i)}})[0]
			if err := w.bounce.Put(bounceKey(&one), bounceValue(&one)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]store.BounceFilter{"newest": {}, "oldest": {Recipient: "somebody7@"}, "none": {Types: []string{"SpamComplaint"}}} {
		b.Run(name, func(b *testing.B) {
			f.Server, f.Stream = 1, "outbound"
			for b.Loop() {
				if _, _, err := s.ListBounces(b.Context(), f, "", 50); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if n, err := s.CountBounces(b.Context(), 1); err != nil || n["HardBounce"] != total {
				b.Fatal(n, err)
			}
		}
	})
}
