package bounce

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/message"
)

// readStatus reads the fields of RFC 3464: one group about the message and one for each recipient. Some servers leave out
// the empty line between the first two, so a group about a recipient is whatever has its fields.
func (r *Report) readStatus(e entity) {
	r.Format = "rfc3464"
	for rest := e.body; len(rest) > 0 && len(r.Recipients) < maxGroups; {
		before := len(rest)
		var h header
		h, rest = parseHeader(rest)
		if mta := h.get("Reporting-MTA"); mta != "" && r.ReportingMTA == "" {
			_, mta = typed(mta)
			r.ReportingMTA = clean(mta, maxAddress)
		}
		if h.get("Final-Recipient")+h.get("Original-Recipient")+h.get("Action")+h.get("Status") != "" {
			r.Recipients = append(r.Recipients, statusRecipient(h))
		}
		if len(rest) == before { // a line that is no field and begins the rest
			_, next := lineAt(rest, 0)
			rest = rest[next:]
		}
		rest = bytes.TrimLeft(rest, "\r\n")
	}
}

func statusRecipient(h header) Recipient {
	r := Recipient{Address: typedAddress(h.get("Final-Recipient")), Original: typedAddress(h.get("Original-Recipient"))}
	_, diagnostic := typed(h.get("Diagnostic-Code"))
	_, remote := typed(h.get("Remote-MTA"))
	r.Diagnostic, r.RemoteMTA = clean(diagnostic, maxDiagnostic), clean(remote, maxAddress)
	r.Code, r.Status = codesIn(r.Diagnostic)
	if s, ok := parseStatus(h.get("Status")); ok && (r.Status == [3]int{} || s[1] != 0 || s[2] != 0) {
		r.Status = s // the field counts, unless it is as vague as 5.0.0 and the diagnostic knows more
	}
	r.Action = actionOf(h.get("Action"), r.Status)
	return r
}

// actionOf reads Action. Where it is missing or none of RFC 3464, the class of the status decides.
func actionOf(s string, status [3]int) message.Action {
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(s)), " ")
	switch a := message.Action(word); a {
	case message.ActionFailed, message.ActionDelayed, message.ActionDelivered, message.ActionRelayed, message.ActionExpanded:
		return a
	}
	switch status[0] {
	case 2:
		return message.ActionDelivered
	case 4:
		return message.ActionDelayed
	}
	return message.ActionFailed
}

// typedAddress reads an address field with its type; xtext and the escapes of RFC 6533 stay as they are.
func typedAddress(value string) string {
	_, address := typed(value)
	return plainAddress(address)
}

// plainAddress takes off what people put around an address.
func plainAddress(s string) string {
	s = clean(s, maxAddress)
	if i, j := strings.LastIndexByte(s, '<'), strings.LastIndexByte(s, '>'); i >= 0 && j > i {
		s = s[i+1 : j]
	}
	s = strings.Trim(s, "<>\"' \t,;:")
	if len(s) > len("mailto:") && strings.EqualFold(s[:len("mailto:")], "mailto:") {
		s = s[len("mailto:"):]
	}
	return s
}

var (
	enhancedCode = regexp.MustCompile(`(?:^|[^0-9.])([245])\.([0-9]{1,3})\.([0-9]{1,3})(?:$|[^0-9.])`)
	basicCode    = regexp.MustCompile(`(?:^|[^0-9.])([245][0-5][0-9])(?:$|[^0-9.])`)
)

// parseStatus reads an enhanced code (RFC 3463) at the start of a field; a comment may follow.
func parseStatus(s string) ([3]int, bool) {
	m := enhancedCode.FindStringSubmatchIndex(s + " ")
	if m == nil || strings.TrimSpace(s[:m[2]]) != "" {
		return [3]int{}, false
	}
	_, status := codesIn(s)
	return status, true
}

// codesIn finds the first basic and the first enhanced code in a text.
func codesIn(s string) (code int, status [3]int) {
	if m := enhancedCode.FindStringSubmatch(s); m != nil {
		for i := range status {
			status[i], _ = strconv.Atoi(m[i+1]) // the pattern allows three digits
		}
	}
	if m := basicCode.FindStringSubmatch(s); m != nil {
		code, _ = strconv.Atoi(m[1]) // likewise
	}
	if status[0] != 0 && code/100 != status[0] {
		code = 0
	}
	return code, status
}

// readFeedback reads a complaint (RFC 5965). Its three mandatory fields make it one; a feedback type that tells of
// something else than a person's complaint (auth-failure, dkim) is kept, but is none.
func (r *Report) readFeedback(e entity) {
	h, _ := parseHeader(e.body)
	r.Format, r.Kind = "arf", Unknown
	r.Feedback = strings.ToLower(clean(h.get("Feedback-Type"), 64))
	_, mta := typed(h.get("Reporting-MTA"))
	r.ReportingMTA = clean(mta, maxAddress)
	r.ReturnPath = plainAddress(h.get("Original-Mail-From"))
	if h.get("User-Agent") == "" || h.get("Version") == "" {
		return
	}
	switch r.Feedback {
	case "abuse", "fraud", "virus", "other", "opt-out", "opt-out-list", "miscategorized":
		r.Kind = Complaint
	case "not-spam":
		r.Kind = Unknown
	}
	for i, to := range h.all("Original-Rcpt-To") {
		if i == maxGroups {
			break
		}
		r.Recipients = append(r.Recipients, Recipient{Address: plainAddress(to)})
	}
}
