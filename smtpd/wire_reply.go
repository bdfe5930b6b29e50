package smtpd

import (
	"bytes"
	"strings"
)

// expect names the command that go-smtp is answering.
type expect int

const (
	expectBanner expect = iota // before any command
	expectHello
	expectAuth
	expectReset
	expectQuit
	expectNothing // only a panic of go-smtp speaks now
)

// Write implements net.Conn for go-smtp. Complete final reply lines go to the
// rule of their command; continuation lines are left out, ours replace them.
func (w *wire) Write(p []byte) (int, error) {
	rest := p
	if len(w.partial) > 0 {
		rest = append(w.partial, p...)
	}
	for {
		line, more, whole := bytes.Cut(rest, []byte("\r\n"))
		if !whole {
			w.partial = append(w.partial[:0], rest...)
			return len(p), nil
		}
		if len(line) < 4 || line[3] != '-' {
			w.library(reply(line))
		}
		rest = more
	}
}

// library takes one final reply of go-smtp.
func (w *wire) library(r reply) {
	e := w.expect
	switch {
	case w.closing:
		return
	case e == expectAuth && r.code() == 334:
		w.authing = true
		w.line(r)
		return
	}
	w.expect = expectNothing
	w.authing = false
	if w.override != "" {
		r, w.override = w.override, ""
	}
	w.final(e, r)
}

// final puts our words for go-smtp's into the final reply of a command.
func (w *wire) final(e expect, r reply) {
	ok := r.code() == 250
	switch {
	case e == expectBanner:
		w.answer(replyBanner(w.opts.Hostname))
	case e == expectHello && ok:
		w.hello = w.nextHello
		w.put(w.greeting())
	case e == expectAuth && r.code() == 235:
		w.authTried = false
		w.answer(replyAuthOK)
	case e == expectReset && ok:
		w.answer(replyReset)
	case e == expectQuit:
		w.answer(replyBye)
	case e == expectNothing && r.code() == 421:
		w.answer(replyPanic)
	case e == expectAuth && r == replyAuthDenied:
		w.say(r) // failed logins have a limit of their own
	default:
		w.answer(r)
	}
}

// greeting is the answer to EHLO or HELO.
func (w *wire) greeting() string {
	if !w.extended {
		return replyHello(w.opts.Hostname)
	}
	extensions := []string{"PIPELINING", w.sizeParam(), "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"}
	if !w.srv.receiving { // what comes back is never answered with a notice
		extensions = append(extensions, "DSN")
	}
	if w.tls != nil {
		extensions = append(extensions, "REQUIRETLS")
	} else if w.srv.tls != nil {
		extensions = append(extensions, "STARTTLS")
	}
	if w.mayAuth() {
		extensions = append(extensions, "AUTH "+strings.Join(mechanisms(), " "))
	}
	return replyHello(w.opts.Hostname, extensions...)
}

// mayAuth tells whether a secret may be sent over this connection.
func (w *wire) mayAuth() bool {
	return !w.srv.receiving && (w.tls != nil || contains(w.opts.CleartextAuth, w.client))
}

// answer queues a reply and counts it if it is an error of the client, slowing
// down who makes many. A reply that puts a client over the limit is its last.
func (w *wire) answer(r reply) {
	if w.closing {
		return
	}
	if r.code() >= 400 {
		w.errors++
		if w.opts.MaxErrors >= 0 && w.errors > w.opts.MaxErrors/2 {
			w.pause(w.opts.ErrorDelay)
		}
	}
	w.say(r)
	if !w.closing && w.tooMany(w.errors+1, w.opts.MaxErrors, crowdedErrors) {
		w.say(replyTooManyErrors)
	}
}

// The limits of errors and commands without effect while the server is crowded.
const (
	crowdedErrors = 3
	crowdedNoops  = 10
)

// tooMany tells whether n is beyond the limit that holds now.
func (w *wire) tooMany(n, limit, crowded int) bool {
	return over(n, limit) || over(n, min(limit, crowded)) && w.srv.gate.crowded()
}

// say queues a reply and ends the connection where the reply does. It is the
// only way for a reply to reach the client but for 354, 334 and the lines of
// EHLO.
func (w *wire) say(r reply) {
	if w.closing {
		return
	}
	w.line(r)
	if r.closes() || w.hangup {
		w.cut(r)
	}
}

// cut ends the connection behind what has been answered.
func (w *wire) cut(r reply) {
	w.closing = true
	if r != replyBye {
		w.log.cut(r)
	}
}
