package bounce

import (
	"strings"

	"github.com/mailchute/mailchute/message"
)

// Evidence is what is known of one failure, from an answer within the session or from a report that came later.
type Evidence struct {
	Kind Kind // Failure where there is no report
	// Action is that of a report; "" where there is none.
	Action   message.Action
	Code     int    // basic code, 0 if unknown
	Status   [3]int // enhanced code, zero if unknown
	Text     string // the words of the server that refused it, or of the answering program
	Host     string // that server, or the reporting one
	Feedback string // type of a complaint
	// Sender is set for a refusal of the reverse-path. It says nothing about the recipient.
	Sender bool
	// Several is set for a refusal that was given for several recipients at once. It says of none that it does not exist.
	Several bool
}

// Evidence returns what the report says about an address.
func (r Report) Evidence(address string) Evidence {
	c := r.For(address)
	e := Evidence{Kind: r.KindFor(address), Action: c.Action, Code: c.Code, Status: c.Status, Text: c.Diagnostic, Host: c.RemoteMTA, Feedback: r.Feedback}
	if e.Host == "" {
		e.Host = r.ReportingMTA
	}
	if e.Text == "" || e.Kind != Failure && e.Kind != Delay {
		e.Text = r.Subject + "\n" + r.Text
	}
	return e
}

// Class is what a failure means.
type Class struct {
	Type Type
	// Hard means that the address does not take mail and will not: sending again is pointless.
	Hard bool
	// Suppress means that the address belongs on the stream's suppression list. Only a hard bounce and a complaint do.
	Suppress bool
	// Ours means that the cause is on the sender's side: authentication, reputation, content, size. The recipient is
	// not to blame and is never suppressed for it.
	Ours bool
	// Rule names the row of the table that decided.
	Rule string
}

// Classify decides by the first row that matches. It never guesses that an address is dead: that takes a permanent
// refusal and a row which says so.
func Classify(e Evidence) Class {
	e.Text = strings.ToLower(e.Text)
	e.Host = strings.ToLower(e.Host)
	for _, r := range rules() {
		if r.matches(e) {
			if e.Several && (r.result == HardBounce || r.result == BadEmailAddress) {
				return Class{Type: SoftBounce, Rule: r.name}
			}
			return Class{Type: r.result, Hard: r.result == HardBounce || r.result == BadEmailAddress,
				Suppress: r.result == HardBounce || r.result == SpamComplaint, Ours: r.ours, Rule: r.name}
		}
	}
	return Class{Type: UnknownType, Rule: "nothing known"}
}

// permanent tells whether the refusal was for good. A class of the status counts before that of the code, and an action
// of failed without either is what a server does when its own retries are over.
func (e Evidence) permanent() bool {
	if e.Status[0] != 0 {
		return e.Status[0] == 5
	}
	return e.Code/100 == 5 || e.Code == 0 && e.Kind == Failure
}

// rule is one row. Every condition that it has must hold; of a list, one entry must.
type rule struct {
	name     string
	kinds    []Kind   // nil: Failure and Delay
	class    int      // 5: permanent, 4: not permanent, 0: either
	statuses []string // subject.detail, "1.*" for a whole subject
	codes    []int
	hosts    []string // substrings of the host or of the text: which provider spoke
	words    []string // substrings of the text, in lower case
	feedback []string
	sender   bool // only refusals of the reverse-path
	result   Type
	ours     bool
}

func (r rule) matches(e Evidence) bool {
	return r.kind(e.Kind) &&
		(!r.sender || e.Sender) &&
		(r.class == 0 || (r.class == 5) == e.permanent()) &&
		(r.statuses == nil || statusIn(e.Status, r.statuses)) &&
		(r.codes == nil || codeIn(e.Code, r.codes)) &&
		(r.hosts == nil || containsAny(e.Host, r.hosts) || containsAny(e.Text, r.hosts)) &&
		(r.words == nil || containsAny(e.Text, r.words)) &&
		(r.feedback == nil || codeWord(e.Feedback, r.feedback))
}

func (r rule) kind(k Kind) bool {
	if r.kinds == nil {
		return k == Failure || k == Delay || k == ""
	}
	for _, want := range r.kinds {
		if k == want {
			return true
		}
	}
	return false
}

func statusIn(status [3]int, patterns []string) bool {
	if status[0] == 0 {
		return false
	}
	for _, p := range patterns {
		subject, detail, _ := strings.Cut(p, ".")
		if subject == itoa(status[1]) && (detail == "*" || detail == itoa(status[2])) {
			return true
		}
	}
	return false
}

func codeIn(code int, codes []int) bool {
	for _, c := range codes {
		if c == code {
			return true
		}
	}
	return false
}

func codeWord(s string, words []string) bool {
	for _, w := range words {
		if s == w {
			return true
		}
	}
	return false
}
