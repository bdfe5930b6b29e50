package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestRelay_FromQueueToHost is the whole way: queue, dispatcher, SMTP, result.
func TestRelay_FromQueueToHost(t *testing.T) {
	w, mx := single(t, testmx.Script{Rcpt: map[string][]testmx.Step{
		"grey@example.test": {{Reply: "451 4.7.1 greylisted"}}, "gone@example.test": {reply("550 5.1.1 no such user")},
	}})
	sender := testmx.New(t, testmx.Script{})
	w.host("sender.test", 2, sender)
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
	var mu sync.Mutex
	var outcomes []relay.Outcome
	o := w.options()
	o.Policy = relay.Policy{Schedule: []time.Duration{50 * time.Millisecond}}
	o.Observer = func(r relay.Outcome) { mu.Lock(); outcomes = append(outcomes, r); mu.Unlock() }
	start(t, q, d, o)
	id := q.submit("outbound", time.Now(), "ok@example.test", "grey@example.test", "gone@example.test")
	q.until(t, "everything to end", func() bool { return q.unfinished() == 0 })
	var states, kinds []string
	for _, r := range q.delivery(id).Recipients {
		states = append(states, string(r.State))
		if ip, err := netip.ParseAddr(r.Last.Address); err != nil || !ip.IsLoopback() {
			t.Errorf("%s: the reply came from %q", r.Address, r.Last.Address)
		}
	}
	for _, e := range q.timeline(id) {
		kinds = append(kinds, string(e.Kind))
	}
	if s := strings.Join(states, " "); s != "sent sent bounced" {
		t.Errorf("states = %s", s)
	}
	if s := strings.Join(kinds, " "); s != "sent deferred bounced notice sent" {
		t.Errorf("timeline = %s", s)
	}
	m := mx.Wait(2)
	if string(m[0].Body) != body || string(m[1].Body) != body || m[1].To[0].Address != "grey@example.test" {
		t.Errorf("host has %+v", m)
	}
	if n := sender.Wait(1)[0]; n.From != "" || n.To[0].Address != "sender@sender.test" || !bytes.Contains(n.Body, []byte("gone@example.test")) {
		t.Errorf("notice = %+v", n)
	}
	observed := func() int { mu.Lock(); defer mu.Unlock(); return len(outcomes) }
	for end := time.Now().Add(10 * time.Second); observed() < 3 && time.Now().Before(end); { // the observer comes after the store
		time.Sleep(time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	first := func(o relay.Outcome) bool { return o.Sent == 1 && o.Waiting == 1 && o.Bounced == 1 }
	if len(outcomes) != 3 || !slices.ContainsFunc(outcomes, first) { // the notice may be told of before what caused it
		t.Errorf("outcomes = %+v", outcomes)
	}
}

// TestRelay_StopWithOpenConversations stops with one host that stalls early and one that has the final dot.
func TestRelay_StopWithOpenConversations(t *testing.T) {
	before := runtime.NumGoroutine()
	early, late := testmx.New(t, at(testmx.Data, testmx.Step{Stall: true})), testmx.New(t, at(testmx.Dot, testmx.Step{Stall: true}))
	w := newWorld()
	w.host("early.test", 1, early)
	w.host("late.test", 2, late)
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound"})
	_, stop := start(t, q, d, w.options())
	a, b := q.submit("outbound", time.Now(), "b@early.test"), q.submit("outbound", time.Now(), "b@late.test")
	early.WaitStalled(testmx.Data, 1)
	late.WaitStalled(testmx.Dot, 1)
	go func() {
		q.until(t, "the early one", func() bool { return len(q.timeline(a)) > 0 })
		late.Release()
	}()
	stop()
	if got := q.delivery(a); got.Recipients[0].State != store.Queued || got.Due.After(time.Now()) {
		t.Errorf("early one = %+v, want queued and due", got)
	}
	if got := q.delivery(b); got.Recipients[0].State != store.Sent {
		t.Errorf("late one = %+v, want sent", got)
	}
	early.WaitClosed()
	late.WaitClosed()
	early.Close()
	late.Close()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// TestRelay_LogHasNoSecretAndNoBody greps all that is logged in a run with a password and a hostile host.
func TestRelay_LogHasNoSecretAndNoBody(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	o, route, mx := smarthost(t, at(testmx.Auth, testmx.Step{Reply: "535 5.7.8 bad password " + secret}), store.TLSStartTLS)
	o.Logger = slog.New(slog.NewJSONHandler(locked{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Policy = relay.Policy{Schedule: []time.Duration{20 * time.Millisecond}}
	q, d := newQueue(), newDirectory(t, store.Stream{ID: "outbound", Route: route})
	_, stop := start(t, q, d, o)
	q.submit("outbound", time.Now(), "b@example.test")
	mx.Wait(1)
	q.until(t, "the end", func() bool { return q.unfinished() == 0 })
	stop()
	text := log.String()
	if strings.Contains(text, secret) || strings.Contains(text, "Hello") {
		t.Errorf("log contains a secret or a body:\n%s", text)
	}
	for _, want := range []string{`"msg":"deferred"`, `"msg":"sent"`, `"stream":"outbound"`, "bad password ***"} {
		if !strings.Contains(text, want) {
			t.Errorf("log lacks %s:\n%s", want, text)
		}
	}
}

// TestRelay_LogHasEachKeyOnce: readers of JSON keep one of two fields with the same name, and not always the first.
func TestRelay_LogHasEachKeyOnce(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	w, mx := single(t, testmx.Script{})
	o := w.options()
	o.Logger = slog.New(slog.NewJSONHandler(locked{&mu, &log}, nil)).With("part", "relay")
	q := newQueue()
	_, stop := start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), o)
	q.submit("outbound", time.Now(), "b@example.test")
	mx.Wait(1)
	q.until(t, "the end", func() bool { return q.unfinished() == 0 })
	stop()
	line := log.String()
	if strings.Count(line, `"part"`) != 1 || !strings.Contains(line, `"delivery":0`) || strings.Count(line, "\n") != 1 {
		t.Errorf("want one line with each key once:\n%s", line)
	}
}

// locked is a writer for several goroutines.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// discard is the cheapest host there can be: it answers and forgets.
func discard(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(c)
		}
	}()
	return l.Addr().String()
}

func swallow(c net.Conn) {
	defer c.Close()
	br, bw := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	fmt.Fprint(bw, "220 sink\r\n")
	for data := false; ; {
		if br.Buffered() == 0 && bw.Flush() != nil {
			return
		}
		line, err := br.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case data:
			if data = string(line) != ".\r\n"; !data {
				fmt.Fprint(bw, "250 taken\r\n")
			}
		case bytes.HasPrefix(line, []byte("EHLO")):
			fmt.Fprint(bw, "250-sink\r\n250-SIZE\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			data = true
			fmt.Fprint(bw, "354 go\r\n")
		default:
			fmt.Fprint(bw, "250 ok\r\n")
		}
	}
}

// BenchmarkSend is the client alone, a 4 KiB message to one recipient over kept connections on loopback, both sides on
// the same cores. The claim: well above what the accept path can take in, so that delivery never is the bottleneck.
func BenchmarkSend(b *testing.B) {
	for _, workers := range []int{1, 10} {
		b.Run(fmt.Sprintf("connections=%d", workers), func(b *testing.B) {
			w := newWorld()
			w.host("sink.test", 1, nil)
			w.at["127.0.0.1:25"] = discard(b)
			o := w.options()
			o.Pool = relay.PoolOptions{PerHost: workers, Messages: 1 << 30}
			tr := transport(b, o)
			text := "From: a@sender.test\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789012345678901234567890\r\n", 64)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			began := time.Now()
			jobs := make(chan struct{}, workers)
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range jobs {
						j := job("b@sink.test")
						content(text)(&j)
						if r := tr.Send(context.Background(), j)[0]; r.Verdict() != relay.Delivered {
							b.Errorf("Send = %s", fate(r))
						}
					}
				})
			}
			for b.Loop() {
				jobs <- struct{}{}
			}
			close(jobs)
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "msg/s")
		})
	}
}
