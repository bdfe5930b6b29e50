package store

import (
	"fmt"
	"net/mail"
	"strconv"
	"strings"
)

// ForSender is what a sender is shown of an answer: the words of the other side, and ours where we refuse. What only
// failed has words for the operator, who may read in them of routes, name servers and files that are nobody else's business.
func (r Reply) ForSender() Reply {
	if r.Code != 0 || r.Host != "" || r.Text == "" {
		return r
	}
	switch r.Command {
	case "dns":
		r.Text = "the mail hosts of the destination could not be looked up"
	case "connect", "ehlo":
		r.Text = "no mail host that takes the message could be reached"
	case "starttls":
		r.Text = "no connection that is as secure as is demanded could be made"
	case "sign":
		r.Text = "the message could not be signed"
	case "mail", "rcpt", "data", "body", "rset":
		r.Text = "the connection to the next mail host broke off"
	case "dot":
		r.Text = "the next mail host did not confirm the message, which may have arrived"
	default:
		r.Text = "this mail system could not pass the message on"
	}
	return r
}

// Diagnostic is the answer that an event tells of as its sender is shown it, in
// the form of a Diagnostic-Code (RFC 3464 2.3.6), or our words where there was none.
func (e Event) Diagnostic() string {
	r, parts := e.Reply.ForSender(), []string(nil)
	if r.Code != 0 {
		parts = append(parts, strconv.Itoa(r.Code))
	}
	if r.Enhanced != [3]int{} {
		parts = append(parts, fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2]))
	}
	if parts = append(parts, r.Text); r.Text == "" {
		parts[len(parts)-1] = e.Detail
	}
	text := strings.TrimSpace(strings.Join(parts, " "))
	if r.Code != 0 {
		return "smtp;" + text
	}
	return text
}

// noticeOfFailure is in the detail of an EventNotice about failures, and in that of
// no other.
const noticeOfFailure = "(failed)"

// Dump returns the message that tells of the bounce which an event of the record
// is: what came back, or else the notice that we wrote to the sender. It is zero
// where there is neither, and where it could quote a confidential message.
func (r Record) Dump(e Event) ID {
	if r.Message.Confidential() {
		return ID{}
	}
	if !e.Notice.IsZero() {
		return e.Notice
	}
	for _, o := range r.Events {
		if o.Kind == EventNotice && o.Part == e.Part && o.Attempt == e.Attempt && strings.Contains(o.Detail, noticeOfFailure) {
			return o.Notice
		}
	}
	return ID{}
}

// CredentialConfirmation is the kind of credential of messages that ask the owner
// of an address to confirm it.
const CredentialConfirmation = "confirmation"

// Confidential tells whether the content is for its recipient alone: it has a link
// that proves to us who that is, so nobody who asked for it may read it here.
func (m *Message) Confidential() bool {
	kind, _, _ := strings.Cut(m.Credential, " ")
	return kind == CredentialConfirmation
}

// Author is the address in the From field, or where that has none the
// reverse-path.
func (m *Message) Author() string {
	if list, err := mail.ParseAddressList(m.Header.From); err == nil && len(list) > 0 {
		return list[0].Address
	}
	if i, j := strings.LastIndexByte(m.Header.From, '<'), strings.LastIndexByte(m.Header.From, '>'); i >= 0 && i < j {
		return m.Header.From[i+1 : j]
	}
	return m.From
}
