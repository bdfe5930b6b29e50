package message

// Mailbox is one entry of an address list in a header field.
type Mailbox struct {
	// Name is the decoded display name, empty if there is none.
	Name string
	// Address is the addr-spec.
	Address Address
}

// AddressList parses every field of that name (From, To, Cc …) and returns the mailboxes in order, those of groups included.
// No such field is an empty list.
func (h *Header) AddressList(name string) ([]Mailbox, error) { return nil, nil }

// CheckSingletons checks the fields that say who wrote what to whom: exactly one From, which parses and is no group; at most
// one each of Date, Sender, Reply-To, To, Cc, Message-ID, In-Reply-To, References and Subject (RFC 5322 3.6). Two of
// them let two readers see two authors. The error is one of the class ErrHeaderRules and names the field.
func (h *Header) CheckSingletons() error { return nil }

// LoopLimits bounds the hops of a message. The zero value is the default.
type LoopLimits struct {
	// MaxReceived is the number of Received fields that is still accepted: 0 means 100 (RFC 5321 6.3).
	MaxReceived int
	// MaxOwn is the number of Received fields written by our own host that is still accepted: 0 means 3.
	MaxOwn int
}

// CheckLoop returns an ErrLoop if the message has more Received fields than the limits allow, in all or with "by host".
// An empty host checks the total alone.
func (h *Header) CheckLoop(host string, l LoopLimits) error { return nil }
