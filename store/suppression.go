package store

import (
	"context"
	"strings"
	"time"
)

// SuppressionReason is why a stream does not write to an address. The words are
// those of Postmark's API.
type SuppressionReason string

// The reasons.
const (
	SuppressedHardBounce    SuppressionReason = "HardBounce"        // the mailbox does not exist or is closed
	SuppressedSpamComplaint SuppressionReason = "SpamComplaint"     // the recipient called it spam
	SuppressedManually      SuppressionReason = "ManualSuppression" // somebody asked for it: see the origin
)

// SuppressionOrigin is who put an address on the list.
type SuppressionOrigin string

// The origins. A manual suppression of a recipient is an unsubscription.
const (
	OriginRecipient SuppressionOrigin = "Recipient"
	OriginCustomer  SuppressionOrigin = "Customer" // through the API
	OriginAdmin     SuppressionOrigin = "Admin"    // by the operator
)

// Suppression is an address that a stream does not write to.
type Suppression struct {
	Server int64  `json:"server"`
	Stream string `json:"stream"`
	// Address is the mailbox in the form that is compared: lower case, the
	// domain in A-labels. Engines compare it as it is.
	Address string            `json:"address"`
	Reason  SuppressionReason `json:"reason"`
	Origin  SuppressionOrigin `json:"origin"`
	Created time.Time         `json:"created"`
	By      string            `json:"by,omitempty"`     // for people: who did it, or the remote's words
	Message ID                `json:"message,omitzero"` // what bounced, or was complained about or unsubscribed from
}

// Binding tells whether only the recipient, or the operator on the recipient's
// behalf, may take the address off the list: it stands for what a person said.
func (s Suppression) Binding() bool {
	return s.Reason == SuppressedSpamComplaint || s.Reason == SuppressedManually && s.Origin == OriginRecipient
}

// Outweighs tells whether s takes the place of o for the same address: the word
// of a person outweighs what was found out or set, and a complaint a departure.
func (s Suppression) Outweighs(o Suppression) bool { return s.weight() > o.weight() }

func (s Suppression) weight() int {
	switch {
	case s.Reason == SuppressedSpamComplaint:
		return 2
	case s.Binding():
		return 1
	}
	return 0
}

// Check returns ErrInvalid when the suppression breaks a rule of the vocabulary.
func (s Suppression) Check() error {
	local, domain, ok := strings.Cut(s.Address, "@")
	switch {
	case !ok || local == "" || domain == "" || len(s.Address) > maxSuppressed || s.Address != strings.ToLower(s.Address):
		return invalid("suppression address", "%q is not a mailbox in lower case", s.Address)
	case strings.ContainsFunc(s.Address, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid("suppression address", "contains a control character")
	case s.Server <= 0 || !ValidStreamID(s.Stream):
		return invalid("suppression stream", "%q of server %d cannot be one", s.Stream, s.Server)
	case s.Reason != SuppressedHardBounce && s.Reason != SuppressedSpamComplaint && s.Reason != SuppressedManually:
		return invalid("suppression reason", "%q is none of HardBounce, SpamComplaint, ManualSuppression", s.Reason)
	case s.Origin != OriginRecipient && s.Origin != OriginCustomer && s.Origin != OriginAdmin:
		return invalid("suppression origin", "%q is none of Recipient, Customer, Admin", s.Origin)
	}
	return nil
}

// maxSuppressed is longer than any address of RFC 5321 4.5.3.1 whose domain has
// become A-labels.
const maxSuppressed = 400

// Reactivation takes addresses off the list of a stream.
type Reactivation struct {
	Server    int64
	Stream    string
	Addresses []string // in the form that is compared
	// Binding takes off also what only the recipient or the operator may.
	Binding bool
	By      string
	At      time.Time
}

// SuppressionFilter selects suppressions. Zero fields select all.
type SuppressionFilter struct {
	Server  int64
	Stream  string // needs Server
	Address string
	Reason  SuppressionReason
	Origin  SuppressionOrigin
	Since   time.Time
	Until   time.Time // exclusive
}

// SuppressionChange is one entry of the history of an address on a list: it was
// put there, or, where Removed is set, taken off.
type SuppressionChange struct {
	Suppression
	Removed   time.Time `json:"removed,omitzero"`
	RemovedBy string    `json:"removed_by,omitempty"`
}

// Suppressions holds the addresses that streams do not write to. A list
// outlives its stream: one that is made again under the same ID has it. Deleting
// a server deletes its lists, since no other will have its number.
type Suppressions interface {
	// Suppress puts addresses on their lists, all or none, and returns how many
	// it put there anew. One that is on its list already stays as it is, unless
	// the new suppression outweighs it. ErrInvalid as Suppression.Check says.
	Suppress(ctx context.Context, all ...Suppression) (int, error)
	// Reactivate takes addresses off, all or none, and returns how many. Those
	// that it may not take off it returns in kept; those that are not on the list
	// are no error.
	Reactivate(ctx context.Context, r Reactivation) (removed int, kept []Suppression, err error)
	// Suppressed returns those of the addresses, in their order, that are on the
	// list of the stream. It is asked at every submission.
	Suppressed(ctx context.Context, server int64, stream string, addresses ...string) ([]Suppression, error)
	// ListSuppressions returns up to limit suppressions that match, sorted by
	// server, stream and address, beginning after the cursor ("" for the start),
	// and the cursor of the next page, "" at the end.
	ListSuppressions(ctx context.Context, f SuppressionFilter, cursor string, limit int) ([]Suppression, string, error)
	// SuppressionHistory returns what happened to an address on the list of a
	// stream, oldest first, at most MaxSuppressionHistory entries; the oldest go first.
	SuppressionHistory(ctx context.Context, server int64, stream, address string) ([]SuppressionChange, error)
}

// MaxSuppressionHistory is how many changes are kept for one address on a list.
const MaxSuppressionHistory = 20

// Matches tells whether the filter selects a suppression.
func (f SuppressionFilter) Matches(s Suppression) bool {
	return (f.Server == 0 || s.Server == f.Server) &&
		(f.Stream == "" || s.Stream == f.Stream) &&
		(f.Address == "" || s.Address == f.Address) &&
		(f.Reason == "" || s.Reason == f.Reason) &&
		(f.Origin == "" || s.Origin == f.Origin) &&
		(f.Since.IsZero() || !s.Created.Before(f.Since)) &&
		(f.Until.IsZero() || s.Created.Before(f.Until))
}
