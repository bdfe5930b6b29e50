package store

import (
	"context"
	"io"
	"time"
)

// Intake is the way in.
type Intake interface {
	// Begin opens a draft. ErrFull when there is no room for new mail.
	Begin(ctx context.Context) (Draft, error)
}

// Draft takes one message's octets in order, exactly as they are to leave,
// with memory bounded whatever their number. It is not safe for concurrent use.
type Draft interface {
	io.Writer
	// Commit makes the message and its deliveries durable, with an accepted
	// event, and a suppressed event for each recipient in that state with its
	// Last.Text as the detail, and only then returns nil. The engine sets Message.Size and
	// Message.BodyHash of what was written. ErrExists when the ID is known.
	// After Commit returned, whatever it returned, the draft is spent.
	Commit(ctx context.Context, m Message, deliveries []Delivery) error
	// Discard frees what was written. After Commit it does nothing, so it can
	// be deferred.
	Discard()
}

// Ticket announces a delivery that is or may become due. It carries what
// scheduling needs and no more: one million fit in memory.
type Ticket struct {
	ID          DeliveryID
	Server      int64
	Stream      string
	Destination string
	Due         time.Time
	Attempt     int // claims made when the ticket was written
}

// Claimed is a delivery under lease with its message.
type Claimed struct {
	Message Message
	// Delivery has Attempt and Lease already raised. Its Ending is that of the
	// attempt before, whose result nobody recorded.
	Delivery Delivery
	// First is how many recipients the deliveries before this one have, so that
	// First+i numbers recipient i among all of the message.
	First int
}

// Submission is a ready-made message of our own, such as a bounce.
type Submission struct {
	Message    Message
	Deliveries []Delivery
	Body       []byte
}

// Resolution is the result of an attempt: the delivery as it is to be from now
// on, what happened, and the notices that this causes.
type Resolution struct {
	// Delivery replaces the stored one. Its ID and Attempt fence the write; its
	// Lease is cleared by the engine; its Held is kept as stored, so that a hold
	// during the attempt survives it, and so are recipients that are final.
	Delivery Delivery
	Events   []Event
	// Held holds the delivery from then on, unless it is finished, and for its
	// being Uncertain where it is; zero: as stored.
	Held time.Time
	// Notices enter the queue in the same transaction.
	Notices []Submission
}

// Queue is the way out.
type Queue interface {
	// Watch calls fn with a ticket for every delivery that is queued and not
	// held, those present first and then each that is added, resolved with a new
	// due time, released, retried, or whose lease was taken (its Due is then the
	// lease's end). It returns when ctx ends or the engine closes. Tickets are hints: they may
	// repeat and may be out of date, but a delivery that can be claimed has had
	// its ticket. fn must not call the engine; it may block without holding
	// others up.
	Watch(ctx context.Context, fn func([]Ticket)) error
	// Claim takes the delivery for one attempt until lease. It fails with
	// ErrNotFound, ErrNotDue, or ErrStale when attempt is not the stored number.
	// Durable when it returns: a crash during the attempt cannot repeat it
	// before the lease ends or the engine was reopened by its only process.
	Claim(ctx context.Context, id DeliveryID, attempt int, now, lease time.Time) (Claimed, error)
	// Ending records that an attempt is about to end its content by a route: from
	// here until Resolve, a crash leaves it uncertain whether the remote has the
	// message. Durable when it returns. ErrStale when another claim was made since,
	// or the attempt was resolved.
	Ending(ctx context.Context, id DeliveryID, attempt int, route string) error
	// Resolve ends an attempt. ErrStale when another claim was made since.
	Resolve(ctx context.Context, r Resolution) error
	// Body opens the octets of a message. Reading checks them: damage gives
	// ErrDamaged at the latest instead of io.EOF. The caller closes it; until
	// then retention does not touch it.
	Body(ctx context.Context, id ID) (io.ReadCloser, error)
}

// Return is what came back about one recipient of a message, after the next hop
// had taken responsibility for it.
type Return struct {
	Message ID
	// Number is the recipient's, as Claimed.First counts.
	Number int
	// Was is the state of the recipient that the caller decided on: the fence.
	Was State
	// State is its state from now on, and where it differs from Was, Reply its
	// last answer.
	State State
	Reply Reply
	// Events are added to the timeline. The engine sets their Part, and their
	// Recipient where there is none.
	Events []Event
	// Submissions enter the store in the same transaction: what came back, and
	// the notice about it. Those that are not to leave have no queued recipient.
	Submissions []Submission
}

// Returns is the way back.
type Returns interface {
	// Return records what came back. ErrNotFound when there is no such message or
	// recipient, ErrStale when the recipient is not in state Was any more, and
	// ErrInvalid when the state changes from one that is not final, or to one. An
	// attempt under way for the same delivery is not disturbed.
	Return(ctx context.Context, r Return) error
}

// Amendment is what an operator does to queued deliveries.
type Amendment string

// Hold keeps deliveries from being claimed; an attempt under way ends normally.
// Release undoes it, and leaves the delivery an hour at least (ReleasedFor). What is held for being Uncertain, and what is
// Uncertain and not held, it makes certain: somebody takes upon himself that it may arrive twice. A hold for another
// reason ends without that. Retry makes them due now, and says so in DueWhy. Cancel ends the recipients that
// are still queued. Reroute gives deliveries another stream or route and makes
// them due now; it leaves alone what is Uncertain, which only its own route can
// take without delivering it twice. Cancel and Reroute fail with ErrNotDue while
// an attempt is under way.
const (
	Hold    Amendment = "hold"
	Release Amendment = "release"
	Retry   Amendment = "retry"
	Cancel  Amendment = "cancel"
	Reroute Amendment = "reroute"
)

// ReleasedFor is how long a delivery has at least when it is released: one whose time ended while it was held is tried
// again before it is given up.
const ReleasedFor = time.Hour

// Alteration is an amendment with what it needs to know.
type Alteration struct {
	Amendment
	By string
	At time.Time
	// Stream is where Reroute puts a delivery: an outbound stream of the same
	// server; "" leaves it where it is. Its list of suppressions and its settings
	// hold from then on. The message itself stays one of the stream that took it.
	Stream string
	// Route is the key of the one route that Reroute lets a delivery take; "" is
	// any.
	Route string
	// Recipient is the only one that Cancel ends, compared without regard to
	// case; "" is all.
	Recipient string
}

// Operation is how an operator intervenes.
type Operation interface {
	// Amend does a to the unfinished deliveries of the messages, all or none,
	// with an event naming by, and returns how many deliveries it changed.
	Amend(ctx context.Context, a Amendment, by string, now time.Time, ids ...ID) (int, error)
	// Alter does to single deliveries what Amend does to all of a message, in the
	// same way: all or none of the unfinished ones. ErrNotFound also when Reroute
	// names a stream that the message's server does not have.
	Alter(ctx context.Context, a Alteration, ids ...DeliveryID) (int, error)
	// Prune forgets finished messages accepted before the time, with their
	// bodies and events, and returns how many.
	Prune(ctx context.Context, before time.Time) (int, error)
}

// Filter selects messages. Zero fields select all.
type Filter struct {
	Server      int64
	Stream      string
	Destination string
	Recipient   string // whole address, without regard to case
	Sender      string // reverse-path, or address of the From field, without regard to case
	Tag         string // exact
	Subject     string // part of it, without regard to case
	MetadataKey string // without regard to case; its value is Metadata
	Metadata    string // exact
	State       State  // any recipient in this state
	Held        bool   // only messages with a held delivery
	Uncertain   bool   // only messages with an unfinished delivery that may have arrived
	Queued      bool   // only messages with an unfinished delivery
	Finished    bool   // only messages without one
	Outbound    bool   // only what was submitted: no notices of ours, and nothing that came back
	Bounce      bool   // only messages with an event that has a bounce type
	Since       time.Time
	Until       time.Time
}

// Lane is the count of one stream's queue towards one destination.
type Lane struct {
	Server      int64     `json:"server"`
	Stream      string    `json:"stream"`
	Destination string    `json:"destination"`
	Deliveries  int       `json:"deliveries"`
	Held        int       `json:"held"`
	Oldest      time.Time `json:"oldest"`   // acceptance of the oldest
	NextDue     time.Time `json:"next_due"` // earliest due time of those not held
}

// History is what happened and what waits.
type History interface {
	// Record returns one message with its deliveries and timeline.
	Record(ctx context.Context, id ID) (Record, error)
	// List returns up to limit messages that match, newest first, beginning
	// after the cursor ("" for the start), and the cursor of the next page, ""
	// at the end. Every write that returned before List was called is seen.
	List(ctx context.Context, f Filter, cursor string, limit int) ([]Record, string, error)
	// Search returns up to limit messages that match, newest first, after
	// skipping offset of them, and how many match in all. It sees what List sees.
	// Stream is the one that a message was accepted for, also where it was rerouted.
	// A search of one stream that leaves State, Held and Bounce zero is answered
	// from an index.
	Search(ctx context.Context, f Filter, offset, limit int) ([]Record, int, error)
	// Lanes counts what is queued, by stream and destination.
	Lanes(ctx context.Context) ([]Lane, error)
}

// Store is a whole engine, for wiring and for the conformance suite only.
type Store interface {
	Directory
	Intake
	Queue
	Returns
	Operation
	History
	Suppressions
	Statistics
	Bounces
	Notifications
	Interventions
	Notes
	// Close ends the engine. Calls under way end with their result or ErrClosed.
	Close() error
}
