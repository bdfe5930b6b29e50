package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

func bouncedAddress(address string) store.Suppression {
	return store.Suppression{Server: 1, Stream: "outbound", Address: address, Reason: store.SuppressedHardBounce,
		Origin: store.OriginRecipient, Created: moment, By: "mx.example.org: 550 5.1.1 no such user", Message: v1Sent}
}

// suppressT suppresses n addresses of example.org, in batches.
func suppressT(t testing.TB, s *Store, n int) {
	t.Helper()
	var batch []store.Suppression
	for i := range n {
		batch = append(batch, bouncedAddress(fmt.Sprintf("%07d@example.org", i)))
		if len(batch) == 10_000 || i == n-1 {
			if _, err := s.Suppress(t.Context(), batch...); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}

func TestRebuild_KeepsSuppressions(t *testing.T) {
	dir, _ := filled(t, 3)
	s := openT(t, dir, smallOptions())
	const n = 2*listCopy + 10 // several transactions
	suppressT(t, s, n)
	if _, _, err := s.Reactivate(t.Context(), store.Reactivation{Server: 1, Stream: "outbound", Addresses: []string{"0000001@example.org"}, At: moment}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || len(r.Lost) != 0 || r.Suppressions != n {
		t.Fatalf("Rebuild = %+v, %v, want %d suppressions", r, err, n)
	}
	s = openT(t, dir, smallOptions())
	got, err := s.Suppressed(t.Context(), 1, "outbound", "0000000@example.org", "0000001@example.org", fmt.Sprintf("%07d@example.org", n-1))
	if err != nil || len(got) != 2 {
		t.Errorf("Suppressed = %+v, %v", got, err)
	}
	report, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || report.Suppressions != n-1 {
		t.Errorf("Check = %+v, %v, want %d suppressions", report, err, n-1)
	}
	checkT(t, s)
}

func TestDamage_OfASuppressionIsSaid(t *testing.T) {
	dir, _ := filled(t, 3)
	s := openT(t, dir, smallOptions())
	suppressT(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(filepath.Join(dir, dbName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketSuppression).Put(listKey(1, "outbound", "0000001@example.org"), []byte{suppressionFormat, 0, 0, 0, 0, '{', '}'})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	report, err := Check(t.Context(), dir, smallOptions(), CheckOptions{})
	if err != nil || len(report.Problems) != 1 || report.Suppressions != 2 {
		t.Errorf("Check = %+v, %v, want one problem", report, err)
	}
	s = openT(t, dir, smallOptions())
	if _, err := s.Suppressed(t.Context(), 1, "outbound", "0000001@example.org"); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Suppressed = %v, want %v: who is perhaps on the list is not written to", err, store.ErrDamaged)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || len(r.Lost) != 1 || r.Suppressions != 2 {
		t.Errorf("Rebuild = %+v, %v, want one suppression lost", r, err)
	}
}

// TestSuppress_FaultReachesAllWriters: a commit that failed is unknown to every
// call that shared it, and nobody is told of success.
func TestSuppress_FaultReachesAllWriters(t *testing.T) {
	opts := smallOptions()
	var mu sync.Mutex
	failing := false
	opts.commitFault = func(after bool) error {
		mu.Lock()
		defer mu.Unlock()
		if failing && after {
			return errors.New("the disk went away")
		}
		return nil
	}
	dir := t.TempDir()
	s := openT(t, dir, opts)
	mu.Lock()
	failing = true
	mu.Unlock()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.Suppress(t.Context(), bouncedAddress(fmt.Sprintf("%d@example.org", i)))
			if !errors.Is(err, store.ErrUnknown) && !errors.Is(err, ErrFaulted) {
				t.Errorf("Suppress = %v, want an unknown outcome or a stopped engine", err)
			}
		})
	}
	wg.Wait()
	if s.Healthy() == nil {
		t.Error("the engine goes on after a failed commit")
	}
}

func TestUpgrade_KeepsACopyOfSchema1(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v1")
	copyDir(t, v1Dir, dir)
	s := openT(t, dir, smallOptions())
	suppressT(t, s, 1)
	if _, err := os.Stat(filepath.Join(dir, dbName+".v1")); err != nil {
		t.Errorf("copy of the old file: %v", err)
	}
	checkT(t, s)
	s = openT(t, dir, smallOptions())
	if got, err := s.Suppressed(t.Context(), 1, "outbound", "0000000@example.org"); err != nil || len(got) != 1 {
		t.Errorf("Suppressed = %+v, %v", got, err)
	}
}

// FuzzListed: a value that can be read is one whose checksum is right, and it is
// written again as it was understood.
func FuzzListed(f *testing.F) {
	l := listed{}
	l.add(bouncedAddress("a@example.org"))
	l.add(store.Suppression{Reason: store.SuppressedSpamComplaint, Origin: store.OriginRecipient, Created: moment})
	good, err := l.value()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[5:])
	f.Add([]byte(`{"changes":[{}]}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		value := append(binary.BigEndian.AppendUint32([]byte{suppressionFormat}, crc32.Checksum(text, castagnoli)), text...)
		l, err := parseListed(value)
		if err != nil {
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("parseListed = %v, want damage", err)
			}
			return
		}
		again, err := l.value()
		if err != nil {
			return // a time of JSON that Go does not write
		}
		if m, err := parseListed(again); err != nil || len(m.Changes) != len(l.Changes) || (m.current() == nil) != (l.current() == nil) {
			t.Errorf("%q became %+v, %v", text, m, err)
		}
	})
}

// BenchmarkSuppressed defends the place of the lists: what a lookup costs each
// submission when a million addresses are listed.
func BenchmarkSuppressed(b *testing.B) {
	opts := smallOptions()
	s := openT(b, b.TempDir(), opts)
	const n = 1_000_000
	suppressT(b, s, n)
	for name, address := range map[string]string{"not listed": "%07d@example.net", "listed": "%07d@example.org"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				if _, err := s.Suppressed(b.Context(), 1, "outbound", fmt.Sprintf(address, i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSuppress measures what a wave of hard bounces costs, one address a call.
func BenchmarkSuppress(b *testing.B) {
	for _, writers := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d writers a processor", writers), func(b *testing.B) {
			s := openT(b, b.TempDir(), smallOptions())
			b.SetParallelism(writers)
			var mu sync.Mutex
			i := 0
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					mu.Lock()
					i++
					address := fmt.Sprintf("%07d@example.org", i)
					mu.Unlock()
					if _, err := s.Suppress(b.Context(), bouncedAddress(address)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// Writers and readers race: whoever learned that a list is empty must see what a
// call that has returned put on it.
func TestSuppressed_AfterAnEmptyList(t *testing.T) {
	s := openT(t, t.TempDir(), smallOptions())
	ask := func(stream, address string) bool {
		got, err := s.Suppressed(t.Context(), 1, stream, address)
		if err != nil {
			t.Error(err)
		}
		return len(got) == 1
	}
	var wg sync.WaitGroup
	for i := range 50 {
		one := bouncedAddress("one@example.org")
		one.Stream = fmt.Sprintf("stream-%d", i)
		listed := make(chan struct{})
		for range 2 {
			wg.Go(func() {
				seen := false
				for done := false; !done; {
					select {
					case <-listed:
						done = true
					default:
					}
					if now := ask(one.Stream, one.Address); seen && !now || done && !now {
						t.Errorf("%s: the address is not on its list", one.Stream)
					} else {
						seen = now
					}
				}
			})
		}
		if _, err := s.Suppress(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		close(listed)
	}
	wg.Wait()
	if ask("another", "one@example.org") {
		t.Error("an address on no list is on one")
	}
}

func TestUnlisted_LearnsNothingOld(t *testing.T) {
	u, k := unlisted{}, store.StreamKey{Server: 1, Stream: "outbound"}
	empty := func() bool { e, _ := u.has(k); return e }
	_, before := u.has(k)
	u.changing()
	_, during := u.has(k)
	u.learn(k, before)
	if u.learn(k, during); empty() {
		t.Error("learned while a write is under way")
	}
	u.changing()
	if u.learn(k, before); empty() {
		t.Error("learned from a view before the write")
	}
	if u.learn(k, during); empty() {
		t.Error("learned from a view during the write")
	}
	_, after := u.has(k)
	if u.learn(k, after); !empty() {
		t.Error("not learned")
	}
	if u.changing(); empty() {
		t.Error("kept through a write")
	}
	u.changing()
	for i := range 2 * unlistedMost {
		u.learn(store.StreamKey{Server: int64(i)}, u.version)
	}
	if len(u.streams) > unlistedMost {
		t.Errorf("%d streams", len(u.streams))
	}
}
