package relay

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Options configures a Dispatcher. The zero value delivers with the system's resolver, roots and host name.
type Options struct {
	// Hostname is the name in EHLO, in notices and in their Message-ID; "" means the system's host name.
	Hostname string
	// Logger gets one record per business event; nil discards them.
	Logger *slog.Logger
	// Observer is called once per resolved attempt, from many goroutines at once; nil means none. It must not block.
	Observer func(Outcome)
	// Holder holds messages that need a person: damaged bodies and messages that made us panic. Every store.Operation is
	// one. Nil means that such messages are deferred instead, for four hours each time.
	Holder Holder

	// Signer signs what leaves; nil means that nothing is signed.
	Signer Signer
	// ReturnPath names the reverse-path for one recipient of a message, by its number among all of them. "" means the
	// client's own, as does nil.
	ReturnPath func(m store.Message, recipient int) string
	// Unsubscribe returns the fields that the copy of one recipient gets on top, below its signatures, by the recipient's
	// number among all of the message and its address; nil, and a nil result, mean none.
	Unsubscribe func(m store.Message, recipient int, address string) []byte
	// Suppressor is told of recipients that will never take mail; nil means nobody is.
	Suppressor Suppressor
	// Suppressions are the lists that are asked again at each attempt; nil means that acceptance alone asked.
	Suppressions Suppressions

	// Notes keeps what is counted for quotas and learned of sites over a restart; nil means that nothing is kept.
	Notes Notes
	// QuotaZone is where the days of daily quotas begin at midnight; nil means UTC.
	QuotaZone *time.Location

	// Limits bounds the attempts under way.
	Limits Limits
	// Timeouts are the deadlines of the phases of a session.
	Timeouts Timeouts
	// Pool bounds the reuse of connections.
	Pool PoolOptions
	// Policy is the retry schedule.
	Policy Policy
	// Delays is when senders are told that their mail waits.
	Delays DelayNotices
	// NoticeLifetime is how long we try to deliver a notice; 0 means 5 days.
	NoticeLifetime time.Duration
	// Lease is how long a claim lasts; 0 means 30 minutes. It must exceed Attempt and Timeouts.Dot together.
	Lease time.Duration
	// Attempt bounds one attempt up to its last final dot; 0 means 18 minutes.
	Attempt time.Duration
	// StopGrace is how long results are still offered to a failing store after Run was told to stop; 0 means 10 seconds.
	StopGrace time.Duration

	// Transport replaces the network; nil means SMTP under the options below.
	Transport Transport
	// Resolver finds mail hosts; nil means the system's.
	Resolver Resolver
	// Domains is told which domains take no mail; nil means that nobody is.
	Domains *DomainBook
	// DANE finds mail hosts and their TLSA records in the place of Resolver; nil means no DANE.
	DANE SecureResolver
	// STS finds the MTA-STS policies of domains; nil means none.
	STS PolicySource
	// TLSReports is told how TLS fared at each mail host; nil means nobody.
	TLSReports SessionRecorder
	// Dial opens connections; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// DialFrom opens connections for streams that name source addresses; nil means a net.Dialer.
	DialFrom func(ctx context.Context, source netip.Addr, network, address string) (net.Conn, error)
	// Listeners are the addresses at which this server takes mail itself. Those on MXPort are no mail hosts for us to
	// send to.
	Listeners []netip.AddrPort
	// MXPort is the port of direct delivery; 0 means 25.
	MXPort int
	// AllowPrivate permits direct delivery to loopback, private and other special addresses. By default they are
	// refused: a recipient domain must not be a way to reach the operator's own network.
	AllowPrivate bool
	// RootCAs verifies smarthosts, and mail hosts under MTA-STS or a route that demands it; nil means the system's roots.
	RootCAs *x509.CertPool
	// ReadPassword returns the password in a file, which is read at each use; nil reads the file and removes one line
	// end. What it returns is never logged.
	ReadPassword func(path string) (string, error)

	// Now is the clock of everything that is stored; nil means time.Now.
	Now func() time.Time
	// Rand returns a number in [0,1) for jitter and for the order of equal MX hosts; nil means math/rand/v2.
	Rand func() float64
}

// Holder puts messages aside for a person to look at.
type Holder interface {
	// Amend is store.Operation.Amend.
	Amend(ctx context.Context, a store.Amendment, by string, now time.Time, ids ...store.ID) (int, error)
}

// Limits bounds the attempts under way at one time. A zero field means the default, which is never "no limit".
type Limits struct {
	Total          int // in all; 200
	PerDestination int // to one domain, all streams together; 10
	PerSmarthost   int // to one smarthost, all streams together; 50
	PerStream      int // of one stream; Total
}

// Timeouts are the deadlines of RFC 5321 4.5.3.2 and of what surrounds them. A zero field means the default.
type Timeouts struct {
	Connect time.Duration // TCP; 30 seconds
	Banner  time.Duration // greeting; 5 minutes
	Hello   time.Duration // EHLO, HELO, STARTTLS, AUTH and RSET, each; 5 minutes
	TLS     time.Duration // handshake; 1 minute
	Mail    time.Duration // 5 minutes
	Rcpt    time.Duration // each; 5 minutes
	Data    time.Duration // DATA until 354; 2 minutes
	Block   time.Duration // each block of the body; 3 minutes
	Dot     time.Duration // final dot until its reply; 10 minutes
	Quit    time.Duration // sending QUIT, whose reply is not awaited; 1 second
	DNS     time.Duration // each lookup; 20 seconds
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Connect, 30 * time.Second}, {&t.Banner, 5 * time.Minute}, {&t.Hello, 5 * time.Minute}, {&t.TLS, time.Minute},
		{&t.Mail, 5 * time.Minute}, {&t.Rcpt, 5 * time.Minute}, {&t.Data, 2 * time.Minute}, {&t.Block, 3 * time.Minute},
		{&t.Dot, 10 * time.Minute}, {&t.Quit, time.Second}, {&t.DNS, 20 * time.Second},
	} {
		setDefault(d.field, d.value)
	}
	return t
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Total, 200)
	setDefault(&l.PerDestination, 10)
	setDefault(&l.PerSmarthost, 50)
	setDefault(&l.PerStream, l.Total)
	return l
}

func (o Options) withDefaults() Options {
	o.Limits, o.Timeouts, o.Pool, o.Policy = o.Limits.withDefaults(), o.Timeouts.withDefaults(), o.Pool.withDefaults(), o.Policy.withDefaults()
	setDefault(&o.Hostname, systemHostname())
	setDefault(&o.NoticeLifetime, 5*24*time.Hour)
	setDefault(&o.Delays.After, 4*time.Hour)
	setDefault(&o.Lease, 30*time.Minute)
	setDefault(&o.Attempt, 18*time.Minute)
	setDefault(&o.StopGrace, 10*time.Second)
	setDefault(&o.MXPort, 25)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Resolver == nil {
		o.Resolver = NetResolver{R: &net.Resolver{PreferGo: true}}
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.DialFrom == nil {
		o.DialFrom = dialFrom
	}
	if o.ReadPassword == nil {
		o.ReadPassword = readPasswordFile
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.QuotaZone == nil {
		o.QuotaZone = time.UTC
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

func (o Options) check() error {
	if o.Lease <= o.Attempt+o.Timeouts.Dot {
		return fmt.Errorf("relay lease %v is not longer than one attempt (%v) with its final dot (%v)", o.Lease, o.Attempt, o.Timeouts.Dot)
	}
	for _, n := range []int{o.Limits.Total, o.Limits.PerDestination, o.Limits.PerSmarthost, o.Limits.PerStream} {
		if n < 0 {
			return fmt.Errorf("relay limit %d is negative", n)
		}
	}
	return o.Policy.check()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func systemHostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// readPasswordFile trims one line end and no other white space, which could be part of the password.
func readPasswordFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
