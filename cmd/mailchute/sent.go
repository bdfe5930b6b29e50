package main

import (
	"bytes"
	"context"
	"io"
	"slices"

	"github.com/mailchute/mailchute/api/unsubscribe"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// sources are what a copy is made of again.
type sources struct {
	store   *local.Store
	keyring *auth.Keyring
}

// firstTop is sentTop of the first copy that was handed over; nothing is on top of
// a message that nobody has yet.
func (s sources) firstTop(ctx context.Context, r store.Record) ([]byte, error) {
	at := slices.IndexFunc(r.Events, func(e store.Event) bool { return e.Kind == store.EventSent })
	if at < 0 {
		return nil, nil
	}
	return sentTop(ctx, s, r, r.Events[at])
}

// sentTop makes again what a copy handed over had on top of the message: its DKIM
// signatures and its link to unsubscribe. That depends on nothing but the message,
// the recipient and the keys.
func sentTop(ctx context.Context, s sources, r store.Record, e store.Event) ([]byte, error) {
	top := copyTop(s, r, e)
	open := func(ctx context.Context) (io.ReadCloser, error) {
		body, err := s.store.Body(ctx, r.Message.ID)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(top), body), body}, nil
	}
	fields, err := domains.NewSigner(s.store, s.keyring, domains.SignerOptions{}).Again(ctx, r.Message, open, e.SignedBy)
	return append(fields, top...), err
}

// copyTop is what the copy of a recipient has on top of the message, below its
// signatures. A redirected copy, which goes to somebody else, has none.
func copyTop(s sources, r store.Record, e store.Event) []byte {
	if relay.Redirected(e) {
		return nil
	}
	n := 0
	for _, d := range r.Deliveries {
		for _, rcpt := range d.Recipients {
			if rcpt.Address == e.Recipient {
				return unsubscribe.Links{Keys: s.keyring}.Fields(r.Message, n, rcpt.Address)
			}
			n++
		}
	}
	return nil
}
