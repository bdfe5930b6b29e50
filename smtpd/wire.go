package smtpd

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mailchute/mailchute/auth"
)

// lineBuffer is the read buffer of a connection: a whole small message with its
// commands in one system call, and a large one in not too many. A connection that
// waits for a command has none: it waits with idleBuffer, which holds the
// commands of most messages.
const (
	lineBuffer = 16 << 10
	idleBuffer = 128
)

// buffers are what a connection has while it does not wait.
type buffers struct {
	br  *bufio.Reader
	out []byte // replies not yet sent
}

// lineBuffers are those of connections that wait.
var lineBuffers = sync.Pool{New: func() any { return &buffers{br: bufio.NewReaderSize(nil, lineBuffer)} }}

// stopLevel is how far the stop of the server has gone.
type stopLevel int

const (
	stopNone stopLevel = iota
	stopIdle           // sessions that wait for a command end
	stopAll            // transfers end too
	stopCut            // sockets are closed without a word
)

// waiting is what the connection waits for when it reads.
type waiting int

const (
	waitCommand waiting = iota
	waitChunk           // a command between two BDAT chunks
	waitContent         // octets of a message
)

// wire is the connection as go-smtp sees it. Read gives one checked command at a
// time; since go-smtp answers a command before it reads the next, the wire
// knows at every Write which command the reply belongs to, and answers others
// itself in between, in order.
//
// One goroutine at a time uses a wire. Only interrupt is called from another.
type wire struct {
	srv    *Server
	opts   *Options
	log    connLog
	client netip.Addr

	raw  net.Conn // below TLS; all deadlines are set here
	conn net.Conn // raw, or TLS above it
	tls  *tls.ConnectionState
	*buffers
	first [idleBuffer]byte
	held  []byte // of first: what br has not taken
	deaf  error  // a reply could not be sent; part of it may have been

	leave func() // gives back the connection's place in the gate
	once  sync.Once

	mu   sync.Mutex // guards stop, wait and changes of raw, so that no deadline outlives an interrupt
	stop stopLevel
	wait waiting

	lineEnds time.Time // deadline of the command being read
	pace     *pace     // of the transfer being read

	pass     []byte // what go-smtp reads next
	partial  []byte // of a reply that go-smtp has not completed
	expect   expect // the command that go-smtp's next reply answers
	override reply  // stands in for go-smtp's next final reply
	pushed   []byte // a command that ended a BDAT transfer
	heard    bool   // the first octet has come
	closing  bool   // nothing more is read or answered
	hangup   bool   // close behind the next final reply

	hello      string // argument of EHLO or HELO; "" before
	nextHello  string
	extended   bool
	authing    bool // go-smtp has asked for a SASL response
	authed     bool
	authTried  bool // an AUTH has not succeeded: unknown lines may be secrets
	principal  auth.Principal
	tx         transaction
	errors     int
	noops      int
	commands   int
	messages   int
	bareLFs    int
	authFailed int
}

func newWire(s *Server, c net.Conn) *wire {
	w := &wire{srv: s, opts: &s.opts, raw: c, conn: c, client: addrOf(c), leave: s.gate.leave}
	w.log = connLog{l: s.log.l, conn: shortName(), client: w.client}
	w.takeBuffers()
	s.track(w)
	return w
}

// shortName names a connection or an incident in the log.
func shortName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// prepare does what comes before the banner. False means that the connection has
// had its answer and is to be closed.
func (w *wire) prepare(l Listener) bool {
	if len(l.ProxyFrom) > 0 {
		c, err := w.srv.proxied(w.raw, l.ProxyFrom)
		if err != nil {
			w.log.proxyFailed(err)
			if errors.Is(err, errNotProxied) && !l.ImplicitTLS {
				w.refuse(replyNotProxied)
			}
			return false
		}
		w.proxied(c)
	}
	refusal := w.admission()
	if refusal != "" && l.ImplicitTLS { // the answer costs a handshake
		if !w.srv.gate.enterRefusal() {
			return false
		}
		defer w.srv.gate.leaveRefusal()
	}
	if l.ImplicitTLS && !w.startTLS() {
		return false
	}
	if refusal == "" && !l.ImplicitTLS && w.talksEarly() {
		w.log.hostile("early_talk")
		refusal = replyEarlyTalk
	}
	if refusal != "" {
		w.refuse(refusal)
		return false
	}
	return true
}

// proxied puts the connection behind a proxy in the place of the proxy's.
func (w *wire) proxied(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raw, w.conn, w.client = c, c, addrOf(c)
	w.log.client = w.client
}

// admission applies the limits of the client's network, and returns "" if it may
// come in.
func (w *wire) admission() reply {
	if w.srv.auth.Boxed(w.client) {
		return replyBoxed
	}
	n := auth.NetworkOf(w.client)
	if !w.srv.gate.admit(n, time.Now()) {
		return replyNetworkLimit
	}
	leave := w.leave
	w.leave = func() { w.srv.gate.dismiss(n); leave() }
	return ""
}

// refuse answers a connection that never becomes a session.
func (w *wire) refuse(r reply) {
	w.log.refused(r)
	w.closing = true
	w.line(r)
}

// talksEarly waits a moment for octets that no SMTP client sends before the
// banner (RFC 5321 4.3.1). Programs that blast a canned dialogue do.
func (w *wire) talksEarly() bool {
	if w.opts.GreetDelay < 0 {
		return false
	}
	w.lineEnds = time.Now().Add(w.opts.GreetDelay)
	_, err := w.br.Peek(1)
	return err == nil
}

// startTLS takes the connection over into TLS. After a failure there is no way
// back to plaintext: the caller closes.
func (w *wire) startTLS() bool {
	end := time.Now().Add(w.opts.Handshake)
	w.arm(waitCommand, end)
	_ = w.raw.SetWriteDeadline(end) // a socket that cannot take deadlines fails in the handshake
	c := tls.Server(w.raw, w.srv.tls)
	if err := c.Handshake(); err != nil {
		w.log.tlsFailed(err)
		return false
	}
	state := c.ConnectionState()
	w.conn, w.tls = c, &state
	w.held = nil
	w.br.Reset(source{w})
	return true
}

// takeBuffers ends a wait without buffers.
func (w *wire) takeBuffers() {
	w.buffers = lineBuffers.Get().(*buffers)
	w.br.Reset(source{w})
}

// giveBuffers begins one. No reply is pending.
func (w *wire) giveBuffers() {
	w.br.Reset(nil) // the pool keeps no connection alive
	lineBuffers.Put(w.buffers)
	w.buffers = nil
}

// waitForLine waits until something of the next command is there. What was
// returned of earlier ones is not valid any more.
func (w *wire) waitForLine() error {
	if w.br.Buffered() > 0 || len(w.held) > 0 {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.giveBuffers()
	n, err := w.receiveOctets(w.first[:])
	w.held = w.first[:n]
	w.takeBuffers()
	if n > 0 {
		return nil
	}
	return err
}

// await says what the following reads wait for.
func (w *wire) await(wait waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait = wait
}

// arm sets the read deadline for one read, in the past if a stop does not let
// the connection wait for this.
func (w *wire) arm(wait waiting, end time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait = wait
	if w.stop > stopNone && (w.stop > stopIdle || wait == waitCommand) {
		end = time.Unix(1, 0)
	}
	_ = w.raw.SetReadDeadline(end) // fails on a closed socket only, as the read then does
}

// interrupt ends the wait that the level of the stop no longer allows.
func (w *wire) interrupt(level stopLevel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop = level
	switch {
	case level == stopCut:
		_ = w.raw.Close()
	case level == stopAll || w.wait == waitCommand:
		_ = w.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

func (w *wire) stopped(level stopLevel) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stop >= level
}

// source is the reader under the buffer: it sends what replies are pending
// before it waits for the client, and keeps the deadlines.
type source struct{ w *wire }

// Read implements io.Reader.
func (s source) Read(p []byte) (int, error) {
	w := s.w
	if len(w.held) > 0 {
		n := copy(p, w.held)
		w.held = w.held[n:]
		return n, nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.receiveOctets(p)
}

// receiveOctets reads from the client within the time that it has.
func (w *wire) receiveOctets(p []byte) (int, error) {
	if w.pace != nil {
		return w.pace.read(w, p)
	}
	w.arm(w.wait, w.lineEnds)
	return w.conn.Read(p)
}

// put queues octets of replies. They are sent when the wire next waits for the
// client.
func (w *wire) put(s string) {
	if w.buffers == nil { // a wait has panicked
		w.takeBuffers()
	}
	w.out = append(w.out, s...)
}

// line queues one reply line.
func (w *wire) line(r reply) {
	w.put(string(r))
	w.put("\r\n")
}

// flush sends the queued replies. After one that failed there is no other.
func (w *wire) flush() error {
	if w.buffers == nil || len(w.out) == 0 || w.deaf != nil {
		return w.deaf
	}
	_ = w.raw.SetWriteDeadline(time.Now().Add(w.opts.Write)) // as in arm
	if _, err := w.conn.Write(w.out); err != nil && w.deaf == nil {
		w.deaf = err
	}
	w.out = w.out[:0]
	return w.deaf
}

// pause waits, for a client that is to be slowed down.
func (w *wire) pause(d time.Duration) {
	if d <= 0 || w.flush() != nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.srv.draining.Done():
	}
}

// Read implements net.Conn for go-smtp: exactly one command or SASL response.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.pass) == 0 {
		w.next()
	}
	if len(w.pass) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.pass)
	if w.pass = w.pass[n:]; len(w.pass) == 0 {
		w.pass = nil // it may have been a secret
	}
	return n, nil
}

// next fills pass, or sets closing. go-smtp calls Read outside its own recover.
func (w *wire) next() {
	defer func() {
		if v := recover(); v != nil {
			w.panicked(v)
			w.answer(replyPanic)
			w.pass = w.pass[:0]
		}
	}()
	for len(w.pass) == 0 && !w.closing {
		switch {
		case w.authing:
			w.readResponse()
		case w.opts.MaxMessages > 0 && w.messages >= w.opts.MaxMessages:
			w.answer(replyTooManyMsgs)
		default:
			if c, ok := w.readCommand(waitCommand); ok {
				w.dispatch(c)
			}
		}
	}
}

// panicked logs a panic under an incident number and ends the connection.
func (w *wire) panicked(v any) {
	w.log.panicked(shortName(), v, debug.Stack())
}

// readFailed answers the end of a connection while a command was awaited. What
// has come of an incomplete line is forgotten.
func (w *wire) readFailed(err error) {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		w.closing = true
	case w.stopped(stopIdle):
		w.answer(replyStopping)
	default:
		w.answer(replyIdle)
	}
}

// Close implements net.Conn: it sends what is pending and gives everything back.
func (w *wire) Close() error {
	w.once.Do(func() {
		w.closing = true
		w.linger(w.flush())
		if w.buffers != nil {
			w.out = w.out[:0]
			w.giveBuffers()
		}
		_ = w.conn.Close() // TLS says goodbye; its error has no reader
		_ = w.raw.Close()
		w.leave()
		w.srv.untrack(w)
		w.srv.conns.Done()
	})
	return nil
}

// linger reads on for a moment after the last reply. A close with unread input
// would make the kernel send a reset, which destroys a reply on its way.
func (w *wire) linger(flushed error) {
	raw := w.raw
	if p, ok := raw.(*proxyproto.Conn); ok {
		raw = p.Raw()
	}
	half, ok := raw.(interface{ CloseWrite() error })
	if flushed != nil || !ok || w.opts.Linger < 0 || w.stopped(stopAll) {
		return
	}
	if c, ok := w.conn.(*tls.Conn); ok {
		_ = c.CloseWrite() // close_notify; a failure shows in the next call
	}
	if half.CloseWrite() != nil {
		return
	}
	_ = w.raw.SetReadDeadline(time.Now().Add(w.opts.Linger))
	_, _ = io.Copy(io.Discard, io.LimitReader(w.raw, 1<<20)) // whatever ends it, we close
}

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return w.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return w.raw.RemoteAddr() }

// SetDeadline implements net.Conn; the wire keeps its own deadlines.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn; the wire keeps its own deadlines.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn; the wire keeps its own deadlines.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// sizeParam is the SIZE extension with our limit (RFC 1870).
func (w *wire) sizeParam() string {
	return "SIZE " + strconv.FormatInt(w.opts.MaxMessageBytes, 10)
}
