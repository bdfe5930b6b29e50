package bounce

import (
	"fmt"
	"io"
	"strings"

	"github.com/mailchute/mailchute/message"
)

// Kind is what a report is about.
type Kind string

// The kinds of reports. What is none of the others is unknown.
const (
	Failure   Kind = "failure"    // at least one recipient was given up
	Delay     Kind = "delay"      // somebody still tries
	Success   Kind = "success"    // delivered, relayed or expanded, as was asked for
	Complaint Kind = "complaint"  // a person called the message spam, or asked to be left alone
	AutoReply Kind = "auto-reply" // a program answered: vacation, challenge, change of address
	Unknown   Kind = "unknown"
)

// Limits of what is read of one report. What lies beyond is not looked at.
const (
	MaxSize       = 5 << 20  // octets of the report
	maxDepth      = 20       // parts within parts
	maxParts      = 100      // of the whole report
	maxHeader     = 64 << 10 // octets of one header section
	maxFields     = 500      // of one header section
	maxText       = 16 << 10 // octets of a text for people
	maxGroups     = 200      // recipients of one report
	maxDiagnostic = 1 << 10  // octets of one diagnostic
	maxAddress    = 320      // octets of one address
)

// Report is what Parse found. All its text is one line of valid UTF-8 without control characters, except Text.
type Report struct {
	Kind Kind
	// Format names the form that was recognised: rfc3464, arf, qmail, exim, postfix, sendmail, exchange, text, header,
	// or "" where none was.
	Format       string
	ReportingMTA string
	// Recipients are those that the report names, in its order. A report without any is about the one it was sent for.
	Recipients []Recipient
	// MessageID is the Message-ID of the message that the report is about, with angle brackets, "" if it does not say.
	MessageID string
	// ReturnPath is the reverse-path of that message as the report repeats it, "" if it does not.
	ReturnPath string
	// Feedback is the type of a complaint, such as abuse or opt-out, in lower case.
	Feedback string
	// Subject is the subject of the report itself.
	Subject string
	// Text is the start of what it says to people, its lines ending in LF.
	Text string
	// Truncated is set when a limit kept us from seeing all of it.
	Truncated bool
}

// Recipient is what a report says about one recipient.
type Recipient struct {
	Address    string // Final-Recipient, without its type
	Original   string // Original-Recipient, without its type
	Action     message.Action
	Status     [3]int // enhanced code, zero if there is none
	Code       int    // basic code of the diagnostic, 0 if it has none
	Diagnostic string // the words of the server that refused it
	RemoteMTA  string
}

// Parse reads a report. Its only errors are those of r: whatever the octets are, they are some kind of report.
func Parse(r io.Reader) (Report, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Report{}, fmt.Errorf("reading a report: %w", err)
	}
	w := walker{truncated: len(raw) > MaxSize}
	root := w.read(raw[:min(len(raw), MaxSize)])
	report := Report{Subject: clean(root.header.get("Subject"), maxDiagnostic), Text: textOf(w.leaves)}
	report.recognise(root, w.leaves)
	report.ofOriginal(w.leaves)
	report.Truncated = report.Truncated || w.truncated
	return report, nil
}

// recognise tries the forms from the strictest to the loosest.
func (r *Report) recognise(root entity, leaves []entity) {
	for _, e := range leaves {
		switch e.mediaType {
		case "message/feedback-report":
			r.readFeedback(e)
			return
		case "message/delivery-status", "message/global-delivery-status":
			r.readStatus(e)
		}
	}
	if len(r.Recipients) > 0 {
		r.Kind = kindOf(r.Recipients)
		return
	}
	if r.readText(root) || r.readAutomatic(root) {
		return
	}
	r.Kind, r.Recipients = Unknown, nil
}

// kindOf is that of the worst that happened.
func kindOf(recipients []Recipient) Kind {
	kind := Success
	for _, r := range recipients {
		switch r.Action {
		case message.ActionFailed:
			return Failure
		case message.ActionDelayed:
			kind = Delay
		}
	}
	return kind
}

// For returns what the report says about an address, or where it does not name it, what it says about its only or its
// worst recipient: a forwarding host reports the address that it forwarded to.
func (r Report) For(address string) Recipient {
	var worst Recipient
	for i, c := range r.Recipients {
		if strings.EqualFold(c.Address, address) || strings.EqualFold(c.Original, address) {
			return c
		}
		if i == 0 || worst.Action != message.ActionFailed && c.Action == message.ActionFailed {
			worst = c
		}
	}
	return worst
}

// KindFor is what the report says of one address: one that reports a failure may tell that this recipient was served.
func (r Report) KindFor(address string) Kind {
	if r.Kind != Failure && r.Kind != Delay && r.Kind != Success || len(r.Recipients) == 0 {
		return r.Kind
	}
	return kindOf([]Recipient{r.For(address)})
}

// ofOriginal takes what identifies the message from the copy of its header that most reports carry.
func (r *Report) ofOriginal(leaves []entity) {
	for _, e := range leaves {
		if !e.original() {
			continue
		}
		h, _ := parseHeader(e.body)
		if id := messageID(h.get("Message-ID")); id != "" && r.MessageID == "" {
			r.MessageID = id
		}
		if path := strings.Trim(clean(h.get("Return-Path"), maxAddress), "<> "); path != "" && r.ReturnPath == "" {
			r.ReturnPath = path
		}
	}
	if r.MessageID == "" {
		r.MessageID = quotedMessageID(r.Text)
	}
}

// quotedMessageID finds the Message-ID in a copy of the header that stands in the text itself.
func quotedMessageID(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimLeft(line, "> \t")
		if name, value, ok := strings.Cut(line, ":"); ok && (strings.EqualFold(name, "Message-ID") || strings.EqualFold(name, "Internet-Message-ID")) {
			if id := messageID(value); id != "" {
				return id
			}
		}
	}
	return ""
}

// messageID returns the first msg-id in s.
func messageID(s string) string {
	start := strings.IndexByte(s, '<')
	if start < 0 {
		return ""
	}
	end := strings.IndexByte(s[start:], '>')
	if end < len("<a@b") || end > 900 {
		return ""
	}
	id := s[start : start+end+1]
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return ""
		}
	}
	return id
}
