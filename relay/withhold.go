package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Suppressions is what delivery asks of the lists of addresses that streams do not write to.
type Suppressions interface {
	// Suppressed returns those of the addresses that are on the list of the stream. They are as message.MailboxKey writes
	// them. It is asked at every attempt.
	Suppressed(ctx context.Context, server int64, stream string, addresses ...string) ([]store.Suppression, error)
}

// withhold ends the recipients that came onto the list of their stream while the message waited. Nobody is told: whoever
// took them off does not want to hear that nothing was sent. Notices of our own go out, as does what is redirected, since
// it is not written to these addresses. The list is asked before anything else is decided, so that a recipient on it never
// becomes a bounce.
//
// A hard bounce of this very message is no reason: the address was listed, and the process died before the result was
// recorded. The attempt is made again, so that the sender is told.
func (d *Dispatcher) withhold(ctx context.Context, c *store.Claimed, act action) (events []store.Event, err error) {
	if d.opts.Suppressions == nil || act != actSend || c.Message.Bounce {
		return nil, nil
	}
	keys := make(map[string][]int)
	for _, i := range openRecipients(c.Delivery) {
		if key, err := message.MailboxKey(c.Delivery.Recipients[i].Address); err == nil {
			keys[key] = append(keys[key], i)
		}
	}
	addresses := make([]string, 0, len(keys))
	for key := range keys {
		addresses = append(addresses, key)
	}
	list, err := d.opts.Suppressions.Suppressed(ctx, c.Delivery.Server, c.Delivery.Stream, addresses...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	now := d.opts.Now()
	c.Delivery.Recipients = slices.Clone(c.Delivery.Recipients)
	for _, s := range list {
		if s.Reason == store.SuppressedHardBounce && s.Message == c.Message.ID {
			continue
		}
		for _, i := range keys[s.Address] {
			r := &c.Delivery.Recipients[i]
			r.State = store.Suppressed
			r.Last = store.Reply{At: now, Text: fmt.Sprintf("not sent: %s by the %s since %s", s.Reason, s.Origin, s.Created.UTC().Format(time.DateOnly))}
			events = append(events, store.Event{
				At: now, Kind: store.EventSuppressed, Part: c.Delivery.ID.Part, Attempt: c.Delivery.Attempt, Recipient: r.Address, Detail: r.Last.Text,
			})
		}
	}
	slices.SortStableFunc(events, func(a, b store.Event) int { return compareRecipients(c.Delivery, a, b) })
	return events, nil
}

// compareRecipients puts events in the order of their recipients.
func compareRecipients(d store.Delivery, a, b store.Event) int {
	at := func(e store.Event) int {
		return slices.IndexFunc(d.Recipients, func(r store.Recipient) bool { return r.Address == e.Recipient })
	}
	return at(a) - at(b)
}

// withheld is the decision about a delivery of which nobody is left.
func withheld(c store.Claimed) Decision {
	delivery := c.Delivery
	delivery.Lease = time.Time{}
	return Decision{Resolution: store.Resolution{Delivery: delivery}}
}

// listUnread puts a delivery off whose stream's list cannot be read.
func (d *Dispatcher) listUnread(c store.Claimed, err error) Decision {
	return d.unasked(c, broken(phaseList, detailLocal, fmt.Errorf("reading the stream's suppressions: %w", err), d.opts.Now()).result(""))
}
