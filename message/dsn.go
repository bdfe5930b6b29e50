package message

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Action is what became of one recipient (RFC 3464 2.3.3).
type Action string

// The actions of RFC 3464.
const (
	ActionFailed    Action = "failed"
	ActionDelayed   Action = "delayed"
	ActionDelivered Action = "delivered"
	ActionRelayed   Action = "relayed"
	ActionExpanded  Action = "expanded"
)

// DSN is a delivery status notification about one message: a multipart/report of RFC 3464, 3461 and 6522, in the form of
// RFC 6533 where an address or the returned header needs it. It must be sent with the null reverse-path (RFC 5321 4.5.5),
// and never about a message that came with one.
type DSN struct {
	// ReportingMTA is our host name.
	ReportingMTA string
	// From is the address that the notification comes from, such as MAILER-DAEMON@host.
	From Address
	// To is the envelope sender of the message, which must not be the null path.
	To Address
	// MessageID is the Message-ID of the notification, with angle brackets.
	MessageID string
	// Date is the time of the notification.
	Date time.Time
	// EnvID is ENVID as the client gave it, decoded. Empty leaves it out.
	EnvID string
	// QueueID is our ID of the message, for the reader and the log. Empty leaves it out.
	QueueID string
	// Arrival is when the message came in. The zero time leaves it out.
	Arrival time.Time
	// Recipients are the recipients that this notification is about, at least one.
	Recipients []DSNRecipient
	// Original yields the message, or at least its header. It is read up to the limit and not closed. Nil leaves the
	// third part out.
	Original io.Reader
	// Full asks for the whole message (RET=FULL), which is cut at 50,000 octets. By default only its header section is
	// returned.
	Full bool
}

// DSNRecipient is the fate of one recipient.
type DSNRecipient struct {
	// Final is the address that we tried.
	Final Address
	// Original is ORCPT, decoded, with its address type, such as "rfc822;a@example.org". Empty leaves it out.
	Original string
	// Action is what became of it.
	Action Action
	// Status is the enhanced code, such as "5.1.1". One that is malformed becomes the class code of the Action.
	Status string
	// RemoteMTA is the host that answered, empty if none did.
	RemoteMTA string
	// Diagnostic is the remote's own reply as it came, several lines joined by LF, or our own words where RemoteMTA is
	// empty. It is cleaned before use.
	Diagnostic string
	// LastAttempt is when we tried last. The zero time leaves it out.
	LastAttempt time.Time
	// WillRetryUntil is when we give up; for ActionDelayed only. The zero time leaves it out.
	WillRetryUntil time.Time
}

// UTF8 reports whether the notification has to be sent with SMTPUTF8. That depends on the sender alone: what a sender
// without SMTPUTF8 gets is in ASCII even if it is about recipients that are not.
func (d DSN) UTF8() bool { return !d.From.ASCII() || !d.To.ASCII() }

// WriteTo writes what Bytes returns.
func (d DSN) WriteTo(w io.Writer) (int64, error) {
	b, err := d.Bytes()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

// Bytes returns the notification as a canonical message with all header fields that it needs. It depends on d alone, so
// the same d gives the same bytes. It fails if a required field of d is missing or if Original cannot be read.
func (d DSN) Bytes() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("building a notification: %w", err)
	}
	original, err := d.readOriginal()
	if err != nil {
		return nil, fmt.Errorf("building a notification: reading the original: %w", err)
	}
	parts := []part{d.textPart(original), d.statusPart()}
	if d.Original != nil {
		parts = append(parts, original.part(d))
	}
	return d.assemble(original, parts), nil
}

func (d DSN) check() error {
	switch {
	case len(d.Recipients) == 0:
		return errors.New("no recipient to report")
	case d.To.IsNull():
		return errors.New("the null path gets no notification")
	case d.From.IsNull():
		return errors.New("no address to send from")
	case !isMessageID(d.MessageID):
		return errors.New("no valid Message-ID")
	}
	for _, a := range d.addresses() {
		if err := checkText(a.String(), true); err != nil {
			return err
		}
	}
	return nil
}

func (d DSN) addresses() []Address {
	all := []Address{d.From, d.To}
	for _, r := range d.Recipients {
		all = append(all, r.Final)
	}
	return all
}

// isMessageID reports whether s is one msg-id that can be repeated in a field as it is.
func isMessageID(s string) bool {
	if len(s) < len("<a@b>") || len(s) > 900 || s[0] != '<' || s[len(s)-1] != '>' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '<' || s[i] == '>' {
			return false
		}
	}
	return true
}

// action returns the action, failed for one that is none of RFC 3464.
func (r DSNRecipient) action() Action {
	switch r.Action {
	case ActionDelayed, ActionDelivered, ActionRelayed, ActionExpanded:
		return r.Action
	}
	return ActionFailed
}

// status returns the enhanced code of RFC 3463, that of the class alone if there is none.
func (r DSNRecipient) status() string {
	if isStatus(r.Status) {
		return r.Status
	}
	switch r.action() {
	case ActionFailed:
		return "5.0.0"
	case ActionDelayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// isStatus reports whether s is class.subject.detail with a class of 2, 4 or 5 and up to three digits behind each dot.
func isStatus(s string) bool {
	if len(s) < len("2.0.0") || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return false
	}
	digits, dots := 0, 0
	for i := 2; i < len(s); i++ {
		switch {
		case '0' <= s[i] && s[i] <= '9' && digits < 3:
			digits++
		case s[i] == '.' && digits > 0 && dots == 0:
			digits, dots = 0, 1
		default:
			return false
		}
	}
	return dots == 1 && digits > 0
}
