package relay

import (
	"time"

	"github.com/mailchute/mailchute/store"
)

// DelayNotices is when senders are told that their mail is still waiting (RFC 3461 4.1). A delivery causes one at most.
type DelayNotices struct {
	// After is how long after the acceptance; 0 means 4 hours, negative never.
	After time.Duration
	// Unasked tells also those who gave no NOTIFY, which the RFC leaves to us.
	Unasked bool
}

// delayed returns the indexes of the recipients whose sender is to be told now that they wait, and notes in the delivery
// that this was done. It is told with the attempt that ends nearest to the time: an attempt only to tell would be none.
func (o DelayNotices) delayed(about store.Message, d *store.Delivery, now time.Time) []int {
	if o.After < 0 || !d.Delayed.IsZero() || d.Done() {
		return nil
	}
	at := about.Accepted.Add(o.After)
	if early := at.Sub(now); early > 0 && early >= d.Due.Sub(at) {
		return nil
	}
	told := wanted(*d, openRecipients(*d), o.wants)
	if len(told) > 0 {
		d.Delayed = now
	}
	return told
}

func (o DelayNotices) wants(notify string) bool {
	return hasWord(notify, "DELAY") || o.Unasked && notify == ""
}
