package message

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// statusPart makes the fields for machines (RFC 3464 2). Only the type of RFC 6533 may contain UTF-8.
func (d DSN) statusPart() part {
	var b bytes.Buffer
	s := statusWriter{b: &b, utf8: d.UTF8()}
	s.field("Reporting-MTA", "dns;", traceWord(d.ReportingMTA))
	s.field("Original-Envelope-Id", cleanLine(d.EnvID))
	s.field("X-Mailchute-Message-ID", cleanLine(d.QueueID))
	s.date("Arrival-Date", d.Arrival)
	for _, r := range d.Recipients {
		b.WriteString("\r\n")
		s.recipient(r)
	}
	p := part{mediaType: "message/delivery-status", description: "Delivery report", encoding: "7bit", body: b.Bytes()}
	if s.utf8 {
		p.mediaType = "message/global-delivery-status"
	}
	if hasHigh(p.body) {
		p.encoding = "8bit"
	}
	return p
}

type statusWriter struct {
	b    *bytes.Buffer
	utf8 bool
}

func (s statusWriter) recipient(r DSNRecipient) {
	if kind, addr, ok := strings.Cut(r.Original, ";"); ok {
		s.address("Original-Recipient", kind, cleanLine(addr))
	}
	s.address("Final-Recipient", "rfc822", r.Final.String())
	s.field("Action", string(r.action()))
	s.field("Status", r.status())
	if r.RemoteMTA != "" {
		s.field("Remote-MTA", "dns;", traceWord(r.RemoteMTA))
	}
	if words := strings.Fields(strings.Join(cleanLines(r.Diagnostic), " ")); len(words) > 0 {
		kind := "smtp;"
		if r.RemoteMTA == "" {
			kind = "x-mailchute;" // RFC 3464 2.3.6: not the words of any SMTP server
		}
		s.field("Diagnostic-Code", append([]string{kind}, words...)...)
	}
	s.date("Last-Attempt-Date", r.LastAttempt)
	if r.action() == ActionDelayed {
		s.date("Will-Retry-Until", r.WillRetryUntil)
	}
}

// address writes an address with its type. One that is not ASCII becomes the utf-8 type in either of its forms.
func (s statusWriter) address(name, kind, addr string) {
	kind = strings.ToLower(strings.TrimSpace(kind))
	if !isASCII(addr) || kind == "utf-8" {
		s.field(name, "utf-8;", utf8Address(addr, s.utf8))
		return
	}
	if !isDotString(kind) {
		kind = "rfc822"
	}
	s.field(name, kind+";", addr)
}

// utf8Address writes an address as utf-8-addr-unitext or, for a part in ASCII, as utf-8-addr-xtext (RFC 6533 3).
func utf8Address(addr string, unitext bool) string {
	var b strings.Builder
	for _, r := range addr {
		switch {
		case r <= ' ' || r == '+' || r == '=' || r == '\\' || r == 0x7f || r > 0x7f && !unitext:
			fmt.Fprintf(&b, `\x{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// field writes a folded field, none if there is nothing to tell.
func (s statusWriter) field(name string, words ...string) {
	if strings.Join(words, "") == "" {
		return
	}
	var f folder
	f.add(name + ":")
	for _, w := range words {
		if !s.utf8 {
			w = toASCII(w)
		}
		f.add(w)
	}
	s.b.Write(f.bytes())
}

func (s statusWriter) date(name string, t time.Time) {
	if !t.IsZero() {
		s.field(name, Date(t))
	}
}
