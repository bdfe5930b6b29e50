package intake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Suppressions is what intake asks of the lists of addresses that streams do not
// write to.
type Suppressions interface {
	// Suppressed returns those of the addresses that are on the list of the
	// stream. They are as message.MailboxKey writes them.
	Suppressed(ctx context.Context, server int64, stream string, addresses ...string) ([]store.Suppression, error)
}

// suppressed finds the recipients that the stream does not write to, by the
// form that is compared. A *Refusal says that these are all of them.
func (s *submission) suppressed(ctx context.Context) (map[string]store.Suppression, error) {
	if s.opts.Suppressions == nil {
		return nil, nil
	}
	keys := make([]string, len(s.envelope.Recipients))
	for i, r := range s.envelope.Recipients {
		var err error
		if keys[i], err = message.MailboxKey(r.Address); err != nil {
			return nil, &Refusal{Kind: KindRecipient, Reason: "recipient address is malformed", Err: err}
		}
	}
	found, err := s.opts.Suppressions.Suppressed(ctx, s.server.ID, s.stream.ID, keys...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	list := make(map[string]store.Suppression, len(found))
	for _, f := range found {
		list[f.Address] = f
	}
	for _, k := range keys {
		if _, off := list[k]; !off {
			return list, nil
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return nil, &Refusal{Kind: KindSuppressed, Reason: InactiveReason(keys, namedInactive, namedOctets), Inactive: keys}
}

// A reply names that many addresses of that many octets in all, but one in any
// case: it is one line of 512 octets.
const (
	namedInactive = 5
	namedOctets   = 240
)

// InactiveReason says that recipients are suppressed in the words that Postmark's
// clients look for, without the final stop. It names up to count addresses of
// up to octets in all, and the first in any case.
func InactiveReason(addresses []string, count, octets int) string {
	named, size := 0, 0
	for _, a := range addresses {
		if size += len(a); named > 0 && (named == count || size > octets) {
			break
		}
		named++
	}
	more := ""
	if n := len(addresses) - named; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: " +
		strings.Join(addresses[:named], ", ") + more + ". Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression"
}

// leaveOut marks the recipients of the deliveries that are on the list. They
// stay in the record of the message and are never attempted.
func leaveOut(deliveries []store.Delivery, list map[string]store.Suppression, now time.Time) error {
	if len(list) == 0 {
		return nil
	}
	for i := range deliveries {
		for j := range deliveries[i].Recipients {
			r := &deliveries[i].Recipients[j]
			key, err := message.MailboxKey(r.Address)
			if err != nil {
				return &Refusal{Kind: KindRecipient, Reason: "recipient address is malformed", Err: err}
			}
			if f, off := list[key]; off {
				r.State = store.Suppressed
				r.Last = store.Reply{Text: fmt.Sprintf("not sent: %s by the %s since %s", f.Reason, f.Origin, f.Created.UTC().Format(time.DateOnly)), At: now}
			}
		}
	}
	return nil
}
