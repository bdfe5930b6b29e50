package message

// AuthorDomain returns the domain of the first author in From, in lower-case A-labels: the one that answers for the message to
// those who read it (RFC 7489 section 3.1). It is "" where From is missing, is no list of addresses, or has an address literal.
func (h *Header) AuthorDomain() string {
	authors, err := h.AddressList("From")
	if err != nil {
		return ""
	}
	return AuthorDomain(authors)
}

// AuthorDomain is the method of that name for the mailboxes in From.
func AuthorDomain(authors []Mailbox) string {
	if len(authors) == 0 {
		return ""
	}
	domain, err := Destination(authors[0].Address)
	if err != nil || domain == "" || domain[0] == '[' {
		return ""
	}
	return domain
}
