package store

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Role is what a user may do in the account.
type Role string

// The four roles. Owner and Admin act on the whole account; the other two on
// the servers listed with the user.
const (
	Owner        Role = "owner"
	Admin        Role = "admin"
	ServerAdmin  Role = "server-admin"
	ServerViewer Role = "server-viewer"
)

// DeliveryType tells whether a server's mail may leave.
type DeliveryType string

// A Sandbox server captures every message, whatever its streams say.
const (
	Live    DeliveryType = "live"
	Sandbox DeliveryType = "sandbox"
)

// StreamKind is the sort of mail that a stream carries.
type StreamKind string

// Only transactional and broadcast streams are outbound: they alone take
// submissions and SMTP tokens.
const (
	Transactional StreamKind = "transactional"
	Broadcast     StreamKind = "broadcast"
	Inbound       StreamKind = "inbound"
)

// StreamMode is what happens to the mail of an outbound stream.
type StreamMode string

const (
	// ModeLive sends to the recipients by the stream's route.
	ModeLive StreamMode = "live"
	// ModeCapture keeps the message; nothing leaves.
	ModeCapture StreamMode = "capture"
	// ModeRedirect sends every message to Stream.RedirectTo instead.
	ModeRedirect StreamMode = "redirect"
)

// TLSMode is how a route secures its connection.
type TLSMode string

const (
	// TLSOpportunistic uses STARTTLS where offered, without verification (RFC 7435).
	TLSOpportunistic TLSMode = "opportunistic"
	// TLSStartTLS demands STARTTLS and a certificate valid for the route's host.
	TLSStartTLS TLSMode = "starttls"
	// TLSImplicit speaks TLS from the first byte (RFC 8314) and verifies.
	TLSImplicit TLSMode = "implicit"
	// TLSRequired demands STARTTLS and takes any certificate.
	TLSRequired TLSMode = "required"
	// TLSVerified demands STARTTLS and a host that proves who it is: by DANE
	// where the host publishes it, else by a certificate valid for its name.
	TLSVerified TLSMode = "verified"
	// TLSNone never uses TLS, whatever policy a domain publishes.
	TLSNone TLSMode = "none"
)

// Route is where a live stream hands its mail over. The zero Route is direct
// delivery to the recipients' MX hosts.
type Route struct {
	Host         string  `json:"host,omitempty"` // smarthost; empty means direct MX
	Port         int     `json:"port,omitempty"`
	TLS          TLSMode `json:"tls,omitempty"`      // at least this; empty means TLSOpportunistic for MX, TLSStartTLS for a smarthost
	Username     string  `json:"username,omitempty"` // empty means no AUTH
	PasswordFile string  `json:"password_file,omitempty"`
	// Weight is the route's share among those of its stream that have one, 1 to
	// 100; 0 means that it is tried after them, in the order of the list.
	Weight int `json:"weight,omitempty"`
	// DailyQuota is how many recipients a day the route may hand over; 0 is no
	// bound. Streams with a route to the same user of the same host share the
	// count, as they share the account there.
	DailyQuota int `json:"daily_quota,omitempty"`
	// Rate is how many recipients it may be given in a time.
	Rate Rate `json:"rate,omitzero"`
	// Paused is since when the route is left out; zero where it is not.
	Paused    time.Time `json:"paused,omitzero"`
	PausedWhy string    `json:"paused_why,omitempty"`
	// Draining is since when it takes only what can go by no other route.
	Draining    time.Time `json:"draining,omitzero"`
	DrainingWhy string    `json:"draining_why,omitempty"`
}

// Key names the route for people, and in Delivery.Route: "mx", or the host with
// its port, behind the user where there is one. It holds no secret.
func (r Route) Key() string {
	if !r.Smarthost() {
		return "mx"
	}
	key := net.JoinHostPort(strings.ToLower(r.Host), strconv.Itoa(r.Port))
	if r.Username != "" {
		key = r.Username + "@" + key
	}
	return key
}

// Smarthost tells whether the route names a host of its own.
func (r Route) Smarthost() bool { return r.Host != "" }

// Account is the organisation. An engine holds exactly one.
type Account struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Pauses are the destinations that nothing is delivered to for now.
	Pauses []Pause `json:"pauses,omitempty"`
}

// Pause stops the delivery to one destination, from all streams. Mail for it is
// taken and waits.
type Pause struct {
	// Destination is a domain in lower-case A-labels, a smarthost as host:port,
	// or a site as the dispatcher names it.
	Destination string    `json:"destination"`
	Since       time.Time `json:"since"`
	Why         string    `json:"why,omitempty"`
	// Drain turns it round: nothing new is taken for the destination, and what
	// is there is delivered.
	Drain bool `json:"drain,omitempty"`
}

// User is a person who may sign in.
type User struct {
	ID      int64     `json:"id"`
	Name    string    `json:"name"`
	Email   string    `json:"email"`
	Role    Role      `json:"role"`
	Servers []int64   `json:"servers,omitempty"` // for the two server roles
	Created time.Time `json:"created"`
}

// Server is a project with its own tokens and streams.
type Server struct {
	ID           int64        `json:"id"`
	Name         string       `json:"name"`
	Color        string       `json:"color,omitempty"`
	DeliveryType DeliveryType `json:"delivery_type"`
	SMTPDisabled bool         `json:"smtp_disabled,omitempty"`
	// VerifiedOnly restricts senders to the account's verified domains and
	// signatures; otherwise any sender may be used.
	VerifiedOnly bool `json:"verified_only,omitempty"`
	// Weight is the server's share in the round robin between servers, 1 to 100;
	// 0 means 10.
	Weight  int       `json:"weight,omitempty"`
	Created time.Time `json:"created"`
}

// Stream is one queue of a server, named by the server and its own ID, such as
// "outbound".
type Stream struct {
	Server      int64      `json:"server"`
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Kind        StreamKind `json:"kind"`
	Mode        StreamMode `json:"mode"`
	RedirectTo  string     `json:"redirect_to,omitempty"`
	Route       Route      `json:"route"`
	// Alternates are further routes, for what Route cannot take.
	Alternates []Route `json:"alternates,omitempty"`
	// Sources are the local addresses that its mail leaves from, in turns; none
	// means that the system chooses.
	Sources []Source `json:"sources,omitempty"`
	// Weight is the stream's share in the round robin between streams, 1 to 100;
	// 0 means 10.
	Weight int `json:"weight,omitempty"`
	// Paused stops delivery; submissions are taken and wait.
	Paused bool `json:"paused,omitempty"`
	// PausedAt is when it was paused last, PausedWhy what the operator gave as the reason.
	PausedAt  time.Time `json:"paused_at,omitzero"`
	PausedWhy string    `json:"paused_why,omitempty"`
	// IntakePaused refuses submissions; what is queued is delivered.
	IntakePaused bool `json:"intake_paused,omitempty"`
	// IntakePausedAt is since when it does, IntakePausedWhy what the operator gave as the reason.
	IntakePausedAt  time.Time `json:"intake_paused_at,omitzero"`
	IntakePausedWhy string    `json:"intake_paused_why,omitempty"`
	// KeepSender leaves the client's reverse-path on messages that leave, where
	// they would get a return path of ours: for smarthosts that take known
	// senders only.
	KeepSender bool `json:"keep_sender,omitempty"`
	// Dedupe is how long a submission is recognised that comes again, by its
	// X-Idempotency-Key field, or by credential, Message-ID, envelope and content:
	// 1 minute to 7 days, 0: never.
	Dedupe time.Duration `json:"dedupe,omitempty"`
	// Uncertain is what becomes of a delivery that may have arrived; "" means
	// UncertainResend.
	Uncertain UncertainPolicy `json:"uncertain,omitempty"`
	// RefuseBareLF refuses messages with bare LF instead of normalising them.
	RefuseBareLF bool `json:"refuse_bare_lf,omitempty"`
	// RequireDKIM makes mail wait that has no DKIM signature, instead of
	// sending it without. Notices that we wrote ourselves are exempt.
	RequireDKIM bool `json:"require_dkim,omitempty"`
	// Unsubscribe is how its recipients leave it; "" means the default of its
	// kind: see Unsubscribes.
	Unsubscribe Unsubscribe `json:"unsubscribe,omitempty"`
	// IgnoreBounces keeps hard bounces from putting addresses on the stream's
	// suppression list.
	IgnoreBounces bool      `json:"ignore_bounces,omitempty"`
	Created       time.Time `json:"created"`
	// Edited is when what people set of it was changed last.
	Edited   time.Time `json:"edited,omitzero"`
	Archived time.Time `json:"archived,omitzero"`
}

// UncertainPolicy is what becomes of a delivery whose content was ended and
// whose answer nobody knows, after a lost connection or a crash.
type UncertainPolicy string

// UncertainResend tries again, so that the message may arrive twice.
// UncertainHold waits for a person, so that it may not arrive at all.
const (
	UncertainResend UncertainPolicy = "resend"
	UncertainHold   UncertainPolicy = "hold"
)

// Unsubscribe is how the recipients of a stream leave it.
type Unsubscribe string

// UnsubscribeHosted replaces the List-Unsubscribe fields of every copy by those
// of a link of ours, UnsubscribeCustom and UnsubscribeNone leave the client's as
// they are. Custom says that the client takes care of it.
const (
	UnsubscribeNone   Unsubscribe = "none"
	UnsubscribeHosted Unsubscribe = "hosted"
	UnsubscribeCustom Unsubscribe = "custom"
)

// Unsubscribes returns how the stream's recipients leave it: as it says, or
// hosted for a broadcast stream, none for others.
func (s Stream) Unsubscribes() Unsubscribe {
	switch {
	case s.Unsubscribe != "":
		return s.Unsubscribe
	case s.Kind == Broadcast:
		return UnsubscribeHosted
	}
	return UnsubscribeNone
}

// Source is a local address with the name that belongs to it.
type Source struct {
	Address  netip.Addr `json:"address"`
	Hostname string     `json:"hostname,omitempty"` // in EHLO; "" means the server's
}

// Routes returns all routes, the first being Route.
func (s Stream) Routes() []Route { return append([]Route{s.Route}, s.Alternates...) }

// Outbound tells whether the stream is of a kind that sends.
func (s Stream) Outbound() bool { return s.Kind == Transactional || s.Kind == Broadcast }

// AccountToken authenticates account endpoints, never SMTP.
type AccountToken struct {
	ID      int64     `json:"id"`
	Name    string    `json:"name"`
	Hash    Digest    `json:"hash"`   // keyed hash of the lower-case token
	Sealed  []byte    `json:"sealed"` // the token under the key file
	Created time.Time `json:"created"`
}

// ServerToken authenticates a server's endpoints, and SMTP as username and
// password at once.
type ServerToken struct {
	ID      int64     `json:"id"`
	Server  int64     `json:"server"`
	Name    string    `json:"name"`
	Hash    Digest    `json:"hash"`
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

// SMTPToken authenticates SMTP for one outbound stream. Its secret is stored as
// keyed hash only.
type SMTPToken struct {
	ID         int64     `json:"id"`
	Server     int64     `json:"server"`
	Stream     string    `json:"stream"`
	Name       string    `json:"name"`
	AccessKey  string    `json:"access_key"`
	SecretHash Digest    `json:"secret_hash"`
	Created    time.Time `json:"created"`
}

// Digest is a keyed hash with the number of the key that made it.
type Digest struct {
	Key uint32   `json:"key"`
	Sum [32]byte `json:"sum"`
}

// Domain is a sender domain of the account.
type Domain struct {
	ID       int64     `json:"id"`
	Name     string    `json:"name"` // lower-case A-labels
	Created  time.Time `json:"created"`
	Verified time.Time `json:"verified,omitzero"`
	// Keys are the domain's DKIM keys, oldest first.
	Keys []DomainKey `json:"keys,omitempty"`
	// ReturnPath is a host of its own for the return paths of its mail, below its
	// name; "" means the server's.
	ReturnPath string `json:"return_path,omitempty"`
	// ReturnPathVerified is since when DNS leads ReturnPath to us, zero while it
	// does not: only then is it used.
	ReturnPathVerified time.Time `json:"return_path_verified,omitzero"`
	// Check is the newest look at the domain's DNS records.
	Check DomainCheck `json:"check,omitzero"`
}

// Signature is a single sender address of the account. Until it is verified, no
// server of the account may use the address, unless its domain is verified.
type Signature struct {
	ID       int64     `json:"id"`
	Email    string    `json:"email"` // local part as given, domain in lower-case A-labels
	Name     string    `json:"name,omitempty"`
	ReplyTo  string    `json:"reply_to,omitempty"` // of mail over HTTP that names no other
	Note     string    `json:"note,omitempty"`     // to whom is asked to confirm the address
	Created  time.Time `json:"created"`
	Verified time.Time `json:"verified,omitzero"`
}

// Change is one entry of a Directory transaction: a record to put, or with
// Delete set, the record to remove. Exactly one of the pointers is set.
type Change struct {
	Delete       bool
	Account      *Account
	User         *User
	Server       *Server
	Stream       *Stream
	AccountToken *AccountToken
	ServerToken  *ServerToken
	SMTPToken    *SMTPToken
	Domain       *Domain
	Signature    *Signature
	Webhook      *Webhook
}

// Directory holds who may do what: account, users, servers, streams, tokens,
// domains and signatures. It is small, read on every submission and written
// rarely, so readers get an immutable snapshot.
type Directory interface {
	// Snapshot returns the newest state. It never blocks and never fails once
	// the engine is open.
	Snapshot() *Snapshot
	// Change applies all changes or none, if rev is still the newest revision
	// (else ErrStale), and returns the snapshot that includes them. The rules of
	// Snapshot.With hold. Later calls of Snapshot in this process return it or a
	// newer one; other processes see it within a second.
	Change(ctx context.Context, rev uint64, changes ...Change) (*Snapshot, error)
	// Changed returns a channel that is closed when a snapshot newer than rev
	// is available; closed already if it is.
	Changed(rev uint64) <-chan struct{}
}

// Update applies the changes that build makes of the newest snapshot, again
// from the start when another change came first. build must not have effects
// outside its return values.
func Update(ctx context.Context, d Directory, build func(*Snapshot) ([]Change, error)) (*Snapshot, error) {
	for {
		snap := d.Snapshot()
		changes, err := build(snap)
		if err != nil {
			return nil, err
		}
		next, err := d.Change(ctx, snap.Revision, changes...)
		if !isStale(err) {
			return next, err
		}
	}
}

// DefaultStreams returns the three streams of a new server.
func DefaultStreams(server int64, mode StreamMode, now time.Time) []Stream {
	return []Stream{
		{Server: server, ID: "outbound", Name: "Default Transactional Stream", Kind: Transactional, Mode: mode, Created: now},
		{Server: server, ID: "broadcast", Name: "Default Broadcast Stream", Kind: Broadcast, Mode: mode, Created: now},
		{Server: server, ID: "inbound", Name: "Default Inbound Stream", Kind: Inbound, Created: now},
	}
}

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), ErrInvalid)
}

// ValidStreamID tells whether s can name a stream: 1 to 30 lower-case letters,
// digits, underscores and inner dashes, beginning with a letter.
func ValidStreamID(s string) bool {
	if len(s) == 0 || len(s) > 30 || s[0] < 'a' || s[0] > 'z' || strings.HasSuffix(s, "-") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
