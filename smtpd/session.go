package smtpd

import (
	"io"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailchute/mailchute/auth"
)

// session is what go-smtp calls. Every error that it returns is a bare
// *smtp.SMTPError made of a reply: go-smtp does not unwrap, and tells the client
// the text of anything else.
type session struct{ w *wire }

var _ smtp.AuthSession = (*session)(nil)

// Reset implements smtp.Session.
func (s *session) Reset() { s.w.tx = transaction{} }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// Mail implements smtp.Session. The wire keeps transactions to itself, so
// go-smtp never gets here, nor to Rcpt and Data.
func (s *session) Mail(string, *smtp.MailOptions) error { return replyTemporary.smtpError() }

// Rcpt implements smtp.Session.
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return replyTemporary.smtpError() }

// Data implements smtp.Session.
func (s *session) Data(io.Reader) error { return replyTemporary.smtpError() }

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return mechanisms() }

// Auth implements smtp.AuthSession.
func (s *session) Auth(mech string) (sasl.Server, error) {
	if mech == sasl.Login {
		return &exchange{s, auth.NewLogin(s.w.verify)}, nil
	}
	return &exchange{s, auth.NewPlain(func(_, username, password string) error {
		return s.w.verify(username, password)
	})}, nil
}

// caught is the edge that every panic of a collaborator ends at.
func (s *session) caught(err *error) {
	if v := recover(); v != nil {
		s.w.panicked(v)
		s.w.hangup = true
		*err = replyPanic.smtpError()
	}
}

// exchange is one SASL exchange whose errors are replies.
type exchange struct {
	s    *session
	next sasl.Server
}

// Next implements sasl.Server.
func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	defer x.s.caught(&err)
	challenge, done, err = x.next.Next(response)
	if err != nil {
		return nil, false, x.s.w.authRefused(err).smtpError()
	}
	return challenge, done, nil
}
