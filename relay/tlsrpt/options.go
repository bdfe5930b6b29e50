package tlsrpt

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Options configures a Recorder. Submitter has no default.
type Options struct {
	// Submitter is the domain that reports, in A-labels. It is part of names and identifiers.
	Submitter string
	// Organization is its name for people; "" means Submitter.
	Organization string
	// Contact is an address or URI for questions; "" leaves it out.
	Contact string
	// MaxRows bounds what is kept, counted in policies and kinds of failure over all domains and days, the long ones several times; 0 means 50,000.
	MaxRows int
	// MaxDetails bounds the kinds of failure kept for one policy, domain and day; 0 means 100.
	MaxDetails int
	// Keep is for how long reports that were not forgotten are kept; 0 means 3 days.
	Keep time.Duration
	// Interval is the time between two writes by Run; 0 means 1 minute.
	Interval time.Duration
	// Logger gets a record when writing begins to fail and when it works again; nil discards them.
	Logger *slog.Logger
	// Now is the clock of Run; nil means time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() (Options, error) {
	if o.Submitter == "" || !mailbox("x@"+o.Submitter) {
		return o, errors.New("TLS reports need the domain that sends them")
	}
	if o.MaxRows < 0 || o.MaxDetails < 0 {
		return o, fmt.Errorf("TLS report limits %d and %d: negative", o.MaxRows, o.MaxDetails)
	}
	if o.Organization == "" {
		o.Organization = o.Submitter
	}
	if o.MaxRows == 0 {
		o.MaxRows = 50000
	}
	if o.MaxDetails == 0 {
		o.MaxDetails = 100
	}
	if o.Keep == 0 {
		o.Keep = 3 * 24 * time.Hour
	}
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}
