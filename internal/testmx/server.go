package testmx

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// patience is how long Wait and its relatives wait before they fail the test.
const patience = 20 * time.Second

// Server is a scripted mail server on 127.0.0.1.
type Server struct {
	t        testing.TB
	script   Script
	ca       *CA
	config   *tls.Config
	listener net.Listener
	closed   chan struct{}
	work     sync.WaitGroup

	mu          sync.Mutex // guards what follows
	changed     chan struct{}
	released    chan struct{}
	reached     map[Phase]int
	used        map[string]int // steps used up, by phase or recipient
	stalled     map[Phase]int
	conns       map[net.Conn]bool
	connections int
	messages    []Message
	credentials []Credential
	transcripts map[int][]string
	violations  []string
}

// New starts a server that lives until the test ends.
func New(t testing.TB, script Script) *Server {
	t.Helper()
	script = script.withDefaults()
	ca := script.CA
	if ca == nil {
		ca = NewCA(t)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		t: t, script: script, ca: ca, config: script.tlsConfig(ca), listener: l, closed: make(chan struct{}),
		changed: make(chan struct{}), released: make(chan struct{}), reached: map[Phase]int{}, used: map[string]int{},
		stalled: map[Phase]int{}, conns: map[net.Conn]bool{}, transcripts: map[int][]string{},
	}
	s.work.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

// Addr returns the address as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Port returns the port.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// RootCAs returns a pool that verifies the server's certificate.
func (s *Server) RootCAs() *x509.CertPool { return s.ca.Pool() }

// Close stops the server, cuts all connections and fails the test if a client broke a rule. It may be called twice.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return
	default:
	}
	close(s.closed)
	s.listener.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
	for _, v := range s.Violations() {
		s.t.Errorf("testmx: the client broke a rule: %s", v)
	}
}

// Messages returns what was accepted so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Wait waits until n messages were accepted and returns all there are.
func (s *Server) Wait(n int) []Message {
	s.t.Helper()
	s.until(fmt.Sprintf("%d messages", n), func() bool { return len(s.messages) >= n })
	return s.Messages()
}

// WaitPhase waits until the server has come to a phase n times, counting all connections.
func (s *Server) WaitPhase(p Phase, n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("phase %s %d times", p, n), func() bool { return s.reached[p] >= n })
}

// WaitStalled waits until n connections stall at a phase.
func (s *Server) WaitStalled(p Phase, n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d stalls at %s", n, p), func() bool { return s.stalled[p] >= n })
}

// WaitClosed waits until no connection is open.
func (s *Server) WaitClosed() {
	s.t.Helper()
	s.until("all connections closed", func() bool { return len(s.conns) == 0 })
}

func (s *Server) until(what string, done func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.t.Fatalf("testmx: waited %v for %s; transcripts: %q", patience, what, s.Transcripts())
		}
	}
}

// TLSA returns the data of a TLSA record "3 1 1" for the server's key.
func (s *Server) TLSA() string {
	s.t.Helper()
	cert, err := x509.ParseCertificate(s.config.Certificates[0].Certificate[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("3 1 1 %x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
}

// Release ends all stalls, now and later.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.released:
	default:
		close(s.released)
	}
}

// Connections returns how many connections there were.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

// Open returns how many connections are open.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Reached returns how often the server came to a phase.
func (s *Server) Reached(p Phase) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached[p]
}

// Credentials returns all attempts to log in.
func (s *Server) Credentials() []Credential {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.credentials)
}

// Transcript returns the commands ("C: …") and replies ("S: …") of a connection, the first being 1. Content is not part
// of it.
func (s *Server) Transcript(conn int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.transcripts[conn])
}

// Transcripts returns the transcripts of all connections in order.
func (s *Server) Transcripts() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out [][]string
	for i := range s.connections {
		out = append(out, slices.Clone(s.transcripts[i+1]))
	}
	return out
}

// Violations returns the rules that clients broke. A test that provokes one calls it and Forgive.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Forgive forgets the violations so far.
func (s *Server) Forgive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = nil
}

// update changes the record and wakes those who wait for it.
func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.update(func() { s.violations = append(s.violations, "accepting: "+err.Error()) })
			return
		}
		s.update(func() {
			s.connections++
			s.conns[nc] = true
			id := s.connections
			s.work.Go(func() { s.serve(nc, id) })
		})
	}
}

func (s *Server) serve(nc net.Conn, id int) {
	defer s.update(func() { delete(s.conns, nc) })
	defer nc.Close()
	select {
	case <-s.closed:
		return
	default:
	}
	newSession(s, nc, id).run()
}

// step takes the next step for a phase. Recipients have steps of their own, which come first.
func (s *Server) step(p Phase, recipient string) Step {
	var step Step
	s.update(func() {
		s.reached[p]++
		if own := s.script.Rcpt[recipient]; p == Rcpt && len(own) > 0 {
			if found, ok := s.nextStep("rcpt "+recipient, own); ok {
				step = found
				return
			}
		}
		step, _ = s.nextStep(string(p), s.script.Steps[p])
	})
	return step
}

// nextStep counts under key. s.mu is held.
func (s *Server) nextStep(key string, steps []Step) (Step, bool) {
	i := s.used[key]
	if i > 0 && i <= len(steps) && steps[i-1].Always {
		return steps[i-1], true
	}
	if i >= len(steps) {
		return Step{}, false
	}
	s.used[key]++
	return steps[i], true
}
