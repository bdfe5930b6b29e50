package message

import (
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

// DSN is a delivery status notification about one message: a multipart/report of RFC 3464, 3461 and 6522, in the form of RFC 6533
// where an address or the returned header needs it. It is sent with the null reverse-path.
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
	// Original yields the message, or at least its header. It is read up to the limit and not closed. Nil leaves the third part out.
	Original io.Reader
	// Full asks for the whole message (RET=FULL), which is cut at 50,000 octets. By default only its header section is returned.
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
	// Diagnostic is the remote's own reply as it came, several lines joined by LF. It is cleaned before use.
	Diagnostic string
	// LastAttempt is when we tried last. The zero time leaves it out.
	LastAttempt time.Time
	// WillRetryUntil is when we give up; for ActionDelayed only. The zero time leaves it out.
	WillRetryUntil time.Time
}

// Bytes returns the notification as a canonical message.
func (d DSN) Bytes() ([]byte, error) { return nil, nil }

// WriteTo writes what Bytes returns.
func (d DSN) WriteTo(w io.Writer) (int64, error) { return 0, nil }

// UTF8 reports whether the notification has to be sent with SMTPUTF8.
func (d DSN) UTF8() bool { return false }
