package bounce

import (
	"html"
	"regexp"
	"strings"

	"github.com/mailchute/mailchute/message"
)

// textOf returns the start of the text for people: the first plain part, else the first HTML part without its tags.
func textOf(leaves []entity) string {
	page := ""
	for _, e := range leaves {
		switch {
		case e.original() || e.header.get("Content-Disposition") != "" && strings.HasPrefix(strings.ToLower(e.header.get("Content-Disposition")), "attachment"):
		case e.mediaType == "text/plain" && len(strings.TrimSpace(string(e.body[:min(len(e.body), maxText)]))) > 0:
			return lines(string(e.body[:min(len(e.body), maxText)]))
		case e.mediaType == "text/html" && page == "":
			page = lines(untagged(string(e.body[:min(len(e.body), 4*maxText)])))
		}
	}
	return page[:min(len(page), maxText)]
}

// lines cleans a text line by line. Of an indentation, one space is left.
func lines(s string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			b.WriteByte(' ') // a line that continues another is told apart from one that begins something
		}
		b.WriteString(clean(line, maxDiagnostic))
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

var (
	unseen = regexp.MustCompile(`(?is)<(?:style|script|head)\b.*?</(?:style|script|head)>|<!--.*?-->`)
	breaks = regexp.MustCompile(`(?i)<(?:br|/p|/div|/tr|/li|/h[1-6])\b[^>]*>`)
	tags   = regexp.MustCompile(`<[^<>]*>`)
)

// untagged makes text of HTML, addresses in angle brackets included: those come as entities.
func untagged(s string) string {
	s = unseen.ReplaceAllString(s, " ")
	s = breaks.ReplaceAllString(strings.ReplaceAll(s, "\n", " "), "\n")
	return html.UnescapeString(tags.ReplaceAllString(s, ""))
}

// style is one family of servers that bounce in plain text.
type style struct {
	format string
	// mark is in the text, in lower case, of every bounce of the family.
	mark []string
	// entry finds the recipients: the first group is the address, the second, if any, the reason on the same line. A
	// reason otherwise stands on the lines below, up to an empty one.
	entry *regexp.Regexp
}

const addressPattern = `<?([^\s<>@"',;:()]+@[^\s<>"',;:()]*[^\s<>"',;:().])>?`

// styles are tried in order; the last one is for everybody else.
var styles = []style{
	{"qmail", []string{"this is the qmail-send program", "this is the mail delivery agent at", "this is the machine generated message from mail service", "i'm afraid i wasn't able to deliver your message"},
		regexp.MustCompile(`^<` + addressPattern[2:] + `:?\s*$`)},
	{"exim", []string{"this message was created automatically by mail delivery software", "this message was created automatically by the mail system (exim)"},
		regexp.MustCompile(`^\s*` + addressPattern + `(?:\s*\(?(?:generated|ultimately generated) from .*)?\s*$`)},
	{"postfix", []string{"this is the mail system at host", "this is the postfix program at host", "this is the postfix mail system"},
		regexp.MustCompile(`^` + addressPattern + `(?:\s*\(expanded from [^)]*\))?:\s*(.+)$`)},
	{"sendmail", []string{"the following addresses had permanent fatal errors", "the following addresses had transient non-fatal errors", "----- transcript of session follows"},
		regexp.MustCompile(`^\s*` + addressPattern + `(?:\s*\(.*\))?\s*$`)},
	{"exchange", []string{"your message did not reach some or all of the intended recipients", "delivery has failed to these recipients or groups", "delivery has failed to these recipients or distribution lists", "could not be reached:", "the following recipient(s) could not be reached", "the following recipient(s) cannot be reached"},
		regexp.MustCompile(`^\s*(?:[^<>@]*<|'|mailto:)?` + addressPattern + `'?(?:\s+on\s+[0-9/.:\sAPM]+)?\s*$`)},
	{"text", nil, regexp.MustCompile(`^[\s>*-]*(?:(?:to|recipient|address|failed|e-?mail|user)\s*:?\s*)?` + addressPattern + `(?:\s*[:-]\s*(.*))?$`)},
}

// readText recognises bounces that are no reports.
func (r *Report) readText(root entity) bool {
	lower := strings.ToLower(r.Text)
	failed := strings.Join(root.header.all("X-Failed-Recipients"), ",")
	for _, s := range styles {
		known := containsAny(lower, s.mark)
		if s.mark == nil && !(failed != "" || bouncing(root, lower)) {
			continue
		}
		if s.mark != nil && !known {
			continue
		}
		r.Format = s.format
		r.Recipients = s.recipients(r.Text)
		r.Kind = Failure
		break
	}
	if r.Kind == "" {
		return false
	}
	r.addFailed(failed)
	if len(r.Recipients) == 0 {
		r.Recipients = []Recipient{{Diagnostic: reason(r.Text)}}
	}
	r.settle(lower)
	return true
}

// addFailed adds what Exim and its followers name in the header.
func (r *Report) addFailed(list string) {
	if list == "" {
		return
	}
	if len(r.Recipients) == 0 {
		r.Format = "header"
	}
	for address := range strings.SplitSeq(list, ",") {
		address = plainAddress(address)
		known := false
		for _, c := range r.Recipients {
			known = known || strings.EqualFold(c.Address, address)
		}
		if !known && address != "" && len(r.Recipients) < maxGroups {
			r.Recipients = append(r.Recipients, Recipient{Address: address, Diagnostic: reason(r.Text)})
		}
	}
}

// settle gives the recipients of a text their codes and the action.
func (r *Report) settle(lower string) {
	action := message.ActionFailed
	if delays(strings.ToLower(r.Subject) + "\n" + lower) {
		action, r.Kind = message.ActionDelayed, Delay
	}
	for i := range r.Recipients {
		c := &r.Recipients[i]
		c.Action = action
		c.Code, c.Status = codesIn(c.Diagnostic)
	}
}

// recipients finds the entries of a text. The copy of the message that follows in it is not looked at.
func (s style) recipients(text string) []Recipient {
	var out []Recipient
	all := strings.Split(text, "\n")
	for i := 0; i < len(all) && len(out) < maxGroups; i++ {
		if endsReport(all[i]) {
			break
		}
		m := s.entry.FindStringSubmatch(all[i])
		if m == nil {
			continue
		}
		r := Recipient{Address: clean(m[1], maxAddress)}
		var why []string
		if len(m) > 2 && m[2] != "" {
			why = append(why, m[2])
		}
		for i+1 < len(all) && (strings.TrimSpace(all[i+1]) != "" || len(why) == 0 && i+2 < len(all)) && s.entry.FindString(all[i+1]) == "" && !endsReport(all[i+1]) {
			i++
			why = append(why, all[i])
		}
		r.Diagnostic = clean(strings.Join(why, " "), maxDiagnostic)
		if r.Diagnostic == "" {
			r.Diagnostic = reason(text)
		}
		out = append(out, r)
	}
	return out
}

// endsReport tells whether a line begins the copy of the message.
func endsReport(line string) bool {
	l := strings.ToLower(strings.TrimSpace(line))
	for _, p := range []string{
		"--- below this line is a copy", "------ this is a copy of the message", "--- enclosed", "----- original message", "-----original message",
		"----- unsent message follows", "--- the message", "----- message header follows", "original message headers", "original message follows", "--- undelivered message follows",
		"return-path:", "received: from", "-----message header",
	} {
		if strings.HasPrefix(l, p) {
			return true
		}
	}
	return false
}

// reason is the line of a text that most looks like one: the first with a code, else the first that says something known.
func reason(text string) string {
	second := ""
	for line := range strings.SplitSeq(text, "\n") {
		if endsReport(line) {
			break
		}
		if code, status := codesIn(line); code != 0 || status != [3]int{} {
			return clean(line, maxDiagnostic)
		}
		if second == "" && containsAny(strings.ToLower(line), reasonWords) {
			second = clean(line, maxDiagnostic)
		}
	}
	return second
}

var reasonWords = []string{
	"unknown user", "user unknown", "no such user", "does not exist", "doesn't exist", "not found", "mailbox full", "over quota", "quota exceeded",
	"mailbox is full", "no mailbox", "unrouteable address", "unroutable address", "rejected", "refused", "timed out", "disabled", "couldn't find any host", "invalid", "too large", "blocked", "unable to",
}

// bouncing tells whether a message without a known mark is a bounce. Words alone are not enough: people quote them.
func bouncing(root entity, lower string) bool {
	from := strings.ToLower(plainAddress(root.header.get("From")))
	machine := containsAny(from, []string{"mailer-daemon@", "postmaster@", "mail-daemon@", "mailerdaemon@", "maildelivery@", "mdaemon@", "bounce"}) || strings.HasPrefix(from, "mailer-daemon") ||
		strings.TrimSpace(root.header.get("Return-Path")) == "<>"
	if !machine {
		return false
	}
	subject := strings.ToLower(root.header.get("Subject"))
	return containsAny(subject, bounceSubjects) || containsAny(lower, bounceWords)
}

var bounceSubjects = []string{
	"undeliver", "delivery failure", "delivery failed", "delivery status notification", "failure notice", "returned mail", "returned to sender", "mail delivery", "delivery notification",
	"could not be delivered", "not delivered", "delivery problem", "delivery error", "nondeliverable", "non-deliverable", "message delayed", "delayed mail", "warning: message", "unzustellbar",
	"non remis", "no se puede entregar", "mancato recapito", "onbestelbaar",
}

var bounceWords = []string{
	"could not be delivered", "couldn't be delivered", "was not delivered", "undeliverable", "unable to deliver", "delivery failed", "delivery to the following", "permanent error",
	"konnte nicht zugestellt werden", "nicht zustellbar", "n'a pas pu être remis", "n'a pas pu etre remis", "no se pudo entregar", "has not been delivered", "not been able to deliver",
}

// delays tells whether somebody still tries.
func delays(lower string) bool {
	return containsAny(lower, []string{
		"this is a warning message only", "you do not need to resend", "will continue to be tried", "will continue to be made", "delivery attempts will continue", "will keep trying", "will be retried",
		"transient non-fatal errors", "has been delayed", "not yet been delivered", "delayed mail (still being retried)", "warning: message delayed", "will retry", "message still undelivered after", "still trying",
	}) && !containsAny(lower, []string{"i've given up", "given up", "giving up", "retry timeout exceeded", "permanent fatal errors"})
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// readAutomatic recognises the answers of programs (RFC 3834).
func (r *Report) readAutomatic(root entity) bool {
	h := root.header
	auto, _, _ := strings.Cut(strings.ToLower(h.get("Auto-Submitted")), ";")
	precedence := strings.ToLower(h.get("Precedence"))
	switch {
	case strings.HasPrefix(strings.TrimSpace(auto), "auto-"),
		h.get("X-Autoreply") != "", h.get("X-Autorespond") != "", h.get("X-Auto-Reply") != "", h.get("X-AutoReply-From") != "",
		h.get("X-Mail-Autoreply") != "", h.get("X-POST-MessageClass") != "",
		strings.Contains(precedence, "auto_reply") || strings.Contains(precedence, "auto-reply"),
		containsAny(strings.ToLower(r.Subject), autoSubjects), challenge(strings.ToLower(r.Subject + "\n" + r.Text)):
		r.Kind, r.Format = AutoReply, "header"
		return true
	}
	return false
}

var autoSubjects = []string{
	"out of office", "out of the office", "automatic reply", "autoreply", "auto-reply", "auto reply", "automated response", "automated reply", "auto response", "vacation", "on holiday", "away from my mail",
	"abwesenheit", "automatische antwort", "réponse automatique", "reponse automatique", "absence du bureau", "respuesta automática", "fuera de la oficina", "risposta automatica", "afwezig", "resposta automática",
}

// challenge tells whether a program wants a person to prove that there is one.
func challenge(lower string) bool {
	return containsAny(lower, []string{
		"please confirm your message", "verify that you are a real person", "challenge-response", "sender verification required", "please verify your message", "your message is awaiting confirmation",
		"click the link below to have your message delivered", "to release your message", "confirm that you are a human",
	})
}
