package relay

import (
	"strings"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

// Rehearse ends all open recipients of a delivery to a domain for tests as their addresses ask for, without any network:
// programs send there to see what they make of a bounce.
func (p Policy) Rehearse(c store.Claimed, now time.Time) Decision {
	if !strings.EqualFold(c.Delivery.Destination, message.BounceTests) {
		return p.Capture(c, now, "an address for tests; nothing was sent")
	}
	n := newDecider(p, Attempt{Claimed: c, Now: now})
	for _, i := range openRecipients(n.delivery) {
		rcpt := &n.delivery.Recipients[i]
		kind := rehearsed(rcpt.Address)
		reply := store.Reply{Code: 550, Enhanced: [3]int{5, 0, 0}, Text: "a test of " + string(kind) + "; nothing was sent", Command: phaseRcpt, Host: message.BounceTests, At: now}
		rcpt.State, rcpt.Last = store.Bounced, reply
		n.event(store.EventBounced, i, reply, "")
		n.classify(i, bounce.Class{Type: kind, Suppress: kind == bounce.HardBounce})
		n.Failed = append(n.Failed, i)
	}
	return n.decision()
}

// rehearsed is the bounce type that an address asks for: by its name in any case, with underscores or without. A
// complaint takes a message that arrived, so that this and every other word is a hard bounce.
func rehearsed(address string) bounce.Type {
	local, _, _ := strings.Cut(strings.ReplaceAll(address, "_", ""), "@")
	for _, t := range bounce.Types() {
		if strings.EqualFold(local, string(t.Type)) && t.Type != bounce.SpamComplaint {
			return t.Type
		}
	}
	return bounce.HardBounce
}
