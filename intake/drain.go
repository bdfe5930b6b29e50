package intake

import (
	"slices"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// drained refuses for now what is written to a destination that the operator drains: it takes nothing new until that is over.
func drained(snap *store.Snapshot, domain string) error {
	if slices.ContainsFunc(snap.Account.Pauses, func(p store.Pause) bool { return p.Drain && p.Destination == domain }) {
		return &Refusal{Kind: KindBusy, Reason: "nothing is taken for this domain at present; try again later"}
	}
	return nil
}

// drainedFor looks at the recipients of a submission, which HTTP names all at once.
func drainedFor(snap *store.Snapshot, to []Recipient) error {
	if len(snap.Account.Pauses) == 0 {
		return nil
	}
	for _, r := range to {
		address, err := message.ParsePath(r.Address, true)
		if err != nil {
			continue // refused for that
		}
		domain, err := message.Destination(address)
		if err != nil {
			continue
		}
		if err := drained(snap, domain); err != nil {
			return err
		}
	}
	return nil
}
