package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/time/rate"
)

// Listener is a socket with what is special about it.
type Listener struct {
	net.Listener
	// ImplicitTLS speaks TLS from the first byte (RFC 8314 3.3); otherwise
	// STARTTLS is offered where the server has a certificate.
	ImplicitTLS bool
	// ProxyFrom are the networks of the proxies that must send a PROXY header,
	// version 1 or 2. With any, connections from elsewhere are refused.
	ProxyFrom []netip.Prefix
}

func closeAll(ls []Listener) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// acceptLoop takes connections until ctx is done or the listener is closed under
// it. Lack of file descriptors and the like is waited out.
func (s *Server) acceptLoop(ctx context.Context, l Listener) error {
	spare := newSpare()
	defer spare.release()
	for {
		c, err := l.Accept()
		switch {
		case err == nil && ctx.Err() == nil:
			s.open(l, c)
		case err == nil:
			_ = c.Close() // stopped: not even a greeting
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listener %v: %w", l.Addr(), err)
		default:
			s.log.acceptFailed(l.Addr().String(), err)
			s.acceptAgain(ctx, l, spare, err)
		}
	}
}

// acceptAgain answers one client with the spare descriptor where all are used
// up, so that the backlog does not hang in silence, and pauses.
func (s *Server) acceptAgain(ctx context.Context, l Listener, spare *spare, err error) {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		spare.release()
		if c, err := l.Accept(); err == nil {
			sayAndClose(c, replyTooManyConns)
		}
		spare.take()
	}
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// sayAndClose writes into a fresh socket buffer, which cannot block for long.
func sayAndClose(c net.Conn, r reply) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(r + "\r\n")) // the connection is given up either way
	_ = c.Close()
}

// spare is a file descriptor kept for the time when there are no others.
type spare struct{ f *os.File }

func newSpare() *spare {
	s := &spare{}
	s.take()
	return s
}

func (s *spare) take() {
	if f, err := os.Open(os.DevNull); err == nil {
		s.f = f
	}
}

func (s *spare) release() {
	if s.f != nil {
		_ = s.f.Close()
		s.f = nil
	}
}

// open counts the connection in and prepares it in a goroutine of its own,
// because PROXY header and handshake wait for the client.
func (s *Server) open(l Listener, c net.Conn) {
	if !s.gate.enter() {
		s.turnAway(l, c, replyTooManyConns)
		return
	}
	s.conns.Add(1)
	go func() {
		w := newWire(s, c)
		if w.prepare(l) {
			s.hatch.conns <- w // go-smtp accepts until all connections have ended
			return
		}
		_ = w.Close()
	}()
}

// turnAway answers a connection beyond the limit. Behind TLS that costs a
// handshake, so only a few are answered at a time and the rest just closed.
func (s *Server) turnAway(l Listener, c net.Conn, r reply) {
	if !l.ImplicitTLS {
		connLog{l: s.log.l, client: addrOf(c)}.refused(r)
		sayAndClose(c, r)
		return
	}
	if !s.gate.enterRefusal() {
		_ = c.Close()
		return
	}
	s.conns.Add(1)
	go func() {
		w := newWire(s, c)
		w.leave = s.gate.leaveRefusal
		if w.startTLS() {
			w.refuse(r)
		}
		_ = w.Close()
	}()
}

// proxied reads the PROXY header and returns the connection as the client's.
func (s *Server) proxied(c net.Conn, trusted []netip.Prefix) (net.Conn, error) {
	if !contains(trusted, addrOf(c)) {
		return nil, errNotProxied
	}
	pc := proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(s.opts.Handshake))
	if pc.ProxyHeader() == nil {
		return nil, fmt.Errorf("reading proxy header: %w", proxyproto.ErrNoProxyProtocol)
	}
	return pc, nil
}

var errNotProxied = errors.New("connection does not come from a trusted proxy")

func contains(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// addrOf returns the peer's address, invalid for what is no IP connection.
func addrOf(c net.Conn) netip.Addr {
	if t, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// maxRefusals bounds the connections that are refused at a time behind TLS.
const maxRefusals = 64

// gate counts connections.
type gate struct {
	opts Options

	mu       sync.Mutex // guards what follows
	total    int
	refusals int
	networks map[netip.Prefix]*network
	swept    time.Time
}

type network struct {
	conns int
	rate  *rate.Limiter
}

func newGate(o Options) *gate {
	return &gate{opts: o, networks: make(map[netip.Prefix]*network)}
}

// enter counts a connection in all.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if over(g.total+1, g.opts.MaxConns) {
		return false
	}
	g.total++
	return true
}

// leave takes back enter.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
}

// crowded tells whether so few places are left that patience with any one client
// is at the cost of the others.
func (g *gate) crowded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opts.MaxConns > 0 && g.total > g.opts.MaxConns*4/5
}

func (g *gate) enterRefusal() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refusals >= maxRefusals {
		return false
	}
	g.refusals++
	return true
}

func (g *gate) leaveRefusal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusals--
}

// admit counts a connection of a network, if number and rate allow it. Refused
// ones use up the rate too.
func (g *gate) admit(p netip.Prefix, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(now)
	n := g.networks[p]
	if n == nil {
		n = &network{rate: g.limiter()}
		g.networks[p] = n
	}
	if !n.rate.AllowN(now, 1) || over(n.conns+1, g.opts.MaxConnsPerNet) {
		return false
	}
	n.conns++
	return true
}

// dismiss takes back admit.
func (g *gate) dismiss(p netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.networks[p]; n != nil {
		n.conns--
	}
}

func (g *gate) limiter() *rate.Limiter {
	perMinute := g.opts.NewConnsPerMinute
	if perMinute < 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
}

// sweep forgets, once a minute, the networks that have no connection and whose
// rate has recovered.
func (g *gate) sweep(now time.Time) {
	if now.Sub(g.swept) < time.Minute {
		return
	}
	g.swept = now
	for p, n := range g.networks {
		if n.conns == 0 && n.rate.TokensAt(now) >= float64(n.rate.Burst()) {
			delete(g.networks, p)
		}
	}
}
