package testmx

import (
	"crypto/tls"
	"net/netip"
	"time"
)

// Phase is a point of a session at which the server answers.
type Phase string

// The phases in the order of a session. Body is reached when the first octets of the content have come, Dot at its end.
const (
	Connect  Phase = "connect"
	Hello    Phase = "ehlo"
	StartTLS Phase = "starttls"
	Auth     Phase = "auth"
	Mail     Phase = "mail"
	Rcpt     Phase = "rcpt"
	Data     Phase = "data"
	Body     Phase = "body"
	Dot      Phase = "dot"
	Reset    Phase = "rset"
	Quit     Phase = "quit"
)

// Step is what happens at a phase instead of the normal answer. The zero Step is the normal answer. Of several fields the
// first in this order acts: Stall, Endless, Raw, Reply; then Drop.
type Step struct {
	// Reply is the answer, lines separated by "\n", without the final line end. A command that it refuses has no effect.
	Reply string
	// Raw is sent as it is, in place of a reply.
	Raw string
	// Drop closes the connection after the answer, or in place of one when there is none.
	Drop bool
	// Stall answers nothing until Release, then goes on normally. The connection stays open.
	Stall bool
	// Endless sends a multi-line reply that never ends, until the client is gone or 64 MiB were sent.
	Endless bool
	// Drip sends the answer one octet at a time with this pause after each.
	Drip time.Duration
	// Take makes the command effective whatever the answer says: at Dot the message counts as accepted although the client
	// does not learn it.
	Take bool
	// Always keeps this step for all further times.
	Always bool
}

// TLSMode is how a server speaks TLS.
type TLSMode int

// The zero TLSMode offers STARTTLS.
const (
	OfferTLS    TLSMode = iota // STARTTLS
	NoTLS                      // none
	ImplicitTLS                // from the first octet
	BrokenTLS                  // STARTTLS is offered and agreed to, and the handshake fails
)

// Script is the behaviour of a server.
type Script struct {
	// Hostname is the name in the greeting and in the certificate; "" means mx.test.
	Hostname string
	// Lack names EHLO keywords that are not offered: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN, ENHANCEDSTATUSCODES.
	Lack []string
	// Chunking offers CHUNKING and takes BDAT. The steps of Body and Dot hold for it, too.
	Chunking bool
	// RequireTLS offers REQUIRETLS within TLS.
	RequireTLS bool
	// Extra are further EHLO lines, such as "SIZE 1000".
	Extra []string
	// NoEHLO answers 502 to EHLO, so that only HELO works.
	NoEHLO bool
	// TLS is the kind of TLS, CertNames the names in the certificate if not those of the server; the certificate is
	// issued by the CA of the server.
	TLS       TLSMode
	CertNames []string
	// Expired lets the certificate be one that ran out an hour ago.
	Expired bool
	// Inject is sent in the same packet as the reply to STARTTLS.
	Inject string
	// Users are the passwords of those who may log in. If there are any, AUTH PLAIN and LOGIN are offered and demanded
	// before MAIL.
	Users map[string]string
	// Mechanisms are the AUTH mechanisms offered; nil means PLAIN and LOGIN.
	Mechanisms []string
	// Steps are the exceptions, by phase.
	Steps map[Phase][]Step
	// Rcpt are exceptions for single recipients, by the address as the client wrote it; they come before Steps[Rcpt].
	Rcpt map[string][]Step
	// Transactions is how many MAIL commands a session takes, 0 for any number. To the next command that would begin one,
	// RSET included, the answer is Full; the zero Full means 421.
	Transactions int
	Full         Step
	// CA issues the certificate; nil means one of the server's own.
	CA *CA
}

func (s Script) withDefaults() Script {
	if s.Hostname == "" {
		s.Hostname = "mx.test"
	}
	if s.CertNames == nil {
		s.CertNames = []string{s.Hostname, "127.0.0.1", "localhost"}
	}
	if s.Full == (Step{}) {
		s.Full.Reply = "421 4.7.0 too many messages in this session"
	}
	if s.Mechanisms == nil {
		s.Mechanisms = []string{"PLAIN", "LOGIN"}
	}
	return s
}

// Message is one message that was accepted, as it came.
type Message struct {
	Conn   int // number of the connection, from 1
	Client netip.Addr
	Hello  string // argument of EHLO or HELO
	TLS    bool
	User   string // who logged in
	From   string // between the angle brackets
	Params string // after them, as written
	To     []Recipient
	Body   []byte // octets of the content, dots unstuffed
}

// Recipient is one accepted RCPT.
type Recipient struct {
	Address string
	Params  string
}

// Credential is one attempt to log in.
type Credential struct {
	Mechanism, Username, Password string
	OK, TLS                       bool
}

func (s Script) tlsConfig(ca *CA) *tls.Config {
	until := time.Now().Add(24 * time.Hour)
	if s.Expired {
		until = time.Now().Add(-time.Hour)
	}
	return &tls.Config{Certificates: []tls.Certificate{ca.issue(until, s.CertNames)}, MinVersion: tls.VersionTLS12}
}
