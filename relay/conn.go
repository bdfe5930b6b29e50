package relay

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
)

// conn is one connection to a next hop. It knows lines, replies and deadlines; client.go knows the session.
type conn struct {
	raw      net.Conn // the transport; closing it ends every call on nc at once
	nc       net.Conn // raw, or TLS over it
	br       *bufio.Reader
	bw       *bufio.Writer
	timeouts Timeouts
	now      func() time.Time

	target target
	place  string // the host with the address that was dialled, for people
	remote string // the address that was reached
	ip     string // the same without its port
	pact   pact
	ext    extensions
	tls    store.TLS     // achieved
	secure string        // the same, for people
	flaw   tlsrpt.Result // what a report will say against it
	uses   int           // transactions begun
	taken  int           // messages that the host has taken
	unfit  bool          // for BDAT, although it is offered
	ended  bool          // the host has ended the session: 421, or the connection closed
	dirty  bool          // the last transaction did not end with its final dot: RSET comes first
	dead   bool          // no more commands
	pooled bool          // taken from the pool, and nothing answered since
	idle   *time.Timer

	room   [1]string   // for the text of a reply of one line, until the next
	talk   *transcript // of the attempt that uses the connection
	secret bool        // it authenticates: what is said now must not be recorded
}

const wireBuffer = 32 << 10

func newConn(raw net.Conn, h hop, timeouts Timeouts, now func() time.Time) *conn {
	place := h.host + " (" + h.address + ")"
	c := &conn{raw: raw, target: h.target, place: place, remote: raw.RemoteAddr().String(), pact: h.pact, flaw: h.pact.flaw, timeouts: timeouts, now: now}
	if at, err := netip.ParseAddrPort(c.remote); err == nil {
		c.ip = at.Addr().Unmap().String()
	}
	c.tls.Security = store.SecurityNone
	c.use(raw)
	return c
}

func (c *conn) use(nc net.Conn) {
	c.nc = nc
	c.br = bufio.NewReaderSize(nc, 4<<10)
	c.bw = bufio.NewWriterSize(&blockWriter{c}, wireBuffer)
}

// blockWriter gives every write to the network a deadline of its own, so that a peer which stops reading is noticed
// however long the whole message takes.
type blockWriter struct{ c *conn }

func (w *blockWriter) Write(p []byte) (int, error) {
	if err := w.c.nc.SetWriteDeadline(time.Now().Add(w.c.timeouts.Block)); err != nil {
		return 0, err
	}
	return w.c.nc.Write(p)
}

// guard ties the connection to ctx: when it ends, whatever the connection is waiting for fails at once. release undoes
// that and tells whether it came in time.
func (c *conn) guard(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { c.raw.Close() })
}

// kill closes the connection without a word.
func (c *conn) kill() {
	c.dead = true
	c.raw.Close()
}

// quit says good-bye and closes. The reply is not awaited: nothing depends on it.
func (c *conn) quit() {
	if !c.dead {
		deadline := time.Now().Add(c.timeouts.Quit)
		if c.nc.SetWriteDeadline(deadline) == nil {
			_, _ = io.WriteString(c.nc, "QUIT\r\n") // a courtesy; the connection is given up either way
		}
	}
	c.kill()
}

// line queues a command. It must not contain a line end: everything in it is built from parsed parts.
func (c *conn) line(s string) error {
	if strings.ContainsAny(s, "\r\n\x00") {
		return errors.New("command contains a line end")
	}
	c.talk.said(s, c.secret)
	if _, err := c.bw.WriteString(s); err != nil {
		return err
	}
	_, err := c.bw.WriteString("\r\n")
	return err
}

// command sends one command and returns the reply to it.
func (c *conn) command(ctx context.Context, phase string, wait time.Duration, s string) (wireReply, *fault) {
	if err := c.line(s); err != nil {
		return wireReply{}, c.broken(ctx, phase, err)
	}
	if f := c.flush(ctx, phase); f != nil {
		return wireReply{}, f
	}
	return c.reply(ctx, phase, wait)
}

func (c *conn) flush(ctx context.Context, phase string) *fault {
	if err := c.bw.Flush(); err != nil {
		return c.broken(ctx, phase, err)
	}
	return nil
}

// reply reads the next reply, which is valid until the one after it is read. The deadline holds for all of it, so that one
// octet a second does not extend it. After a 421 the peer closes, so the connection is of no more use (RFC 5321 3.8).
func (c *conn) reply(ctx context.Context, phase string, wait time.Duration) (wireReply, *fault) {
	if err := c.nc.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return wireReply{}, c.broken(ctx, phase, err)
	}
	r, err := readReply(c.br, c.room[:])
	if err != nil {
		return wireReply{}, c.broken(ctx, phase, err)
	}
	c.talk.heard(r, c.secret)
	if r.code == 421 {
		c.dead, c.ended = true, true
		f := refusal(c.stored(r, phase))
		f.fresh = c.pooled
		return r, f
	}
	c.pooled = false
	return r, nil
}

func (c *conn) stored(r wireReply, phase string) store.Reply {
	out := r.stored(c.target.host, phase, c.now())
	out.Address = c.ip
	return out
}

func (c *conn) refused(r wireReply, phase string) *fault { return refusal(c.stored(r, phase)) }

// full tells whether the session must take no further transaction, by our own limit or by what the host has named.
func (c *conn) full(limit int) bool {
	return c.uses >= limit || c.ext.maxMails > 0 && c.uses >= c.ext.maxMails
}

// broken ends the connection after an error. An error that our own cancellation caused is told as such.
func (c *conn) broken(ctx context.Context, phase string, err error) *fault {
	c.kill()
	detail := detailLost
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, errReplyMalformed), errors.Is(err, errReplyTooLong):
		detail = detailProtocol
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		c.ended = true
		err = errors.New("connection closed by the host")
	}
	c.talk.failed(fmt.Errorf("%s: %w", phase, err), c.secret)
	f := broken(phase, detail, fmt.Errorf("%s: %s: %w", c.target.host, phase, err), c.now())
	f.fresh = c.pooled
	return f
}

// startTLS runs the handshake on the connection as it is.
func (n *network) startTLS(ctx context.Context, c *conn) *fault {
	if err := c.raw.SetDeadline(time.Now().Add(c.timeouts.TLS)); err != nil {
		return c.broken(ctx, phaseTLS, err)
	}
	tc := tls.Client(c.raw, n.tlsConfig(c.target, c.pact))
	if err := tc.HandshakeContext(ctx); err != nil {
		f := c.broken(ctx, phaseTLS, err)
		f.handshake = ctx.Err() == nil
		if f.handshake {
			f.tls = tlsrpt.ResultOf(err)
		}
		f.reply.Enhanced = [3]int{4, detailTLS[0], detailTLS[1]}
		return f
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return c.broken(ctx, phaseTLS, err)
	}
	state := tc.ConnectionState()
	c.tls = achieved(c.target, c.pact, state)
	c.secure = words(c.tls)
	c.talk.remark(c.secure)
	if c.pact.testing && c.flaw == "" {
		c.flaw = n.rehearse(c.target.host, state)
	}
	c.use(tc)
	return nil
}

// demanded adds to a failed handshake who lets no mail go without it. It comes after the session was counted: what we demand
// is nothing for a report to the domain.
func (c *conn) demanded(f *fault) {
	what := "TLS"
	switch {
	case !f.handshake || c.target.tls == store.TLSOpportunistic:
		return
	case c.target.verified():
		what = "a valid certificate"
	}
	f.reply.Text += escape(fmt.Sprintf("; %s demands %s", c.pact.demander(), what))
}

// result is what a fault on this connection, or a success, means for a recipient.
func (c *conn) result(f *fault) Result {
	r := f.result(c.detail())
	r.TLS = c.tls
	return r
}

// detail describes the connection for the event of an attempt.
func (c *conn) detail() string {
	secure := cmp.Or(c.secure, "no TLS")
	if c.target.source.IsValid() {
		secure = fmt.Sprintf("from %s as %s, %s", c.target.source, cmp.Or(c.target.helo, "this server"), secure)
	}
	return "via " + c.target.host + " (" + c.remote + "), " + secure + ", message " + strconv.Itoa(c.uses) + " on this connection"
}
