package relay

import (
	"context"
	"io"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Transport hands one message to its next hop.
type Transport interface {
	// Send tries to deliver the job and returns one Result per recipient, in the order of Job.Recipients. It never
	// fails as a whole. When ctx ends before a final dot the recipients concerned get a Result whose Err is the
	// context's; from a final dot on Send waits for the answer whatever becomes of ctx.
	Send(ctx context.Context, job Job) []Result
	// Close gives up what is kept between jobs. No Send may be under way.
	Close() error
}

// Job is one message on its way to one destination.
type Job struct {
	Message store.Message
	Route   store.Route
	// Alternates are tried one after the other for recipients whose mail an earlier route could not take.
	Alternates []store.Route
	// Board is asked before an alternate is tried for so many recipients; false leaves it out. Nil means that all may be
	// tried.
	Board func(r store.Route, recipients int) bool
	// Left is told what a route gave, before the next one is tried; idle says that the attempt was cut short. Nil means that
	// nobody is.
	Left       func(r store.Route, results []Result, idle bool)
	Recipients []Rcpt
	// Sources are the addresses to send from; none means any.
	Sources []store.Source
	// Open opens the octets of the message. It is called once per transaction.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Ending is called just before the end of the content, which it keeps from being sent if it fails. nil: nobody wants
	// to know.
	Ending func(ctx context.Context, route string) error
	// Known, where it is set, is given the results so far also when Send ends in a panic: who has the message must not
	// get it twice.
	Known *[]Result
}

// Rcpt is one forward-path of a job with its RFC 3461 parameters.
type Rcpt struct {
	Address string
	Notify  string
	ORcpt   string
	// ReturnPath is the reverse-path of this recipient alone, who then gets a
	// transaction of its own; "" means that of the message.
	ReturnPath string
	// Top are the fields that this recipient's copy has before the octets of the
	// message; it then has a transaction of its own.
	Top []byte
}

// Result is what an attempt did for one recipient.
type Result struct {
	// Reply is the answer that decides, or our own words where its Host is empty. A 2xx code means delivered only in
	// answer to the final dot.
	Reply store.Reply
	// Err is the local or network cause where no reply decides; nil otherwise.
	Err error
	// Uncertain is set when the answer to the final dot was lost.
	Uncertain bool
	// Relayed is set on success when the next hop does not offer RFC 3461, so that a success notice is ours to send.
	Relayed bool
	// TLS is what secured the connection; zero where there was none.
	TLS store.TLS
	// Route is the key of the route taken.
	Route string
	// Again is when to try again where that is before the retry schedule's wait, and AgainWhy what happens then; 0 means
	// that nothing is known.
	Again    time.Duration
	AgainWhy string
	// Alone is set where the transaction had this recipient only, so that what is said of the content may be about it.
	Alone bool
	// Detail describes the connection for people: address, TLS achieved, how often it had been used.
	Detail string
	// SignedBy are the names of the DKIM records that verify what was sent.
	SignedBy []string
}
