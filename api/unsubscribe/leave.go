package unsubscribe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Store is what the page reads and writes.
type Store interface {
	Snapshot() *store.Snapshot
	Suppress(ctx context.Context, all ...store.Suppression) (int, error)
	Suppressed(ctx context.Context, server int64, stream string, addresses ...string) ([]store.Suppression, error)
	Record(ctx context.Context, id store.ID) (store.Record, error)
	Return(ctx context.Context, r store.Return) error
}

// maxTries is how often a recipient that changes meanwhile is looked at again.
const maxTries = 5

// leave puts the address of a link on the list of its stream, and of the one that the message was rerouted to, and tells it
// in the timeline of the message. Both are done once however often it is called, and what a crash has left undone is done by
// the next call. A server that is gone sends nothing any more.
func leave(ctx context.Context, s Store, l link, at time.Time) error {
	if _, ok := s.Snapshot().Servers[l.server]; !ok {
		return nil
	}
	streams, err := streamsOf(ctx, s, l)
	if err != nil {
		return err
	}
	var news []store.Suppression
	for _, stream := range streams {
		listed, err := s.Suppressed(ctx, l.server, stream, l.address)
		if err != nil {
			return fmt.Errorf("looking up the list: %w", err)
		}
		if !slices.ContainsFunc(listed, store.Suppression.Binding) {
			news = append(news, store.Suppression{
				Server: l.server, Stream: stream, Address: l.address, Message: l.message,
				Reason: store.SuppressedManually, Origin: store.OriginRecipient, Created: at, By: "the link to unsubscribe",
			})
		}
	}
	if len(news) > 0 {
		if _, err := s.Suppress(ctx, news...); err != nil {
			return fmt.Errorf("unsubscribing: %w", err)
		}
	}
	for range maxTries {
		if err = tell(ctx, s, l, len(news) > 0, at); !errors.Is(err, store.ErrStale) {
			break
		}
	}
	return err
}

// streamsOf returns the stream of a link, and the one that sends its copy where that is another. Of a message that was
// forgotten the link is all that is known.
func streamsOf(ctx context.Context, s Store, l link) ([]string, error) {
	streams := []string{l.stream}
	r, err := s.Record(ctx, l.message)
	if errors.Is(err, store.ErrNotFound) {
		return streams, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up message %s: %w", l.message, err)
	}
	if d, _, ok := r.Numbered(l.number); ok && d.Stream != l.stream {
		streams = append(streams, d.Stream)
	}
	return streams, nil
}

// tell adds the event. It adds no second one unless the address had come back in between.
func tell(ctx context.Context, s Store, l link, fresh bool, at time.Time) error {
	r, err := s.Record(ctx, l.message)
	if errors.Is(err, store.ErrNotFound) {
		return nil // forgotten: the list has it
	}
	if err != nil {
		return fmt.Errorf("looking up message %s: %w", l.message, err)
	}
	d, i, ok := r.Numbered(l.number)
	if !ok {
		return nil
	}
	rcpt := d.Recipients[i]
	told := slices.ContainsFunc(r.Events, func(e store.Event) bool {
		return e.Kind == store.EventUnsubscribed && e.Recipient == rcpt.Address
	})
	if told && !fresh {
		return nil
	}
	err = s.Return(ctx, store.Return{
		Message: l.message, Number: l.number, Was: rcpt.State, State: rcpt.State,
		Events: []store.Event{{At: at, Kind: store.EventUnsubscribed, Detail: "by the link in the message"}},
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
