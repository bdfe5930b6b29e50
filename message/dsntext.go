package message

import (
	"fmt"
	"strings"
	"time"
)

// textActions is the order in which the fates are told, and what is said about each.
var textActions = [...]struct {
	action         Action
	subject, intro string
}{
	{ActionFailed, "Undelivered mail returned to sender",
		"Your message could not be delivered to the recipients below, and it will\nnot be tried again."},
	{ActionDelayed, "Delivery of your mail is delayed",
		"Your message has not been delivered to the recipients below yet. You do\nnot have to do anything: it is still being tried."},
	{ActionDelivered, "Your mail was delivered",
		"Your message was delivered to the recipients below."},
	{ActionRelayed, "Your mail was passed on",
		"Your message was passed on for the recipients below to a server that does\nnot report what becomes of it."},
	{ActionExpanded, "Your mail was delivered to a list",
		"Your message was delivered to the list below, which sends it on."},
}

// subject names the worst fate.
func (d DSN) subject() string {
	for _, a := range textActions {
		for _, r := range d.Recipients {
			if r.action() == a.action {
				return a.subject
			}
		}
	}
	return ""
}

// text is the part for people.
func (d DSN) text(o original) string {
	var b textWriter
	b.line("This is the mail system at %s.", traceWord(d.ReportingMTA))
	for _, a := range textActions {
		b.recipients(a.action, a.intro, d.Recipients)
	}
	if d.QueueID != "" {
		b.line("\nWhoever helps you with this needs the ID of the message:\n%s", cleanLine(d.QueueID))
	}
	if o.truncated {
		b.line("\nWhat is attached of your message ends after %d octets.", len(o.content))
	}
	return b.String()
}

// textWriter writes lines that end in CRLF.
type textWriter struct{ strings.Builder }

func (b *textWriter) line(format string, args ...any) {
	b.WriteString(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\r\n"))
	b.WriteString("\r\n")
}

func (b *textWriter) recipients(a Action, intro string, all []DSNRecipient) {
	for _, r := range all {
		if r.action() != a {
			continue
		}
		if intro != "" {
			b.line("\n%s", intro)
			intro = ""
		}
		b.recipient(r)
	}
}

func (b *textWriter) recipient(r DSNRecipient) {
	b.line("\n<%s>", r.Final)
	if _, orig, ok := strings.Cut(r.Original, ";"); ok && orig != r.Final.String() {
		b.line("  You wrote to: <%s>", cleanLine(orig))
	}
	b.line("  Status: %s", strings.TrimSpace(r.status()+" "+meaning(r.status())))
	if lines := cleanLines(r.Diagnostic); len(lines) > 0 {
		if r.RemoteMTA != "" {
			b.line("  The server %s said:", traceWord(r.RemoteMTA))
		} else {
			b.line("  Reason:")
		}
		for _, l := range lines {
			b.wrap("    ", l)
		}
	}
	b.time("Last tried", r.LastAttempt)
	if r.action() == ActionDelayed {
		b.time("Will be tried until", r.WillRetryUntil)
	}
}

func (b *textWriter) time(what string, t time.Time) {
	if !t.IsZero() {
		b.line("  %s: %s", what, Date(t))
	}
}

// wrap writes words in lines of no more than foldAt octets, longer words alone.
func (b *textWriter) wrap(indent, s string) {
	line := indent
	for w := range strings.FieldsSeq(s) {
		if len(line) > len(indent) && len(line)+len(" ")+len(w) > foldAt {
			b.line("%s", line)
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += w
	}
	b.line("%s", line)
}

// meaning says in words what subject and detail of an enhanced code mean (RFC 3463 3), where that helps the reader.
func meaning(status string) string {
	_, detail, _ := strings.Cut(status, ".")
	switch detail {
	case "1.1", "1.6":
		return "(there is no such mailbox)"
	case "1.2", "1.10":
		return "(the domain does not exist or takes no mail)"
	case "2.1":
		return "(the mailbox is disabled)"
	case "2.2":
		return "(the mailbox is full)"
	case "3.4":
		return "(the message is too large)"
	case "4.1", "4.2", "4.3", "4.4":
		return "(the destination could not be reached)"
	case "4.5", "4.6":
		return "(the destination is overloaded or loops)"
	case "4.7":
		return "(the time for delivery has run out)"
	case "6.7":
		return "(the destination does not take addresses beyond ASCII)"
	case "7.5":
		return "(a cryptographic check failed)"
	case "7.10", "7.30":
		return "(the encryption that is required was not to be had)"
	}
	if strings.HasPrefix(detail, "7.") && !strings.HasPrefix(status, "2") {
		return "(refused by the rules of the destination)"
	}
	return ""
}
