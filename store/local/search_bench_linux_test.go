package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// BenchmarkSearchMillion defends the goal of searches: of 1,000,000 messages of
// one stream, any filter with count=50 within 100 ms, by index, while mail
// flows. It reports the slowest of the searches, and how long it took to index
// a store that was not. Run it with
// -benchtime=50x. On a busy machine ms-cpu is what counts: the processor time of one search.
func BenchmarkSearchMillion(b *testing.B) {
	dir := b.TempDir()
	if err := writeHistory(dir, million); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	opened := time.Now()
	if err := s.sealAll(); err != nil {
		b.Fatal(err)
	}
	b.Logf("opened in %v, indexed in %v", opened.Sub(began), time.Since(opened))
	stop := flow(b, s)
	for _, tc := range millionSearches {
		b.Run(tc.name, func(b *testing.B) { searchMillion(b, s, tc.f, tc.offset, tc.want) })
	}
	stop()
	if info, err := os.Stat(filepath.Join(dir, dbName)); err == nil {
		b.Logf("%s has %d MB", dbName, info.Size()>>20)
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkSeal defends what the search index costs a message: processor time
// off the path of acceptance. Run it with -benchtime=1x.
func BenchmarkSeal(b *testing.B) {
	const n = 100_000
	dir := b.TempDir()
	if err := writeHistory(dir, n); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		s, err := Open(dir, Options{MinFree: -1, CheckpointEvery: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		runtime.LockOSThread()
		before := threadTime(b)
		if err := s.sealAll(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64((threadTime(b)-before).Microseconds())/n, "µs/message")
		runtime.UnlockOSThread()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}

// sealAll makes every block that can be made.
func (s *Store) sealAll() error {
	if err := s.growAll(); err != nil {
		return err
	}
	for {
		if err := s.seal(); err != nil {
			return err
		}
		s.checkpointing.Lock()
		left := 0
		for _, n := range s.grown {
			left = max(left, n)
		}
		s.checkpointing.Unlock()
		if left < s.opts.blockSize/2 {
			return nil
		}
	}
}

// millionSearches has what selects much, little and nothing, and pairs that each select
// half of all and together nothing.
var millionSearches = []struct {
	name   string
	f      store.Filter
	offset int
	want   int // at least
}{
	{"everything", store.Filter{}, 0, million},
	{"everything, last window", store.Filter{}, 9950, million},
	{"recipient", store.Filter{Recipient: "User.77@example.org"}, 0, 5},
	{"recipient unknown", store.Filter{Recipient: "nobody@example.org"}, 0, 0},
	{"sender of all", store.Filter{Sender: "shop@app.example.com"}, 0, million},
	{"sender unknown", store.Filter{Sender: "x@app.example.com"}, 0, 0},
	{"tag of half", store.Filter{Tag: "even"}, 0, million/2 - 10},
	{"tag rare", store.Filter{Tag: "rare"}, 0, 10},
	{"tag unknown", store.Filter{Tag: "none"}, 0, 0},
	{"subject of all", store.Filter{Subject: "order"}, 0, million},
	{"subject of one", store.Filter{Subject: "R 0654321 H"}, 0, 1},
	{"subject of two letters", store.Filter{Subject: "99"}, 0, 30_000},
	{"subject of none", store.Filter{Subject: "order your order"}, 0, 0},
	{"subject of none, letters of all", store.Filter{Subject: "eeeeeeee"}, 0, 0},
	{"metadata of one", store.Filter{MetadataKey: "order", Metadata: "0123456"}, 0, 1},
	{"metadata of half", store.Filter{MetadataKey: "half", Metadata: "odd"}, 0, million / 2},
	{"queued", store.Filter{Queued: true}, 0, million / 100},
	{"finished", store.Filter{Finished: true}, 0, million * 9 / 10},
	{"dates", store.Filter{Since: moment.Add(time.Hour), Until: moment.Add(2 * time.Hour)}, 0, 1000},
	{"two halves apart", store.Filter{Tag: "even", MetadataKey: "half", Metadata: "odd"}, 0, 0},
	{"queued, half apart", store.Filter{Queued: true, Tag: "odd"}, 0, 0},
	{"tag and recipient", store.Filter{Tag: "odd", Recipient: "user.77@example.org"}, 0, 5},
	{"seven at once", store.Filter{Tag: "even", Recipient: "user.76@example.org", Sender: "shop@app.example.com", Subject: "has been",
		MetadataKey: "half", Metadata: "even", Finished: true, Since: moment}, 0, 4},
}

func searchMillion(b *testing.B, s *Store, f store.Filter, offset, want int) {
	f.Server, f.Stream, f.Outbound = 1, "outbound", true
	runtime.LockOSThread() // so that its processor time can be told from the mail's
	defer runtime.UnlockOSThread()
	var took []time.Duration
	search := func() {
		began := time.Now()
		records, total, err := s.Search(context.Background(), f, offset, 50)
		took = append(took, time.Since(began))
		if err != nil || total < want || want == 0 && total > 0 || len(records) != min(50, max(0, total-offset)) {
			b.Fatalf("%d of %d records, %v, want %d", len(records), total, err, want)
		}
	}
	search() // warm
	took = took[:0]
	before := threadTime(b)
	for b.Loop() {
		search()
	}
	b.ReportMetric((threadTime(b)-before).Seconds()*1000/float64(len(took)), "ms-cpu")
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-p50")
	b.ReportMetric(took[len(took)-1].Seconds()*1000, "ms-max")
}

// threadTime returns the processor time of this thread.
func threadTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// flow accepts and delivers mail until it is stopped, about a thousand a second.
func flow(b *testing.B, s *Store) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var n int
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			var group sync.WaitGroup
			for range 10 {
				group.Go(func() {
					id, err := acceptOne(s, make([]byte, 1024))
					if err == nil {
						err = deliverOne(s, id)
					}
					if err != nil {
						b.Error(err)
					}
				})
			}
			group.Wait()
			n += 10
		}
	})
	began := time.Now()
	return func() {
		close(done)
		wg.Wait()
		b.Logf("%.0f messages a second were accepted and delivered meanwhile", float64(n)/time.Since(began).Seconds())
	}
}

// writeHistory makes a view of n messages as they are half an hour after each other's
// end: most were sent, one of a hundred is queued. Its schema has no search index.
func writeHistory(dir string, n int) error {
	opts := Options{}.withDefaults()
	path := filepath.Join(dir, dbName)
	if err := createDB(path, opts, nil); err != nil {
		return err
	}
	db, err := openDB(path, opts)
	if err != nil {
		return err
	}
	const step = 20_000
	for done := 0; done < n; done += step {
		bt := batch{entries: make(map[store.ID]entry, step), block: 2 * step, segments: map[uint64]usage{1: {int64(done + step), int64(done+step) * 4500}}}
		for i := done; i < done+step; i++ {
			s := historic(i)
			bt.entries[s.msg.ID] = entry{state: s, fresh: true}
		}
		if err := db.write(bt.write); err != nil {
			return err
		}
	}
	return db.close()
}

func historic(i int) *state {
	m, ds := sampleMessage(store.NewID(), fmt.Sprintf("destination-%d.example.org", i%1000))
	m.Accepted = moment.Add(time.Duration(i) * time.Second)
	m.Tag = []string{"even", "odd"}[i%2]
	m.Header.Subject = fmt.Sprintf("Your order %07d has been shipped", i)
	m.Metadata = map[string]string{"order": fmt.Sprintf("%07d", i), "half": m.Tag}
	if i%100_000 == 50_000 {
		m.Tag = "rare"
	}
	ds[0].Recipients[0].Address = fmt.Sprintf("user.%d@example.org", i%200_000)
	s := newStateT(m, ds)
	if i%100 != 0 {
		r := &s.parts[0].Recipients[0]
		r.State, r.Last = store.Sent, store.Reply{Code: 250, Text: "2.0.0 queued as 4XyZ", Host: "mx.example.org", Command: "dot", At: m.Accepted}
		s.log(store.Event{At: m.Accepted, Kind: store.EventSent, Attempt: 1, Recipient: r.Address, Reply: r.Last})
	}
	s.body = []extent{{ref: journal.Ref{Segment: 1, Offset: 1 << 20, Length: 4500}, skip: 404, length: 4096}}
	s.places, s.at = []place{{1, 4500}}, journal.Position{Segment: 1, Offset: 1 << 20}
	return s
}
