// Package smtpbase is the yardstick of "mailchute bench": go-smtp as it comes,
// with a backend that lets everyone in and forgets every message. What it takes
// in a second is the most that a server on go-smtp could take without keeping
// anything.
package smtpbase

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"
)

// Run serves plain, and secure with TLS from the first octet, until ctx ends,
// and closes both. Connections that are open then are cut. It returns nil after
// a stop, and the error of the listener that failed otherwise.
func Run(ctx context.Context, plain, secure net.Listener, config *tls.Config) error {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return session{}, nil }))
	s.Domain, s.AllowInsecureAuth, s.EnableSMTPUTF8, s.EnableDSN = "base.example", true, true, true
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range []net.Listener{plain, tls.NewListener(secure, config)} {
		g.Go(func() error { return closed(s.Serve(l)) })
	}
	g.Go(func() error {
		<-ctx.Done()
		return closed(errors.Join(plain.Close(), secure.Close(), s.Close()))
	})
	return g.Wait()
}

// closed takes the errors of an orderly stop away.
func closed(err error) error {
	if errors.Is(err, smtp.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// session is one for whom all is well.
type session struct{}

// AuthMechanisms implements smtp.AuthSession.
func (session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, _ string) error { return nil }), nil
}

// Reset implements smtp.Session.
func (session) Reset() {}

// Logout implements smtp.Session.
func (session) Logout() error { return nil }

// Mail implements smtp.Session.
func (session) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }

// Data implements smtp.Session.
func (session) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
