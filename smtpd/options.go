package smtpd

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"time"
)

// Options tunes a Server. Zero values mean the defaults named; a negative limit
// or duration switches its rule off.
type Options struct {
	Hostname string       // our name in banner and replies; required
	TLS      *tls.Config  // nil: no STARTTLS, no implicit TLS. Its GetCertificate is asked at each handshake
	Log      *slog.Logger // nil: no log

	// CleartextAuth lists the networks that may authenticate without TLS; nil
	// means loopback, empty means none.
	CleartextAuth []netip.Prefix
	// AllowPrivateLiterals takes recipients such as user@[10.0.0.1], which
	// otherwise would let clients reach the operator's own network.
	AllowPrivateLiterals bool
	// SingleLabelDomains are the dotless domains that envelope addresses may
	// have, such as localhost.
	SingleLabelDomains []string
	// Healthy is asked at MAIL. An error that wraps store.ErrFull answers 452,
	// store.ErrClosed 421, any other 451. nil means always healthy.
	Healthy func() error

	MaxConns          int // connections in all, about 20 KB each while idle; 10,000
	MaxConnsPerNet    int // connections of one IPv4 address or IPv6 /64, the loopback too; 50
	NewConnsPerMinute int // new connections of such a network in a minute; 300

	MaxMessageBytes int64 // octets of a message; 50 MiB
	MaxRecipients   int   // recipients of a message; 1,000
	MaxMessages     int   // messages on a connection; 1,000
	MaxCommands     int   // commands on a connection since its last accepted message; 3 × MaxRecipients + 1,000
	MaxErrors       int   // errors on a connection; 20, but 3 while over 80 % of MaxConns are in use. From the half on, each one is answered after ErrorDelay
	MaxNoops        int   // commands without effect since the last accepted message; 100, but 10 while so many are in use
	MaxAuthFailures int   // the failed AUTH that closes the connection; 3
	MaxLine         int   // octets of a command line; 2,048

	Idle         time.Duration // wait for a complete command; 5 min
	Write        time.Duration // wait for the client to take a reply; 1 min
	Handshake    time.Duration // TLS handshake, and PROXY header; 30 s
	GreetDelay   time.Duration // how long the client must be silent before the banner; 5 ms
	ErrorDelay   time.Duration // 1 s
	RateWindow   time.Duration // what MinRate is averaged over; 60 s
	MinRate      int64         // octets a second of an upload; 500
	MaxUpload    time.Duration // one whole DATA or BDAT transfer; 60 min
	DrainTimeout time.Duration // reading on after a refused message; 60 s
	Linger       time.Duration // reading on after the last reply, so that it is not lost; 500 ms
	Grace        time.Duration // for running transfers at a stop; 30 s
}

// maxAuthLine is the limit of AUTH and its continuations (RFC 4954 4).
const maxAuthLine = 12288

func (o Options) withDefaults() Options {
	setDefault(&o.MaxConns, 10000)
	setDefault(&o.MaxConnsPerNet, 50)
	setDefault(&o.NewConnsPerMinute, 300)
	setDefault(&o.MaxMessageBytes, 50<<20)
	setDefault(&o.MaxRecipients, 1000)
	setDefault(&o.MaxMessages, 1000)
	setDefault(&o.MaxCommands, 3*o.MaxRecipients+1000)
	setDefault(&o.MaxErrors, 20)
	setDefault(&o.MaxNoops, 100)
	setDefault(&o.MaxAuthFailures, 3)
	setDefault(&o.MaxLine, 2048)
	setDefault(&o.Idle, 5*time.Minute)
	setDefault(&o.Write, time.Minute)
	setDefault(&o.Handshake, 30*time.Second)
	setDefault(&o.GreetDelay, 5*time.Millisecond)
	setDefault(&o.ErrorDelay, time.Second)
	setDefault(&o.RateWindow, time.Minute)
	setDefault(&o.MinRate, 500)
	setDefault(&o.MaxUpload, time.Hour)
	setDefault(&o.DrainTimeout, time.Minute)
	setDefault(&o.Linger, 500*time.Millisecond)
	setDefault(&o.Grace, 30*time.Second)
	if o.CleartextAuth == nil {
		o.CleartextAuth = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// validate refuses what would leave a session without any bound, or could not
// be told to a client.
func (o Options) validate() error {
	switch {
	case o.Hostname == "" || len(o.Hostname) > 255 || !printable(o.Hostname):
		return errors.New("hostname is missing or not printable ASCII")
	case o.MaxMessageBytes < 0 || o.MaxRecipients < 0:
		return errors.New("message size and recipients need a limit")
	case o.MaxLine < 512 || o.MaxLine > lineBuffer/4:
		return errors.New("command lines need a limit between 512 and 4,096 octets")
	case o.Idle < 0 || o.Write < 0 || o.Handshake < 0 || o.DrainTimeout < 0 || o.Grace < 0:
		return errors.New("idle, write, handshake, drain and grace times cannot be unlimited")
	case o.MinRate >= 0 && o.RateWindow < 0:
		return errors.New("a minimum upload rate needs a window")
	}
	return nil
}

// over tells whether n is beyond limit; a negative limit is none.
func over(n, limit int) bool { return limit >= 0 && n > limit }
