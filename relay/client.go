package relay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
)

// target is one place to connect to, with all that decides whether a connection may be shared. It is the key of the pool.
type target struct {
	host     string // for TLS and for people
	address  string // to dial
	tls      store.TLSMode
	username string     // "" means no AUTH
	password string     // the file, never the password
	source   netip.Addr // invalid: any
	helo     string     // our name there; "" means Options.Hostname
	proof    string     // what the certificate was checked against, where tls does not say it all
}

// verified tells whether the host is known to be the one meant.
func (t target) verified() bool {
	switch t.tls {
	case store.TLSStartTLS, store.TLSImplicit, store.TLSVerified, modeDANE:
		return true
	}
	return false
}

// extensions is what EHLO offered and we use.
type extensions struct {
	pipelining, eightBit, utf8, dsn, starttls bool
	chunking, requireTLS                      bool
	size                                      bool
	maxSize                                   int64 // 0: no limit named
	maxMails, maxRcpts                        int   // transactions in a session, recipients in one (RFC 9422); 0: no limit named
	auth                                      []string
}

// maxKeywords bounds how much of an EHLO reply is looked at.
const maxKeywords = 64

func parseExtensions(lines []string) extensions {
	var e extensions
	if len(lines) > maxKeywords+1 {
		lines = lines[:maxKeywords+1]
	}
	for _, l := range lines[min(1, len(lines)):] {
		words := strings.Fields(strings.ToUpper(l))
		if len(words) == 0 {
			continue
		}
		e.keyword(words[0], words[1:])
	}
	return e
}

func (e *extensions) keyword(name string, args []string) {
	switch {
	case name == "PIPELINING":
		e.pipelining = true
	case name == "REQUIRETLS":
		e.requireTLS = true
	case name == "CHUNKING":
		e.chunking = true
	case name == "8BITMIME":
		e.eightBit = true
	case name == "SMTPUTF8":
		e.utf8 = true
	case name == "DSN":
		e.dsn = true
	case name == "STARTTLS":
		e.starttls = true
	case name == "SIZE":
		e.size = true
		if len(args) > 0 {
			e.maxSize = parseSize(args[0])
		}
	case name == "LIMITS":
		e.limits(args)
	case name == "AUTH":
		e.auth = append(e.auth, args...)
	case strings.HasPrefix(name, "AUTH="): // a form of the time before RFC 2554
		e.auth = append(append(e.auth, strings.TrimPrefix(name, "AUTH=")), args...)
	}
}

// limits reads what RFC 9422 4 lets a host say of itself. What is not a positive number is no limit.
func (e *extensions) limits(args []string) {
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		n, ok := smallNumber(value)
		switch {
		case !ok:
		case name == "MAILMAX":
			e.maxMails = n
		case name == "RCPTMAX":
			e.maxRcpts = n
		}
	}
}

// parseSize reads a size of up to 20 digits (RFC 1870 4); one beyond int64 is as good as no limit.
func parseSize(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64
	}
	return max(n, 0)
}

// connect opens a session: TCP, greeting, EHLO, TLS, AUTH. Where TLS is opportunistic and its handshake fails, the host is
// tried once more without.
func (n *network) connect(ctx context.Context, h hop) (*conn, *fault) {
	c, f := n.open(ctx, h, true)
	if f != nil && f.handshake && h.tls == store.TLSOpportunistic {
		plain, again := n.open(ctx, h, false)
		if plain != nil {
			plain.secure = "no TLS after a failed handshake"
		}
		return plain, again
	}
	return c, f
}

func (n *network) open(ctx context.Context, h hop, useTLS bool) (*conn, *fault) {
	c, f := n.dial(ctx, h)
	if f != nil {
		return nil, f
	}
	release := c.guard(ctx)
	f = n.introduce(ctx, c, useTLS)
	if !release() && f == nil {
		f = c.broken(ctx, phaseConnect, context.Cause(ctx))
	}
	if useTLS {
		n.recordSession(c, f)
	}
	if f != nil {
		c.demanded(f)
		c.quit()
		return nil, f
	}
	return c, nil
}

func (n *network) dial(ctx context.Context, h hop) (*conn, *fault) {
	dialCtx, cancel := context.WithTimeoutCause(ctx, n.opts.Timeouts.Connect, errors.New("no connection in time"))
	defer cancel()
	end := n.race(dialCtx, h)
	raw, err := end.conn, end.err
	if err != nil {
		if dialCtx.Err() != nil {
			err = context.Cause(dialCtx)
		}
		transcriptOf(ctx).note("connecting to %s (%s): %v", h.host, h.address, err)
		f := broken(phaseConnect, detailNoAnswer, fmt.Errorf("connecting to %s (%s): %w", h.host, h.address, err), n.opts.Now())
		if f.short = shortage(err); f.short {
			f.reply.Enhanced = [3]int{4, detailLocal[0], detailLocal[1]}
		}
		f.nowhere = errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
		return nil, f
	}
	if end.address != h.address {
		transcriptOf(ctx).note("%s keeps silent", h.address)
		h.address = end.address
	}
	c := newConn(raw, h, n.opts.Timeouts, n.opts.Now)
	c.talk = transcriptOf(ctx)
	c.talk.remark("connected to " + c.place)
	return c, nil
}

func (n *network) introduce(ctx context.Context, c *conn, useTLS bool) *fault {
	if c.target.tls == store.TLSImplicit {
		if f := n.startTLS(ctx, c); f != nil {
			return f
		}
	}
	r, f := c.reply(ctx, phaseConnect, n.opts.Timeouts.Banner)
	if f != nil {
		return f
	}
	if r.code/100 != 2 {
		return c.refused(r, phaseConnect)
	}
	if f := n.hello(ctx, c); f != nil {
		return f
	}
	if f := n.secure(ctx, c, useTLS); f != nil {
		return f
	}
	return n.login(ctx, c)
}

// hello says EHLO, or HELO to a host that knows no extensions (RFC 5321 3.2).
func (n *network) hello(ctx context.Context, c *conn) *fault {
	r, f := c.command(ctx, phaseHello, n.opts.Timeouts.Hello, "EHLO "+n.name(c.target))
	if f != nil {
		return f
	}
	if r.code/100 == 2 {
		c.ext = parseExtensions(r.lines)
		return nil
	}
	if r.code/100 != 5 || r.code == 521 || r.code == 554 || r.code == 556 {
		return c.refused(r, phaseHello)
	}
	c.ext = extensions{}
	r, f = c.command(ctx, phaseHello, n.opts.Timeouts.Hello, "HELO "+n.name(c.target))
	if f == nil && r.code/100 != 2 {
		f = c.refused(r, phaseHello)
	}
	return f
}

// secure starts TLS where the route asks for it and greets again: what was said before counts no more (RFC 3207 4.2).
func (n *network) secure(ctx context.Context, c *conn, useTLS bool) *fault {
	mode := c.target.tls
	switch {
	case mode == store.TLSImplicit || mode == store.TLSNone || !useTLS:
		return nil
	case !c.ext.starttls && mode == store.TLSOpportunistic:
		return nil
	case !c.ext.starttls:
		f := broken(phaseTLS, detailTLS, fmt.Errorf("%s %w, which %s demands", c.target.host, errNoSTARTTLS, c.pact.demander()), n.opts.Now())
		f.tls = tlsrpt.STARTTLSNotSupported
		return f
	}
	r, f := c.command(ctx, phaseTLS, n.opts.Timeouts.Hello, "STARTTLS")
	if f != nil {
		return f
	}
	if r.code != 220 {
		if mode == store.TLSOpportunistic {
			return nil
		}
		f := c.refused(r, phaseTLS)
		f.tls = tlsrpt.STARTTLSNotSupported
		return f
	}
	if c.br.Buffered() > 0 {
		// Somebody between us and the host has put words in front of the TLS session that would be taken for its own.
		return c.broken(ctx, phaseTLS, fmt.Errorf("%w: text follows the reply to STARTTLS", errReplyMalformed))
	}
	if f := n.startTLS(ctx, c); f != nil {
		return f
	}
	return n.hello(ctx, c)
}

// login authenticates. The password is read now, so that a changed file needs no restart, and leaves this function only
// towards the host: no error of ours contains it, and neither does a reply that echoes it.
func (n *network) login(ctx context.Context, c *conn) *fault {
	t := c.target
	if t.username == "" {
		return nil
	}
	if !t.verified() && t.tls != store.TLSNone {
		return broken(phaseAuth, detailAuth, fmt.Errorf("%s: a password is not sent over unverified TLS", t.host), n.opts.Now())
	}
	password, err := n.opts.ReadPassword(t.password)
	if err != nil {
		return broken(phaseAuth, detailLocal, fmt.Errorf("reading the password file for %s: %w", t.host, withoutPath(err)), n.opts.Now())
	}
	c.secret = true
	defer func() { c.secret = false }()
	var r wireReply
	var f *fault
	switch {
	case offers(c.ext.auth, "PLAIN"):
		r, f = c.command(ctx, phaseAuth, n.opts.Timeouts.Hello, "AUTH PLAIN "+encode("\x00"+t.username+"\x00"+password))
	case offers(c.ext.auth, "LOGIN"):
		r, f = n.loginLogin(ctx, c, password)
	default:
		return broken(phaseAuth, detailAuth, fmt.Errorf("%s offers neither AUTH PLAIN nor LOGIN", t.host), n.opts.Now())
	}
	if f == nil && r.code != 235 {
		f = c.refused(r, phaseAuth)
	}
	if f != nil && password != "" {
		f.conceal(t.username, password)
	}
	return f
}

// withoutPath leaves out where a file of this machine lies: timelines are shown to customers too.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func (n *network) loginLogin(ctx context.Context, c *conn, password string) (wireReply, *fault) {
	r, f := c.command(ctx, phaseAuth, n.opts.Timeouts.Hello, "AUTH LOGIN")
	for _, answer := range []string{c.target.username, password} {
		if f != nil || r.code != 334 {
			return r, f
		}
		r, f = c.command(ctx, phaseAuth, n.opts.Timeouts.Hello, encode(answer))
	}
	return r, f
}

func offers(mechanisms []string, name string) bool {
	for _, m := range mechanisms {
		if m == name {
			return true
		}
	}
	return false
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// conceal removes a password that a host repeats in its reply, in all forms in which it was sent. What is no reply is
// not shown at all, since an excerpt could hold a part of it.
func (f *fault) conceal(username, password string) {
	if errors.Is(f.err, errReplyMalformed) {
		f.err = errReplyMalformed
		f.reply.Text = escape(f.err.Error())
	}
	for _, secret := range []string{password, encode(password), encode("\x00" + username + "\x00" + password)} {
		f.reply.Text = strings.ReplaceAll(f.reply.Text, secret, "***")
	}
}
