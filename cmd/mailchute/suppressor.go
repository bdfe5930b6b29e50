package main

import (
	"context"
	"fmt"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// suppressor puts on the lists what the way out and the way back learn of
// addresses.
type suppressor struct {
	directory store.Directory
	lists     store.Suppressions
}

// Suppress implements relay.Suppressor. A stream may not want hard bounces to be
// listed; complaints always are.
func (s suppressor) Suppress(ctx context.Context, r relay.Suppression) error {
	reason, by := store.SuppressedHardBounce, "a refusal for good"
	switch {
	case r.Reason == bounce.SpamComplaint:
		reason, by = store.SuppressedSpamComplaint, "a complaint"
	case r.Reason != bounce.HardBounce:
		return fmt.Errorf("suppressing for %q: %w", r.Reason, store.ErrInvalid)
	case s.directory.Snapshot().Streams[store.StreamKey{Server: r.Server, Stream: r.Stream}].IgnoreBounces:
		return nil
	}
	address, err := message.MailboxKey(r.Address)
	if err != nil {
		return fmt.Errorf("address to suppress: %w", err)
	}
	_, err = s.lists.Suppress(ctx, store.Suppression{
		Server: r.Server, Stream: r.Stream, Address: address, Reason: reason, Origin: store.OriginRecipient,
		Created: r.At, By: by, Message: r.Message,
	})
	return err
}
