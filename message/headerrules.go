package message

import (
	"fmt"
	"net/mail"
	"strings"
)

// Mailbox is one entry of an address list in a header field.
type Mailbox struct {
	// Name is the decoded display name, empty if there is none.
	Name string
	// Address is the addr-spec. Unlike an envelope address it has not been checked beyond its grammar.
	Address Address
}

// AddressList parses every field of that name (From, To, Cc …) and returns the mailboxes in order, those of groups
// included. No such field is an empty list.
func (h *Header) AddressList(name string) ([]Mailbox, error) {
	var list []Mailbox
	for _, f := range h.fields {
		if !f.Is(name) {
			continue
		}
		var err error
		if list, err = f.appendAddresses(list, f.Value()); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (f Field) appendAddresses(list []Mailbox, value string) ([]Mailbox, error) {
	if m, ok := plainMailbox(value); ok {
		return append(list, m), nil
	}
	parser := mail.AddressParser{WordDecoder: wordDecoder()}
	parsed, err := parser.ParseList(value)
	if err != nil {
		return nil, fmt.Errorf("%s field is not a list of addresses", f.Name())
	}
	for _, m := range parsed {
		at := strings.LastIndexByte(m.Address, '@')
		list = append(list, Mailbox{Name: m.Name, Address: Address{Local: m.Address[:at], Domain: m.Address[at+1:]}})
	}
	return list, nil
}

// singletons are the fields that RFC 5322 3.6 allows once. Bcc is missing because it is removed anyway. The MIME fields
// are missing because RFC 2045 sets no number and senders do repeat MIME-Version.
var singletons = [...]string{"From", "Date", "Sender", "Reply-To", "To", "Cc",
	"Message-ID", "In-Reply-To", "References", "Subject"}

// CheckSingletons checks the fields that say who wrote what to whom: exactly one From, which parses and is no group; at
// most one each of Date, Sender, Reply-To, To, Cc, Message-ID, In-Reply-To, References and Subject (RFC 5322 3.6). Two
// of them let two readers see two authors. The error is one of the class ErrHeaderRules; that of a duplicate names the
// field.
func (h *Header) CheckSingletons() error {
	_, err := h.Authors()
	return err
}

// Authors returns the mailboxes in From of a header that passes CheckSingletons, or its error.
func (h *Header) Authors() ([]Mailbox, error) {
	for _, name := range singletons {
		if h.Count(name) > 1 {
			return nil, fmt.Errorf("%w: %s", ErrDuplicateField, name)
		}
	}
	for _, f := range h.fields {
		if !f.Is("From") {
			continue
		}
		value := f.Value()
		list, err := f.appendAddresses(nil, value)
		switch {
		case hasGroup(value):
			return nil, ErrFromGroup
		case err != nil || len(list) == 0:
			return nil, ErrBadFrom
		}
		return list, nil
	}
	return nil, ErrNoFrom
}

// hasGroup reports whether an address list has a colon where only group syntax has one: outside quoted strings,
// comments, angle brackets and domain literals. net/mail flattens groups without a word.
func hasGroup(s string) bool {
	if strings.IndexByte(s, ':') < 0 {
		return false
	}
	var closing []byte // what ends the constructs that are open
	for i := 0; i < len(s); i++ {
		c, depth := s[i], len(closing)
		switch {
		case c == '\\':
			i++
		case depth > 0 && c == closing[depth-1]:
			closing = closing[:depth-1]
		case depth > 0 && closing[depth-1] == '"':
		case c == '(':
			closing = append(closing, ')')
		case depth > 0 && closing[depth-1] == ')':
		case c == '"':
			closing = append(closing, '"')
		case c == '<':
			closing = append(closing, '>')
		case c == '[':
			closing = append(closing, ']')
		case c == ':' && depth == 0:
			return true
		}
	}
	return false
}

// LoopLimits bounds the hops of a message. The zero value is the default.
type LoopLimits struct {
	// MaxReceived is the number of Received fields that is still accepted: 0 means 100 (RFC 5321 6.3).
	MaxReceived int
	// MaxOwn is the number of Received fields written by our own host that is still accepted: 0 means 3.
	MaxOwn int
}

func (l LoopLimits) withDefaults() LoopLimits {
	if l.MaxReceived == 0 {
		l.MaxReceived = 100
	}
	if l.MaxOwn == 0 {
		l.MaxOwn = 3
	}
	return l
}

// CheckLoop returns ErrLoop if the message, before our own Received is added, has more Received fields than the limits
// allow, in all or with "by host". An empty host checks the total alone.
func (h *Header) CheckLoop(host string, l LoopLimits) error {
	l = l.withDefaults()
	all, own := 0, 0
	for _, f := range h.fields {
		if !f.Is("Received") {
			continue
		}
		all++
		if host != "" && receivedBy(f.Value(), host) {
			own++
		}
	}
	switch {
	case all > l.MaxReceived:
		return fmt.Errorf("%w: %d hops", ErrLoop, all)
	case own > l.MaxOwn:
		return fmt.Errorf("%w: %d times here", ErrLoop, own)
	}
	return nil
}

// receivedBy reports whether value has a BY clause with that host, in a comment or not: a forged one can only make the
// forger's own message fail.
func receivedBy(value, host string) bool {
	words := strings.Fields(value)
	for i := 1; i < len(words); i++ {
		if strings.EqualFold(words[i-1], "by") && strings.EqualFold(strings.TrimRight(words[i], ";"), host) {
			return true
		}
	}
	return false
}

// TLSOptional tells whether the message gives delivery priority over what is published about the TLS of its recipients'
// hosts: "TLS-Required: No" (RFC 8689 5). Any other value, and a field that is there twice, asks for nothing.
func (h *Header) TLSOptional() bool {
	values := h.All("TLS-Required")
	return len(values) == 1 && strings.EqualFold(strings.TrimSpace(values[0]), "No")
}
