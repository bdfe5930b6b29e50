package relay

import (
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// contact is what an attempt says about the site.
type contact struct {
	kind    contactKind
	lookup  bool          // silent were name servers, not the site
	refuses bool          // slowDown: it refuses everybody at the moment, not this message
	asked   time.Duration // slowDown: the pause that its reply asks for, 0 for none
	why     string        // the reply, or the cause, in one line
	hosts   []string      // the mail hosts of the domain, nil where they were not looked up
}

type contactKind uint8

const (
	noContact contactKind = iota // nothing was asked of it
	silent                       // it gave no answer
	answered
	slowDown // it asked for less
)

// contactOf reads it off the results. What says more of the site wins: a wish for less, one reply, silence.
func contactOf(results []Result) contact {
	var c contact
	for _, r := range results {
		if one := contactOfOne(r); one.kind > c.kind {
			if c = one; c.kind != answered { // nobody asks an answer why
				c.why = r.Reply.Line()
			}
		}
	}
	return c
}

func contactOfOne(r Result) (c contact) {
	v := r.Verdict()
	switch {
	case r.Reply.Command == phaseSign: // it went no further than this process
	case r.Reply.Host != "" && asksForLess(r.Reply):
		c.kind, c.refuses = slowDown, r.Reply.Code == 421 || r.Reply.Command == phaseConnect || r.Reply.Command == phaseHello
		c.asked, _ = tryAgainIn(r.Reply.Text)
	case r.Reply.Host != "":
		c.kind = answered
	case v == Uncertain:
		c.kind = silent
	case v != Temporary:
	case r.Reply.Command == phaseDNS && [2]int(r.Reply.Enhanced[1:]) == detailDirectory:
		c.kind, c.lookup = silent, true
	case [2]int(r.Reply.Enhanced[1:]) == detailNoAnswer, [2]int(r.Reply.Enhanced[1:]) == detailLost:
		c.kind = silent
	}
	return c
}

// asksForLess tells whether a reply is about how much we send: 421 says that the host cannot serve now (RFC 5321 3.8),
// 4.7.x that a policy is in the way (RFC 3463), and a greeting of 4xx that it is busy. Greylisting uses the same codes and
// means the one message; it is told by its words.
func asksForLess(r store.Reply) bool {
	switch {
	case r.Code == 421:
		return true
	case r.Code/100 != 4:
		return false
	case r.Command == phaseConnect || r.Command == phaseHello:
		return true
	}
	return [2]int(r.Enhanced[:2]) == [2]int{4, 7} && !greylisting(r.Text)
}

func greylisting(text string) bool {
	text = strings.ToLower(text)
	for _, word := range []string{"greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list", "postgrey"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
