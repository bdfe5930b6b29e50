package relay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// envelope is one transaction's MAIL and RCPT, parsed.
type envelope struct {
	message store.Message
	from    message.Address
	rcpts   []forward
}

// forward is one recipient of an envelope, with its place among the job's recipients.
type forward struct {
	index   int
	address message.Address
	from    message.Address // reverse-path
	rcpt    Rcpt
}

// mailCommand builds MAIL with the parameters that the host offers, or says why this host cannot take the message. Those
// are permanent: another host of the same domain will hardly be different, and an honest notice now is better than silence
// for days. Content is not converted to seven bits, since that would break its signatures (RFC 6152 3).
func (e *envelope) mailCommand(ext extensions, host string, now time.Time) (string, *fault) {
	m := &e.message
	switch {
	case (m.UTF8 || !e.from.ASCII()) && !ext.utf8:
		return "", own(phaseMail, 550, detailUTF8, now, "the message needs SMTPUTF8, which %s does not offer", host)
	case m.EightBit && !ext.eightBit:
		return "", own(phaseMail, 554, detailEightBit, now, "the message has 8-bit content, and %s does not offer 8BITMIME", host)
	case ext.maxSize > 0 && m.Size > ext.maxSize:
		return "", own(phaseMail, 552, detailTooLarge, now, "the message has %d octets, and %s takes at most %d", m.Size, host, ext.maxSize)
	}
	var b strings.Builder
	b.Grow(128)
	b.WriteString("MAIL FROM:<")
	b.WriteString(e.from.String())
	b.WriteByte('>')
	if ext.size && m.Size > 0 {
		b.WriteString(" SIZE=" + strconv.FormatInt(m.Size, 10))
	}
	if ext.eightBit && m.EightBit {
		b.WriteString(" BODY=8BITMIME")
	}
	if ext.utf8 && e.needsUTF8() {
		b.WriteString(" SMTPUTF8")
	}
	if ext.dsn && (m.Ret == "FULL" || m.Ret == "HDRS") {
		ret := m.Ret
		if m.RequireTLS {
			ret = "HDRS" // RFC 8689 5
		}
		b.WriteString(" RET=" + ret)
	}
	if ext.requireTLS && m.RequireTLS {
		b.WriteString(" REQUIRETLS")
	}
	if ext.dsn && m.EnvID != "" && len(m.EnvID) <= 100 && ascii(m.EnvID) {
		b.WriteString(" ENVID=" + xtext(m.EnvID))
	}
	return b.String(), nil
}

func (e *envelope) needsUTF8() bool {
	if e.message.UTF8 || !e.from.ASCII() {
		return true
	}
	for _, f := range e.rcpts {
		if !f.address.ASCII() {
			return true
		}
	}
	return false
}

// rcptCommand builds RCPT, or says why the host cannot take this recipient.
func (f forward) rcptCommand(ext extensions, host string, now time.Time) (string, *fault) {
	if !f.address.ASCII() && !ext.utf8 {
		return "", own(phaseRcpt, 550, detailUTF8, now, "the address needs SMTPUTF8, which %s does not offer", host)
	}
	command := "RCPT TO:<" + f.address.String() + ">"
	if !ext.dsn {
		return command, nil
	}
	if notify := notifyParam(f.rcpt.Notify); notify != "" {
		command += " NOTIFY=" + notify
	}
	if orcpt := orcptParam(f.rcpt.ORcpt); orcpt != "" {
		command += " ORCPT=" + orcpt
	}
	return command, nil
}

// notifyParam returns a NOTIFY value in canonical form, "" for one that RFC 3461 4.1 does not allow.
func notifyParam(s string) string {
	if strings.EqualFold(s, "NEVER") {
		return "NEVER"
	}
	var known []string
	for _, word := range strings.Split(strings.ToUpper(s), ",") {
		switch word {
		case "SUCCESS", "FAILURE", "DELAY":
			known = append(known, word)
		default:
			return ""
		}
	}
	return strings.Join(known, ",")
}

// orcptParam encodes type;address for the wire: xtext, or for the type utf-8 the form of RFC 6533 3 that needs no
// SMTPUTF8. What does not fit is left out: it is for the sender's convenience, and a host that refused it would cost the
// message.
func orcptParam(s string) string {
	kind, address, ok := strings.Cut(s, ";")
	if !ok || address == "" || kind == "" || strings.Trim(strings.ToLower(kind), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	var out string
	switch {
	case strings.EqualFold(kind, "utf-8") && utf8.ValidString(address):
		out = kind + ";" + utf8xtext(address)
	case ascii(address):
		out = kind + ";" + xtext(address)
	}
	if len(out) > 500 {
		return ""
	}
	return out
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// xtext encodes ASCII text so that it can stand in a parameter (RFC 3461 4).
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// utf8xtext is utf-8-addr-xtext of RFC 6533 3.
func utf8xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
