package message

import (
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// TraceInfo is what a Received field tells about one submission. Every string may come from the client: what does not
// fit the grammar is replaced or left out.
type TraceInfo struct {
	// Hello is the argument of EHLO or HELO, empty for HTTP.
	Hello string
	// ClientIP is the address of the client.
	ClientIP netip.Addr
	// HideClient leaves out Hello and ClientIP, for streams that must not show where their mail is made.
	HideClient bool
	// By is our own host name.
	By string
	// Protocol is the WITH word, ProtocolWord or "HTTP". Empty leaves the clause out.
	Protocol string
	// TLSVersion and TLSCipher are names as crypto/tls gives them. An empty version means no TLS.
	TLSVersion, TLSCipher string
	// ID is the message ID of ours.
	ID string
	// For is the recipient. It must be nil unless the operator asked for it and there is exactly one recipient: it would
	// show a blind recipient to the others (RFC 5321 7.2). One that is not ASCII is left out.
	For *Address
	// Time is the moment of reception.
	Time time.Time
}

// ProtocolWord returns the WITH word of RFC 3848 and RFC 6531 for an SMTP session: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA,
// UTF8SMTP, UTF8SMTPS, UTF8SMTPA or UTF8SMTPSA. utf8 means that the client gave SMTPUTF8 for this message.
func ProtocolWord(extended, utf8, tls, auth bool) string {
	if !extended {
		return "SMTP"
	}
	return protocolWords[bit(utf8)][bit(tls)][bit(auth)]
}

// protocolWords are by UTF-8, TLS and authentication.
var protocolWords = [2][2][2]string{
	{{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
	{{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}},
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Received returns a complete Received field (RFC 5321 4.4), folded at 78 columns where its words allow, ending in CRLF,
// and always exactly one field in printable ASCII whatever t contains.
func Received(t TraceInfo) []byte {
	f := folder{buf: make([]byte, 0, 256)}
	f.add("Received:")
	t.from(&f)
	f.add("by ", traceWord(t.By))
	if t.Protocol != "" {
		f.add("with ", traceWord(t.Protocol))
	}
	if t.TLSVersion != "" {
		f.add("(", cleanTrace(strings.TrimSpace(t.TLSVersion+" "+t.TLSCipher), " "), ")")
	}
	if t.ID != "" {
		f.add("id ", traceWord(t.ID))
	}
	if t.For != nil && checkText(t.For.String(), false) == nil && t.For.check() == nil {
		f.add("for <", t.For.String(), ">")
	}
	f.end(";")
	f.add(Date(t.Time))
	return f.bytes()
}

// from writes the FROM clause, which the grammar demands even where there is nothing to tell.
func (t TraceInfo) from(f *folder) {
	if t.HideClient {
		f.add("from hidden.invalid")
		f.add("(client not shown)")
		return
	}
	hello, literal := t.Hello, ""
	if t.ClientIP.IsValid() {
		literal = formatLiteral(t.ClientIP.WithZone(""))
	}
	switch {
	case hello != "":
		hello = traceWord(hello)
	case literal != "":
		hello = literal
	default:
		hello = "unknown.invalid"
	}
	f.add("from ", hello)
	if literal != "" {
		f.add("(", literal, ")")
	}
}

// maxTraceWord bounds a word from the client so that the line stays within RFC 5322 2.1.1.
const maxTraceWord = maxDomain

// traceWord makes one word of s: what could end the clause, open a comment or is no printable ASCII becomes a question
// mark.
func traceWord(s string) string {
	if s = cleanTrace(s, ""); s == "" {
		return "?"
	}
	return s
}

// cleanTrace keeps letters, digits, harmless punctuation and what else is allowed.
func cleanTrace(s, allowed string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && isAlnum(byte(r)) || strings.ContainsRune("-._:[]+=/!#$%&'*^`{|}~", r) || strings.ContainsRune(allowed, r) {
			return r
		}
		return '?'
	}, s)
	return s[:min(len(s), maxTraceWord)]
}

// dateLayout is the date-time of RFC 5322 3.3 without comments.
const dateLayout = "Mon, 02 Jan 2006 15:04:05 -0700"

// Date formats t as the value of a Date field (RFC 5322 3.3).
func Date(t time.Time) string { return t.Format(dateLayout) }

// NewMessageID returns a Message-ID value with angle brackets. It is unique if id is. Characters of id and host that do
// not fit are left out, and a host of which nothing is left becomes "localhost".
func NewMessageID(id, host string) string {
	left := strings.Map(func(r rune) rune {
		if r < 0x80 && isAtext(byte(r)) {
			return r
		}
		return -1
	}, id)
	right, err := toALabels(host)
	if err != nil || checkLabels(right) != nil {
		right = "localhost"
	}
	return "<" + left + "@" + right + ">"
}

// AddMissing adds a Date field with t and a Message-ID field with messageID where h has none or an empty one, and
// returns the names of those it added. A Date or Message-ID that is there is kept byte for byte, whatever X-PM-KeepID
// says (RFC 6409 8.2, 8.3). Control characters in messageID are left out.
func AddMissing(h *Header, t time.Time, messageID string) []string {
	var added []string
	if !h.Has("Date") {
		h.replace("Date", Date(t))
		added = append(added, "Date")
	}
	if !h.Has("Message-ID") {
		h.replace("Message-ID", strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, messageID))
		added = append(added, "Message-ID")
	}
	return added
}

// replace puts a field at the end for all of that name.
func (h *Header) replace(name, value string) {
	h.drop(func(f Field) bool { return f.Is(name) })
	h.fields, h.blank = append(h.fields, Field{raw: []byte(name + ": " + value + "\r\n"), colon: len(name)}), true
}
