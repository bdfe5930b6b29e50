package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Authenticator decides who a client is. *auth.Verifier is one.
type Authenticator interface {
	// SMTP verifies a pair. Its errors are those of package auth.
	SMTP(ctx context.Context, from netip.Addr, username, password string) (auth.Principal, error)
	// Alive tells whether the credential behind p is still valid.
	Alive(p auth.Principal) bool
	// Boxed tells whether the network of from has failed too often.
	Boxed(from netip.Addr) bool
}

// Submitter takes what a session has gathered. *intake.Intake is one.
type Submitter interface {
	CheckSender(p auth.Principal, from message.Address) error
	CheckRecipient(p auth.Principal, to message.Address) error
	// Submit returns an ID only for a message that is durable. It must return
	// the error that content returned, wrapped or as a refusal.
	Submit(ctx context.Context, e intake.Envelope, content io.Reader) (store.ID, error)
}

var (
	_ Authenticator = (*auth.Verifier)(nil)
	_ Submitter     = (*intake.Intake)(nil)
)

// hardStop is how long connections get to say goodbye after the grace time.
const hardStop = 5 * time.Second

// Server is the submission server, or the one for what comes back. Its Run may
// be called once.
type Server struct {
	receiving bool // nobody logs in, and a transaction has one recipient

	auth Authenticator
	in   Submitter
	opts Options
	tls  *tls.Config
	log  journal

	gate  *gate
	hatch *hatch

	draining context.Context // done once Run stops
	drain    context.CancelFunc
	running  context.Context // parent of all submissions, done after the grace time
	cancel   context.CancelFunc

	conns sync.WaitGroup // accepted connections, until their wire has closed

	mu    sync.Mutex // guards wires and stop
	wires map[*wire]struct{}
	stop  stopLevel
}

// New returns a Server that asks a and hands messages to in. It opens nothing
// and starts nothing.
func New(a Authenticator, in Submitter, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("submission server options: %w", err)
	}
	s := &Server{auth: a, in: in, opts: opts, tls: serverTLS(opts.TLS), log: journal{opts.Log}}
	s.gate = newGate(opts)
	s.hatch = newHatch()
	s.wires = make(map[*wire]struct{})
	s.draining, s.drain = context.WithCancel(context.Background())
	s.running, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// NewReceiver returns a Server for what comes back from other hosts: nobody logs
// in, AUTH is not offered, and in decides alone who may write to whom; its
// principal is always the zero one. A transaction has one recipient, so that
// its one answer is about that one (RFC 5321 4.5.3.1.10 lets clients repeat
// the others).
func NewReceiver(in Submitter, opts Options) (*Server, error) {
	s, err := New(nobody{}, in, opts)
	if err == nil {
		s.receiving = true
	}
	return s, err
}

// nobody is the Authenticator where nobody logs in.
type nobody struct{}

// SMTP implements Authenticator.
func (nobody) SMTP(context.Context, netip.Addr, string, string) (auth.Principal, error) {
	return auth.Principal{}, auth.ErrDenied
}

// Alive implements Authenticator.
func (nobody) Alive(auth.Principal) bool { return true }

// Boxed implements Authenticator.
func (nobody) Boxed(netip.Addr) bool { return false }

// Run serves the listeners until ctx is done or one of them fails, and closes
// them. Then it stops: sessions between commands get 421 at once, running
// transfers may finish within Options.Grace, the rest is cut. It returns nil
// after an orderly stop, and never before every connection and goroutine of its
// own has ended.
func (s *Server) Run(ctx context.Context, ls ...Listener) error {
	defer s.drain()
	defer s.cancel()
	if err := s.checkListeners(ls); err != nil {
		return errors.Join(err, closeAll(ls))
	}
	lib := s.library()
	served := make(chan error, 1)
	go func() { served <- lib.Serve(s.hatch) }()
	err := s.acceptAll(ctx, ls)
	s.finish()
	// All connections have closed; go-smtp waits for their goroutines. A Serve that
	// comes only now would not know of the Shutdown, so the hatch is closed too.
	err = errors.Join(err, lib.Shutdown(context.Background()), s.hatch.Close())
	return errors.Join(err, <-served)
}

// library returns go-smtp with everything that the wire does for it switched
// off: limits, deadlines, TLS. Its Debug stays nil, it would copy AUTH lines.
func (s *Server) library() *smtp.Server {
	lib := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{w: c.Conn().(*wire)}, nil
	}))
	lib.Domain = s.opts.Hostname
	lib.MaxLineLength = 0
	lib.AllowInsecureAuth = true
	lib.ErrorLog = s.log
	return lib
}

func (s *Server) checkListeners(ls []Listener) error {
	for _, l := range ls {
		if l.ImplicitTLS && s.tls == nil {
			return fmt.Errorf("listener %v wants TLS, but there is no certificate", l.Addr())
		}
	}
	return nil
}

// acceptAll returns when all accept loops have ended and all listeners are
// closed.
func (s *Server) acceptAll(ctx context.Context, ls []Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range ls {
		g.Go(func() error { return s.acceptLoop(ctx, l) })
	}
	g.Go(func() error {
		<-ctx.Done()
		_ = closeAll(ls) // it makes Accept return; the error of a listener that has failed is known
		return nil
	})
	return g.Wait()
}

// finish ends all connections in the order that Run promises.
func (s *Server) finish() {
	s.drain()
	s.raise(stopIdle)
	done := make(chan struct{})
	go func() { s.conns.Wait(); close(done) }()
	if within(done, s.opts.Grace) {
		return
	}
	s.cancel()
	s.raise(stopAll)
	if within(done, hardStop) {
		return
	}
	s.raise(stopCut)
	<-done // a submission in its commit is never abandoned
}

func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// raise tells every connection how far the stop has gone.
func (s *Server) raise(level stopLevel) {
	s.mu.Lock()
	s.stop = level
	wires := make([]*wire, 0, len(s.wires))
	for w := range s.wires {
		wires = append(wires, w)
	}
	s.mu.Unlock()
	for _, w := range wires {
		w.interrupt(level)
	}
}

func (s *Server) track(w *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wires[w] = struct{}{}
	w.stop = s.stop
}

func (s *Server) untrack(w *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wires, w)
}

// hatch is the listener through which go-smtp gets its connections.
type hatch struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHatch() *hatch {
	return &hatch{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (h *hatch) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *hatch) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *hatch) Addr() net.Addr { return &net.UnixAddr{Name: "hatch", Net: "unix"} }
