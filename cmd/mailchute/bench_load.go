package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	benchSender  = "bench@sender.example"
	benchTimeout = 30 * time.Second
	// benchDrain is how long the sink may need for what is queued after a round.
	benchDrain = 30 * time.Second
)

// benchRound is what one round of load showed.
type benchRound struct {
	window    time.Duration
	inWindow  int // messages that were answered in the window
	total     int // the same, with those before and after
	latencies []time.Duration
	server    benchUsage // used in the whole round, but for RSS, which is that at its end
	generator time.Duration
	sink      time.Duration
	through   time.Duration // from the first message to the last delivery
	delivered int
}

// rate is messages a second: accepted, and with delivery through to the sink.
func (r benchRound) rate() float64 {
	if r.through > 0 {
		return float64(r.delivered) / r.through.Seconds()
	}
	return float64(r.inWindow) / r.window.Seconds()
}

// load puts one target under load.
func (b *bench) load(ctx context.Context, t *benchTarget, length time.Duration) error {
	l, err := b.connect(ctx, t)
	if err != nil {
		return err
	}
	defer l.close()
	before, err := t.part.usage()
	if err != nil {
		return err
	}
	sinkBefore, err := b.sinkUsage()
	if err != nil {
		return err
	}
	cpuBefore, _ := processTime()
	if err := l.run(ctx, length); err != nil {
		return err
	}
	r := l.round
	cpu, _ := processTime()
	r.generator = cpu - cpuBefore
	if b.sink != nil && t == b.relay {
		if err := b.drain(ctx, l.start, sinkBefore, &r); err != nil {
			return err
		}
	}
	after, err := t.part.usage()
	if err != nil {
		return err
	}
	r.server = benchUsage{RSS: after.RSS, CPU: after.CPU - before.CPU, Mallocs: after.Mallocs - before.Mallocs, Allocated: after.Allocated - before.Allocated}
	t.rounds = append(t.rounds, r)
	return nil
}

func (b *bench) sinkUsage() (benchUsage, error) {
	if b.sink == nil {
		return benchUsage{}, nil
	}
	return b.sink.usage()
}

// drain waits until the sink has all that was accepted.
func (b *bench) drain(ctx context.Context, start time.Time, before benchUsage, r *benchRound) error {
	for end := time.Now().Add(benchDrain); ; {
		u, err := b.sink.usage()
		if err != nil {
			return err
		}
		r.through, r.delivered, r.sink = time.Since(start), int(u.Taken-before.Taken), u.CPU-before.CPU
		if r.delivered >= r.total {
			return nil
		}
		if time.Now().After(end) {
			return exitWith(exitFailed, "%d of %d messages were not delivered %v after the load had ended", r.total-r.delivered, r.total, benchDrain)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// loader is the generator: one goroutine for each connection.
type loader struct {
	benchOptions
	address string
	workers []*worker
	sent    atomic.Int64 // messages begun, which places them in the open loop
	start   time.Time
	begin   time.Time // of the window
	end     time.Time
	round   benchRound
}

// connect logs all connections in, so that the round does not count that.
func (b *bench) connect(ctx context.Context, t *benchTarget) (*loader, error) {
	l := &loader{benchOptions: b.benchOptions, address: t.part.address(b.TLS)}
	for i := range b.Connections {
		l.workers = append(l.workers, newWorker(l, i, t.logins))
	}
	if b.NewConnection {
		return l, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for _, w := range l.workers {
		g.Go(func() error { return w.dial(ctx) })
	}
	if err := g.Wait(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loader) close() {
	for _, w := range l.workers {
		w.close()
	}
}

// run sends for a while. A tenth of it, before the window, is to get going. The
// window ends with the last answer, so a stall at its end is not left out.
func (l *loader) run(ctx context.Context, length time.Duration) error {
	warm := length / 10
	l.start = time.Now()
	l.begin = l.start.Add(warm)
	l.end = l.begin.Add(length - warm)
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range l.workers {
		g.Go(func() error { return w.run(ctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	l.round.window = time.Since(l.begin)
	for _, w := range l.workers {
		l.round.total += w.total
		l.round.latencies = append(l.round.latencies, w.latencies...)
	}
	l.round.inWindow = len(l.round.latencies)
	slices.Sort(l.round.latencies)
	return nil
}

// next returns when the next message is due, and whether it is still wanted. In
// the closed loop that is now.
func (l *loader) next(ctx context.Context) (time.Time, bool) {
	n := l.sent.Add(1) - 1
	now := time.Now()
	if l.Rate == 0 {
		return now, now.Before(l.end) && ctx.Err() == nil
	}
	due := l.start.Add(time.Duration(float64(n) / float64(l.Rate) * float64(time.Second)))
	if !due.Before(l.end) {
		return due, false
	}
	if wait := due.Sub(now); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return due, ctx.Err() == nil
}

// worker is one connection of the generator.
type worker struct {
	*loader
	login   string
	streams int

	command   []byte // MAIL, RCPT and DATA
	content   []byte // up to the final dot
	domain    []byte // in command
	stream    []byte // in content
	turn      int
	conn      net.Conn
	replies   *bufio.Reader
	total     int
	latencies []time.Duration
}

func newWorker(l *loader, i int, logins []string) *worker {
	server := i % len(logins)
	w := &worker{
		loader: l, login: logins[server], streams: min(l.Streams-server*benchStreams, benchStreams), turn: i,
		command: []byte("MAIL FROM:<" + benchSender + ">\r\nRCPT TO:<user@" + benchDomain(0) + ">\r\nDATA\r\n"),
		content: benchContent(int(l.Size)),
		replies: bufio.NewReaderSize(nil, 4<<10),
	}
	w.domain = marked(w.command, benchDomain(0))
	w.stream = marked(w.content, benchStreamID(0))
	return w
}

// marked returns the part of b that reads as text.
func marked(b []byte, text string) []byte {
	at := bytes.Index(b, []byte(text))
	return b[at : at+len(text)]
}

// benchContent is a message of size octets and the final dot.
func benchContent(size int) []byte {
	b := []byte("From: Bench <" + benchSender + ">\r\nTo: user@example.org\r\nSubject: A message of the benchmark\r\n" +
		"Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=us-ascii\r\nX-PM-Message-Stream: " + benchStreamID(0) + "\r\n\r\n")
	line := []byte("The quick brown fox jumps over the lazy dog, again and again and again.\r\n")
	for left := size - len(b); left > 0; left = size - len(b) {
		if left < len(line)+2 {
			line = append(bytes.Repeat([]byte("x"), max(left-2, 0)), "\r\n"...)
		}
		b = append(b, line...)
	}
	return append(b, ".\r\n"...)
}

func (w *worker) run(ctx context.Context) error {
	for {
		due, ok := w.next(ctx)
		if !ok {
			return ctx.Err()
		}
		if err := w.one(ctx); err != nil {
			return err
		}
		w.total++
		if now := time.Now(); !now.Before(w.begin) {
			w.latencies = append(w.latencies, now.Sub(due))
		}
	}
}

// one sends one message, on a connection of its own if so wanted.
func (w *worker) one(ctx context.Context) error {
	if w.NewConnection {
		if err := w.dial(ctx); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, w.interrupt)
	err := w.send()
	if w.NewConnection && err == nil {
		err = w.quit()
	}
	if !stop() {
		return ctx.Err()
	}
	return err
}

func (w *worker) interrupt() { _ = w.conn.SetDeadline(time.Unix(1, 0)) }

// send pipelines MAIL, RCPT and DATA, and then the content, as RFC 2920 allows.
func (w *worker) send() error {
	w.turn++
	copyNumber(w.domain[1:6], w.turn%w.Destinations)
	copyNumber(w.stream[6:8], w.turn%w.streams)
	if err := w.conn.SetDeadline(time.Now().Add(benchTimeout)); err != nil {
		return err
	}
	if _, err := w.conn.Write(w.command); err != nil {
		return err
	}
	if err := w.expect("250", "250", "354"); err != nil {
		return err
	}
	if _, err := w.conn.Write(w.content); err != nil {
		return err
	}
	return w.expect("250")
}

// copyNumber writes n with leading zeros.
func copyNumber(to []byte, n int) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = byte('0' + n%10)
		n /= 10
	}
}

// expect reads replies, each of which may have several lines.
func (w *worker) expect(codes ...string) error {
	for _, code := range codes {
		for more := true; more; {
			line, err := w.replies.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(line) < 4 || string(line[:3]) != code {
				return fmt.Errorf("the server answered %q where %s was due", bytes.TrimSpace(line), code)
			}
			more = line[3] == '-'
		}
	}
	return nil
}

// dial connects and logs in.
func (w *worker) dial(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", w.address)
	if err != nil {
		return err
	}
	if w.TLS {
		c = tls.Client(c, demoTLS())
	}
	w.conn = c
	w.replies.Reset(c)
	if err := c.SetDeadline(time.Now().Add(benchTimeout)); err != nil {
		return err
	}
	if err := w.expect("220"); err != nil {
		return err
	}
	for _, step := range []struct{ line, code string }{{"EHLO bench.example", "250"}, {"AUTH PLAIN " + w.login, "235"}} {
		if _, err := io.WriteString(c, step.line+"\r\n"); err != nil {
			return err
		}
		if err := w.expect(step.code); err != nil {
			return err
		}
	}
	return nil
}

// quit lets the server close first, whose port is one, so that the generator
// does not run out of ports in TIME_WAIT.
func (w *worker) quit() error {
	if _, err := io.WriteString(w.conn, "QUIT\r\n"); err != nil {
		return err
	}
	if err := w.expect("221"); err != nil {
		return err
	}
	_, _ = w.replies.Discard(1) // waits for the end
	return w.conn.Close()
}

func (w *worker) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

// parked are connections that are logged in and do nothing.
type parked struct{ workers []*worker }

func (p parked) close() {
	for _, w := range p.workers {
		w.close()
	}
}

// park opens the idle connections, and measures what they cost the relay.
func (b *bench) park(ctx context.Context) (parked, error) {
	var p parked
	if b.Idle == 0 {
		return p, nil
	}
	before, err := b.relay.part.settled()
	if err != nil {
		return p, err
	}
	l := &loader{benchOptions: b.benchOptions, address: b.relay.part.address(b.TLS)}
	l.Size = 0 // they send nothing
	for i := range b.Idle {
		p.workers = append(p.workers, newWorker(l, i, b.relay.logins))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for _, w := range p.workers {
		g.Go(func() error { return w.dial(gctx) })
	}
	if err := g.Wait(); err != nil {
		return p, fmt.Errorf("idle connections: %w", err)
	}
	after, err := b.relay.part.settled()
	b.idleCost = (after.RSS - before.RSS) / int64(b.Idle)
	return p, err
}
