package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// These are in the package itself because they write a view without a journal
// and measure the codec.

func sampleMessage(id store.ID, destination string) (store.Message, []store.Delivery) {
	now := time.Now()
	m := store.Message{
		ID: id, Server: 1, Stream: "outbound", Accepted: now, From: "bounce@app.example.com",
		Header: store.Display{
			Subject: "Your order 4711 has been shipped", From: "Shop <shop@app.example.com>",
			To: []string{"Jane Doe <jane.doe@example.org>"}, MessageID: "4711.0815@app.example.com",
		},
		Tag: "shipping", Metadata: map[string]string{"order": "4711"}, Credential: "server-token 3", Protocol: "ESMTPSA",
	}
	d := store.Delivery{
		Destination: destination, Due: now, Expires: now.Add(48 * time.Hour),
		Recipients: []store.Recipient{{Address: "jane.doe@example.org", State: store.Queued}},
	}
	return m, []store.Delivery{d}
}

func newStateT(m store.Message, ds []store.Delivery) *state {
	s := newState(&m, ds, nil)
	return &s
}

// BenchmarkCodec defends the choice of the encoding: the accept record of an
// ordinary message, written and read, against JSON.
func BenchmarkCodec(b *testing.B) {
	m, ds := sampleMessage(store.NewID(), "example.org")
	s := newStateT(m, ds)
	ref := journal.Ref{Segment: 1, Offset: 4096}
	b.Run("binary", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rec := encodeAccepted(s)
			ref.Length = int64(len(rec))
			if _, err := decodeRecordAt(typeAccept, rec, ref); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(ref.Length), "bytes")
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		var n int
		for b.Loop() {
			rec, err := json.Marshal(s.record())
			var r store.Record
			if err == nil {
				err = json.Unmarshal(rec, &r)
			}
			if err != nil {
				b.Fatal(err)
			}
			n = len(rec)
		}
		b.ReportMetric(float64(n), "bytes")
	})
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// spread runs b.N calls from a number of goroutines.
func spread(b *testing.B, writers int, fn func() error) {
	b.Helper()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func acceptOne(s *Store, body []byte) (store.ID, error) {
	ctx := context.Background()
	m, ds := sampleMessage(store.NewID(), "example.org")
	d, err := s.Begin(ctx)
	if err != nil {
		return m.ID, err
	}
	defer d.Discard()
	if _, err := d.Write(body); err != nil {
		return m.ID, err
	}
	return m.ID, d.Commit(ctx, m, ds)
}

func deliverOne(s *Store, id store.ID) error {
	now := time.Now()
	c, err := s.Claim(context.Background(), store.DeliveryID{Message: id}, 0, now, now.Add(time.Minute))
	if err != nil {
		return err
	}
	r := &c.Delivery.Recipients[0]
	r.State, r.Last = store.Sent, store.Reply{Code: 250, Text: "2.0.0 queued as 4XyZ", Host: "mx.example.org", Command: "dot", At: now}
	return s.Resolve(context.Background(), store.Resolution{Delivery: c.Delivery, Events: []store.Event{
		{At: now, Kind: store.EventSent, Attempt: 1, Recipient: r.Address, Reply: r.Last, Detail: "TLS 1.3"},
	}})
}

// BenchmarkAccept defends the journal: durable messages of 4 KiB a second.
func BenchmarkAccept(b *testing.B) {
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, body := benchStore(b), make([]byte, 4096)
			spread(b, writers, func() error { _, err := acceptOne(s, body); return err })
		})
	}
}

// BenchmarkClaimResolve measures the two durable steps of a delivery.
func BenchmarkClaimResolve(b *testing.B) {
	for _, workers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s := benchStore(b)
			ids := make(chan store.ID, b.N)
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					for n := i; n < b.N; n += 100 {
						id, err := acceptOne(s, nil)
						if err != nil {
							b.Error(err)
						}
						ids <- id
					}
				})
			}
			wg.Wait()
			spread(b, workers, func() error { return deliverOne(s, <-ids) })
		})
	}
}

// BenchmarkCycle measures a message's whole life: accept, claim, resolve.
func BenchmarkCycle(b *testing.B) {
	for _, workers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s, body := benchStore(b), make([]byte, 4096)
			spread(b, workers, func() error {
				id, err := acceptOne(s, body)
				if err != nil {
					return err
				}
				return deliverOne(s, id)
			})
		})
	}
}

// BenchmarkDelivery measures what a relay does with a message: BenchmarkCycle with
// the look into the list, the body and the record of its end.
func BenchmarkDelivery(b *testing.B) {
	s, body := benchStore(b), make([]byte, 4096)
	spread(b, 100, func() error {
		id, err := acceptOne(s, body)
		if err != nil {
			return err
		}
		return relayOne(s, id)
	})
}

func relayOne(s *Store, id store.ID) error {
	ctx, now := context.Background(), time.Now()
	c, err := s.Claim(ctx, store.DeliveryID{Message: id}, 0, now, now.Add(time.Minute))
	if err != nil {
		return err
	}
	r := &c.Delivery.Recipients[0]
	if _, err := s.Suppressed(ctx, c.Delivery.Server, c.Delivery.Stream, r.Address); err != nil {
		return err
	}
	body, err := s.Body(ctx, id)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	if err := s.Ending(ctx, c.Delivery.ID, c.Delivery.Attempt, "direct"); err != nil {
		return err
	}
	r.State, r.Last = store.Sent, store.Reply{Code: 250, Text: "2.0.0 queued as 4XyZ", Host: "mx.example.org", Command: "dot", At: now}
	return s.Resolve(ctx, store.Resolution{Delivery: c.Delivery, Events: []store.Event{
		{At: now, Kind: store.EventSent, Attempt: 1, Recipient: r.Address, Reply: r.Last, Detail: "TLS 1.3"},
	}})
}

const million = 1_000_000

// BenchmarkStartMillion defends the start-up goal: with 1,000,000 queued
// deliveries, Open and the tickets of all of them in under 10 s and 600 MB of
// resident memory. Run it with -benchtime=1x.
func BenchmarkStartMillion(b *testing.B) {
	b.Run("closed", func(b *testing.B) { startMillion(b, (*viewDB).close) })
	b.Run("crashed", func(b *testing.B) { startMillion(b, func(v *viewDB) error { return v.bolt.Close() }) })
}

func startMillion(b *testing.B, end func(*viewDB) error) {
	dir := b.TempDir()
	if err := writeQueue(dir, million, end); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		debug.FreeOSMemory()
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // begins a new peak
		began := time.Now()
		s, err := Open(dir, Options{MinFree: -1})
		if err != nil {
			b.Fatal(err)
		}
		opened := time.Now()
		tickets := firstTickets(b, s, million)
		seen := time.Now()
		b.ReportMetric(opened.Sub(began).Seconds(), "s/open")
		b.ReportMetric(seen.Sub(opened).Seconds(), "s/tickets")
		for _, field := range []string{"VmHWM", "VmRSS", "RssAnon", "RssFile"} {
			b.ReportMetric(resident(b, field), "MB-"+field)
		}
		if len(tickets) != million {
			b.Errorf("%d tickets", len(tickets))
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}

// firstTickets collects n tickets, as a dispatcher would keep them.
func firstTickets(b *testing.B, s *Store, n int) []store.Ticket {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	all := make([]store.Ticket, 0, n)
	err := s.Watch(ctx, func(ts []store.Ticket) {
		if all = append(all, ts...); len(all) >= n {
			cancel()
		}
	})
	if err != nil && ctx.Err() == nil {
		b.Fatal(err)
	}
	return all
}

// resident reads a line of /proc/self/status in megabytes.
func resident(b *testing.B, field string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err) // this benchmark is for Linux
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		b.Fatalf("no %s", field)
	}
	kb, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1000
}

// writeQueue makes a view of n queued messages whose journal is gone, to 1,000
// destinations in 20 streams.
func writeQueue(dir string, n int, end func(*viewDB) error) error {
	opts := Options{}.withDefaults()
	if err := createDB(filepath.Join(dir, dbName), opts, nil); err != nil {
		return err
	}
	db, err := openDB(filepath.Join(dir, dbName), opts)
	if err != nil {
		return err
	}
	const step = 20_000
	for done := 0; done < n; done += step {
		bt := batch{entries: make(map[store.ID]entry, step), block: maxBlock}
		for i := done; i < done+step; i++ {
			m, ds := sampleMessage(store.NewID(), fmt.Sprintf("destination-%d.example.org", i%1000))
			m.Stream = fmt.Sprintf("stream-%d", i%20)
			s := newStateT(m, ds)
			s.body = []extent{{ref: journal.Ref{Segment: 1, Offset: 1 << 20, Length: 4500}, skip: 404, length: 4096}}
			s.places, s.at = []place{{1, 4500}}, journal.Position{Segment: 1, Offset: 1 << 20}
			bt.entries[m.ID] = entry{state: s, fresh: true}
		}
		bt.segments = map[uint64]usage{1: {int64(done + step), int64(done+step) * 4500}}
		if err := db.write(bt.write); err != nil {
			return err
		}
	}
	return end(db)
}

// BenchmarkSearchNewer measures what a search does with messages that the view
// lacks, as many as come in between two checkpoints under load.
func BenchmarkSearchNewer(b *testing.B) {
	s, err := Open(b.TempDir(), Options{MinFree: -1, CheckpointEvery: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if _, err := acceptOne(s, nil); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for b.Loop() {
		q := newSearching(s, store.Filter{Server: 1, Stream: "outbound"}, 50)
		if q.compareNewer(); q.total != 5000 {
			b.Fatalf("%d messages", q.total)
		}
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}
