package message

import (
	"net/netip"
	"time"
)

// TraceInfo is what a Received field tells about one submission. Every string may come from the client: what does not
// fit the grammar is cleaned or left out.
type TraceInfo struct {
	// Hello is the argument of EHLO or HELO, empty for HTTP.
	Hello string
	// ClientIP is the address of the client.
	ClientIP netip.Addr
	// HideClient leaves out Hello and ClientIP.
	HideClient bool
	// By is our own host name.
	By string
	// Protocol is the WITH word, ProtocolWord or "HTTP". Empty leaves the clause out.
	Protocol string
	// TLSVersion and TLSCipher are names as crypto/tls gives them. Empty means no TLS.
	TLSVersion, TLSCipher string
	// ID is the message ID of ours.
	ID string
	// For is the recipient. It must be left nil unless the operator asked for it and there is exactly one recipient: it would show
	// a blind recipient to the others (RFC 5321 7.2).
	For *Address
	// Time is the moment of reception.
	Time time.Time
}

// ProtocolWord returns the WITH word of RFC 3848 and RFC 6531 for an SMTP session: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP,
// UTF8SMTPS, UTF8SMTPA or UTF8SMTPSA.
func ProtocolWord(extended, utf8, tls, auth bool) string { return "" }

// Received returns a complete Received field (RFC 5321 4.4), folded at 78 columns where its words allow, ending in CRLF, and always
// exactly one field in printable ASCII whatever t contains.
func Received(t TraceInfo) []byte { return nil }

// Date formats t as the value of a Date field (RFC 5322 3.3).
func Date(t time.Time) string { return "" }

// NewMessageID returns a Message-ID value with angle brackets. It is unique if id is. Characters of id and host that do not fit are left out.
func NewMessageID(id, host string) string { return "" }

// AddMissing adds a Date field with t and a Message-ID field with messageID where h has none or an empty one, and returns the names of those it
// added. A Date or Message-ID that is there is kept byte for byte (RFC 6409 8.2, 8.3).
func AddMissing(h *Header, t time.Time, messageID string) []string { return nil }
