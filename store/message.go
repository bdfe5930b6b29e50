package store

import (
	"fmt"
	"net/netip"
	"time"
)

// Message is one accepted submission: its envelope, where it belongs and what
// is shown of it. It never changes after acceptance.
type Message struct {
	ID       ID        `json:"id"`
	Server   int64     `json:"server"`
	Stream   string    `json:"stream"`
	Accepted time.Time `json:"accepted"`
	From     string    `json:"from"` // reverse-path; "" is the null reverse-path
	UTF8     bool      `json:"utf8,omitempty"`
	EightBit bool      `json:"eight_bit,omitempty"`
	Ret      string    `json:"ret,omitempty"`    // RFC 3461 RET: "", FULL or HDRS
	EnvID    string    `json:"env_id,omitempty"` // RFC 3461 ENVID, decoded
	// RequireTLS is REQUIRETLS of RFC 8689: the message may leave only over TLS
	// with hosts that prove their names and promise the same. TLSOptional is its
	// opposite, asked for by the field "TLS-Required: No"; at most one is set.
	RequireTLS  bool `json:"require_tls,omitempty"`
	TLSOptional bool `json:"tls_optional,omitempty"`

	Size     int64    `json:"size"`      // octets of the body as stored: header and content
	BodyHash [32]byte `json:"body_hash"` // SHA-256 of those octets
	Header   Display  `json:"header"`    // what a person sees of it
	// DKIMBody is the SHA-256 of the body in DKIM's relaxed form (RFC 6376
	// 3.4.4); zero where no key was there to sign when it was accepted.
	DKIMBody [32]byte `json:"dkim_body,omitzero"`

	Tag        string            `json:"tag,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	TrackOpens *bool             `json:"track_opens,omitempty"` // nil: the server's setting
	TrackLinks string            `json:"track_links,omitempty"`

	Credential string     `json:"credential,omitempty"` // kind and number of the token, never a secret
	Client     netip.Addr `json:"client,omitzero"`
	Protocol   string     `json:"protocol,omitempty"` // RFC 3848 word, or HTTP

	// Request is the digest of the request or content that the ID was made for, so
	// that it has one effect however often it comes; zero with other IDs.
	Request [32]byte `json:"request,omitzero"`

	// Unsubscribe is the URL before the tokens of the links that every copy gets
	// for one-click unsubscription (RFC 8058); "" where it gets none of ours.
	Unsubscribe string `json:"unsubscribe,omitempty"`

	// ReturnHost is the host that the author's domain had for return paths when
	// it was accepted; "" means the server's.
	ReturnHost string `json:"return_host,omitempty"`

	// Bounce is set for notices that we wrote ourselves; they have the null
	// reverse-path and never cause another.
	Bounce bool `json:"bounce,omitempty"`
	// About is the message that a bounce tells of.
	About ID `json:"about,omitzero"`
	// Returned is set for what came back about About through its return path. It
	// is kept, and never leaves.
	Returned bool `json:"returned,omitempty"`
}

// Display is the part of a header that lists and searches show, decoded and
// cut to sensible lengths.
type Display struct {
	Subject   string   `json:"subject,omitempty"`
	From      string   `json:"from,omitempty"`
	To        []string `json:"to,omitempty"`
	Cc        []string `json:"cc,omitempty"`
	MessageID string   `json:"message_id,omitempty"`
	// Names are the display names of To, then of Cc, "" where one has none; empty
	// where none of them has one.
	Names []string `json:"names,omitempty"`
	// Attachments are the names of the files in the message.
	Attachments []string `json:"attachments,omitempty"`
}

// State is where a recipient stands.
type State string

// A recipient begins as Queued and ends in exactly one of the others. Deferred
// is not a state: it is Queued with a due time in the future. In flight is not a
// state either: it is Queued with a lease.
const (
	Queued     State = "queued"
	Sent       State = "sent"       // the next hop took responsibility
	Captured   State = "captured"   // kept by a capture stream or sandbox server
	Bounced    State = "bounced"    // refused for good by a remote or by us
	Expired    State = "expired"    // not delivered within the stream's time
	Cancelled  State = "cancelled"  // deleted by the operator
	Suppressed State = "suppressed" // on the stream's suppression list
)

// Final tells whether a recipient in this state is done.
func (s State) Final() bool { return s != Queued }

// Recipient is one forward-path of a delivery.
type Recipient struct {
	Address string `json:"address"`
	Notify  string `json:"notify,omitempty"` // RFC 3461 NOTIFY, comma separated; "" means not given
	ORcpt   string `json:"orcpt,omitempty"`  // RFC 3461 ORCPT as type;address, decoded
	State   State  `json:"state"`
	Last    Reply  `json:"last,omitzero"` // newest answer about this recipient
}

// Reply is an answer of a remote host, or in our own words where Host is empty.
type Reply struct {
	Code     int       `json:"code,omitempty"` // 0 where no answer came
	Enhanced [3]int    `json:"enhanced,omitzero"`
	Text     string    `json:"text,omitempty"`    // ASCII or UTF-8 without control characters, at most 1 KiB
	Command  string    `json:"command,omitempty"` // phase: connect, ehlo, starttls, auth, mail, rcpt, data, dot
	Host     string    `json:"host,omitempty"`
	Address  string    `json:"address,omitempty"` // IP address that it came from
	At       time.Time `json:"at,omitzero"`
}

// Line is the reply as a host writes it.
func (r Reply) Line() string {
	switch {
	case r.Code != 0 && r.Enhanced != [3]int{}:
		return fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
	case r.Code != 0:
		return fmt.Sprintf("%d %s", r.Code, r.Text)
	}
	return r.Text
}

// DeliveryID names a delivery: a message and the number of the destination
// within it, from 0.
type DeliveryID struct {
	Message ID  `json:"message"`
	Part    int `json:"part"`
}

// Delivery is one message on its way to one destination, with the recipients
// there: one retry clock, one lease.
type Delivery struct {
	ID     DeliveryID `json:"id"`
	Server int64      `json:"server"`
	// Stream is the message's, or the one that it was rerouted to.
	Stream string `json:"stream"`
	// Destination is the scheduling key: a domain in lower-case A-labels, or
	// the smarthost as host:port.
	Destination string      `json:"destination"`
	Recipients  []Recipient `json:"recipients"`
	Attempt     int         `json:"attempt"`          // claims made so far: the fencing number
	Due         time.Time   `json:"due"`              // not to be claimed before
	Lease       time.Time   `json:"lease,omitzero"`   // claimed until, zero when not claimed
	Expires     time.Time   `json:"expires"`          // no attempt begins after it
	Held        time.Time   `json:"held,omitzero"`    // held since, by the operator or by a result
	Delayed     time.Time   `json:"delayed,omitzero"` // when a delay notice went out
	// Ending names the route by which the newest attempt was about to end its
	// content; "" before that, and once its result is recorded. Without a lease it
	// means that nobody recorded the result: then Uncertain is set too.
	Ending string `json:"ending,omitempty"`
	// Uncertain is set while an attempt may have been accepted by a remote whose
	// answer was lost (RFC 5321 6.1): until the delivery is done, whatever later
	// attempts come to, or until somebody decides (Release).
	Uncertain bool `json:"uncertain,omitempty"`
	// HeldUncertain is set while it is held because it is Uncertain.
	HeldUncertain bool `json:"held_uncertain,omitempty"`
	// Route is the key of the only route that later attempts take: that of the
	// first one that was Uncertain, or the one that an operator chose; "" where
	// any may be taken.
	Route string `json:"route,omitempty"`
	// DueWhy says for people why Due is when it is; "" where nothing was tried.
	DueWhy string `json:"due_why,omitempty"`
	// Conversation is that of the newest attempt, where it left a recipient
	// undelivered.
	Conversation Conversation `json:"conversation,omitzero"`
}

// Done tells whether every recipient is in a final state.
func (d Delivery) Done() bool {
	for _, r := range d.Recipients {
		if !r.State.Final() {
			return false
		}
	}
	return true
}

// EventKind says what happened to a message.
type EventKind string

// The events of a message's timeline.
const (
	EventAccepted  EventKind = "accepted"
	EventSent      EventKind = "sent"
	EventDeferred  EventKind = "deferred"
	EventBounced   EventKind = "bounced"
	EventExpired   EventKind = "expired"
	EventCaptured  EventKind = "captured"
	EventHeld      EventKind = "held"
	EventReleased  EventKind = "released"
	EventRetried   EventKind = "retried" // by the operator
	EventRerouted  EventKind = "rerouted"
	EventCancelled EventKind = "cancelled"
	EventNotice    EventKind = "notice"    // a bounce or delay notice was queued
	EventUncertain EventKind = "uncertain" // an answer to the final dot was lost

	// What came back after the next hop had taken responsibility; Event.Notice
	// is what came. A failure that is told so is an EventBounced too.
	EventComplaint EventKind = "complaint"  // the recipient called it spam, or opted out
	EventDelayed   EventKind = "delayed"    // a host further on still tries
	EventAutoReply EventKind = "auto-reply" // a program answered
	EventReturned  EventKind = "returned"   // anything else, without effect

	// EventSuppressed: at acceptance the recipient was on the stream's list and
	// was never tried.
	EventSuppressed EventKind = "suppressed"
	// EventUnsubscribed: the recipient asked the stream for no more mail.
	EventUnsubscribed EventKind = "unsubscribed"
)

// Event is one entry of a message's timeline.
type Event struct {
	At        time.Time `json:"at"`
	Kind      EventKind `json:"kind"`
	Part      int       `json:"part"`
	Attempt   int       `json:"attempt,omitempty"`
	Recipient string    `json:"recipient,omitempty"`
	Reply     Reply     `json:"reply,omitzero"`
	Detail    string    `json:"detail,omitempty"` // for people: TLS achieved, why a wait, who did it
	Notice    ID        `json:"notice,omitzero"`  // the message queued by EventNotice, or the one that came back
	Bounce    string    `json:"bounce,omitempty"` // type of what failed or came back, such as HardBounce
	// SignedBy are the names of the DKIM records (selector._domainkey.domain)
	// that verify what was handed over, in the order of its signatures.
	SignedBy []string `json:"signed_by,omitempty"`
	TLS      TLS      `json:"tls,omitzero"` // of the connection of an attempt; zero where there was none
}

// Security is how well a connection was secured, the strongest that holds.
type Security string

// SecurityDANE and SecuritySTS mean that the host proved its name under the
// policy of that kind, SecurityVerified that it did so because the route
// demanded it. SecurityEncrypted keeps out listeners only.
const (
	SecurityDANE      Security = "dane"
	SecuritySTS       Security = "mta-sts"
	SecurityVerified  Security = "verified"
	SecurityEncrypted Security = "encrypted"
	SecurityNone      Security = "none"
)

// TLS is what secured the connection of an attempt.
type TLS struct {
	Security Security `json:"security,omitempty"`
	Version  string   `json:"version,omitempty"` // "TLS 1.3"
	Cipher   string   `json:"cipher,omitempty"`
	Subject  string   `json:"subject,omitempty"` // of the host's certificate, printable, at most 1 KiB
}

// Record is all that is known of one message.
type Record struct {
	Message    Message    `json:"message"`
	Deliveries []Delivery `json:"deliveries"`
	Events     []Event    `json:"events"` // oldest first, at most 1,000; the oldest go first
}

// Numbered finds a recipient by its number among all of the message: its delivery, and its place there.
func (r Record) Numbered(n int) (d Delivery, index int, ok bool) {
	for _, d := range r.Deliveries {
		if n >= 0 && n < len(d.Recipients) {
			return d, n, true
		}
		n -= len(d.Recipients)
	}
	return Delivery{}, 0, false
}
