package intake

import (
	"errors"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Kind says which rule refused a submission. Front ends map it to their codes;
// nothing else may decide them.
type Kind int

// The kinds, in the order in which a submission meets them.
const (
	_                Kind = iota
	KindRevoked           // the credential is no longer valid
	KindSender            // the credential may not use this sender
	KindRecipient         // a recipient that cannot be sent to
	KindStream            // stream unknown, archived, paused for intake, or not for this credential
	KindSuppressed        // every recipient is on the stream's suppression list
	KindSmuggling         // bare CR, NUL, or a lone dot with odd line ends
	KindBareLF            // bare LF on a stream that refuses it
	KindLineTooLong       // a text line over 998 octets
	KindHeaderSyntax      // header section unparsable, too large, or with 8-bit octets without SMTPUTF8
	KindHeaderFields      // From missing or repeated, and the like
	KindControl           // an X-PM-* header with a bad value
	KindLoop              // too many Received fields
	KindTooLarge          // message size
	KindFull              // no space
	KindShuttingDown      // the engine is closing
	KindUnavailable       // anything else: temporary
	KindNoMailbox         // no such address here
	KindRelaying          // not a domain of ours, and nobody logged in
	KindBusy              // too much for this address at present
	KindNullMX            // a domain that says it takes no mail
	KindNoDomain          // a domain that does not exist
	KindConflict          // another request had the same idempotency key
)

// Refusal is why a submission was not taken. Nothing of it has been queued.
type Refusal struct {
	Kind   Kind
	Reason string // for the client: constant words, at most the name of a header or stream of its own
	Err    error  // for the operator; may be nil
	// Inactive are the recipients that KindSuppressed is about, as
	// message.MailboxKey writes them; Reason names only some of many.
	Inactive []string
}

// Error is for the operator's log.
func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Reason
	}
	return r.Reason + ": " + r.Err.Error()
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// rules maps the faults of bytes to kinds. The first that matches counts, so a
// class stands behind its members.
var rules = []struct {
	err    error
	kind   Kind
	reason string
}{
	{message.ErrSmuggling, KindSmuggling, "message contains a bare CR, a NUL or a lone dot with odd line ends"},
	{message.ErrBareLF, KindBareLF, "message contains a bare LF"},
	{message.ErrLineTooLong, KindLineTooLong, "message contains a line longer than 998 octets"},
	{message.ErrTooLarge, KindTooLarge, "message is larger than this server accepts"},
	{message.ErrHeaderTooLarge, KindHeaderSyntax, "header section is too large"},
	{message.ErrHeaderFields, KindHeaderSyntax, "header section has too many fields"},
	{message.ErrHeader8Bit, KindHeaderSyntax, "header section contains 8-bit text without SMTPUTF8"},
	{message.ErrHeader, KindHeaderSyntax, "header section is malformed"},
	{message.ErrNoFrom, KindHeaderFields, "From field is missing"},
	{message.ErrFromGroup, KindHeaderFields, "From field uses group syntax"},
	{message.ErrBadFrom, KindHeaderFields, "From field is not a list of addresses"},
	{message.ErrHeaderRules, KindHeaderFields, "a header field that may appear once appears more than once"},
	{message.ErrLoop, KindLoop, "mail loop: too many Received fields"},
	{store.ErrFull, KindFull, "no space for new mail at present"},
	{store.ErrClosed, KindShuttingDown, "server is shutting down"},
}

// refusable tells whether an error that a front end's reader returned is a
// fault of the bytes rather than of the connection.
func refusable(err error) bool {
	return errors.Is(err, message.ErrSmuggling) || errors.Is(err, message.ErrTooLarge) || errors.Is(err, message.ErrLineTooLong)
}

// refusal gives every error its kind. What has none is temporary.
func refusal(err error) error {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	var control *message.ControlError
	if errors.As(err, &control) {
		return &Refusal{Kind: KindControl, Reason: control.Error(), Err: err}
	}
	for _, rule := range rules {
		if errors.Is(err, rule.err) {
			return &Refusal{Kind: rule.kind, Reason: rule.reason, Err: err}
		}
	}
	return &Refusal{Kind: KindUnavailable, Reason: "message could not be stored at present", Err: err}
}
