package smtpd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/mailchute/mailchute/auth"
)

// mechanisms are the SASL mechanisms offered.
func mechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// cmdAuth hands go-smtp an AUTH that it cannot misjudge: it would answer base64
// that is none with a temporary code, and take AUTH at any time.
func (w *wire) cmdAuth(c command) {
	words := strings.Fields(c.arg)
	w.authTried = true
	switch {
	case w.hello == "":
		w.answer(replyHelloFirst)
	case w.srv.receiving:
		w.answer(replyNotImplemented)
	case !w.mayAuth():
		w.exposed(words)
		w.answer(replyAuthNeedsTLS)
	case w.authed:
		w.answer(replyAuthTwice)
	case w.tx.open:
		w.answer(replyAuthInMail)
	case len(words) == 0 || len(words) > 2:
		w.answer(replyAuthSyntax)
	case upperASCII(words[0]) != sasl.Plain && upperASCII(words[0]) != sasl.Login:
		w.answer(replyAuthMechanism)
	case len(words) == 2 && !isBase64(words[1]):
		w.answer(replyAuthMalformed)
	default:
		w.hand("AUTH "+strings.Join(words, " "), expectAuth)
	}
}

// exposed reports a secret that was sent in clear although we did not offer it.
func (w *wire) exposed(words []string) {
	if len(words) > 1 && words[1] != "=" {
		w.log.authInClear()
	}
}

// isBase64 tells whether go-smtp can decode a SASL response. "=" is the empty
// one (RFC 4954 4).
func isBase64(s string) bool {
	if s == "=" {
		return true
	}
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// readResponse hands go-smtp the next response of a running exchange. One that
// is no response cancels the exchange, with our answer in place of go-smtp's.
func (w *wire) readResponse() {
	if w.stopped(stopIdle) {
		w.authing = false
		w.answer(replyStopping)
		return
	}
	line, fits, err := w.readLine(waitCommand, maxAuthLine)
	if err != nil {
		w.authing = false
		w.readFailed(err)
		return
	}
	text := bytes.TrimSuffix(line, []byte("\r\n"))
	switch {
	case !fits:
		w.override = replyAuthTooLong
	case len(text) == len(line):
		w.override = w.bareLF()
	case string(text) == "*":
		w.override = replyAuthCancelled
	case !isBase64(string(text)):
		w.override = replyAuthMalformed
	}
	w.authing = false
	if w.override != "" {
		text = []byte("*")
	}
	w.pass = append(append(w.pass[:0], text...), "\r\n"...)
}

// verify asks who the client is. The delay for a wrong answer is kept here,
// holding nothing but this connection.
func (w *wire) verify(username, password string) error {
	var p auth.Principal
	var err error
	aside(func() {
		p, err = w.srv.auth.SMTP(w.srv.running, w.client, username, password)
		if err == nil {
			w.log.authenticated(p)
		}
	})
	if err != nil {
		w.pause(auth.DelayOf(err))
		return err
	}
	w.principal, w.authed = p, true
	return nil
}

// aside runs f on a stack of its own. The collector takes back half of a stack
// only where it is hardly used, which that of a waiting connection is not: one
// that has logged in and waits for its first message would keep 4 KiB more.
func aside(f func()) {
	done := make(chan any)
	go func() {
		defer func() {
			v := recover()
			if v != nil {
				v = fmt.Sprintf("%v\n%s", v, debug.Stack())
			}
			done <- v
		}()
		f()
	}()
	if v := <-done; v != nil {
		panic(v)
	}
}

// authRefused counts a failed login; the last one allowed ends the connection.
func (w *wire) authRefused(err error) reply {
	r := authReply(err)
	if r == replyAuthDenied {
		w.authFailed++
		if w.opts.MaxAuthFailures > 0 && w.authFailed >= w.opts.MaxAuthFailures {
			r = replyAuthTooMany
		}
	}
	w.log.authFailed(r, err)
	return r
}
