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

// Mail implements smtp.Session. The address and options are ours, see cmdMail.
func (s *session) Mail(string, *smtp.MailOptions) (err error) {
	defer s.caught(&err)
	return s.verdict(s.w.mail())
}

// Rcpt implements smtp.Session. The address and options are ours, see cmdRcpt.
func (s *session) Rcpt(string, *smtp.RcptOptions) (err error) {
	defer s.caught(&err)
	return s.verdict(s.w.recipient())
}

// Data implements smtp.Session. It leaves go-smtp's reader alone.
func (s *session) Data(io.Reader) (err error) {
	defer s.caught(&err)
	return s.w.receive().smtpError()
}

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

// verdict turns a reply into go-smtp's terms; "" is success.
func (s *session) verdict(r reply) error {
	if r == "" {
		return nil
	}
	return r.smtpError()
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
