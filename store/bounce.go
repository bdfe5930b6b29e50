package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// Bounce is an event of a client's message that has a bounce type: what was
// refused, expired, or came back, for one recipient.
type Bounce struct {
	// ID is the number by which clients know it: from 1 to 2^53-1, so that every
	// JSON reader keeps it exactly.
	ID        int64     `json:"id"`
	Server    int64     `json:"server"`
	Stream    string    `json:"stream"`
	Message   ID        `json:"message"`
	At        time.Time `json:"at"`
	Type      string    `json:"type"`
	Recipient string    `json:"recipient"`
	Tag       string    `json:"tag,omitempty"` // of the message
}

// maxBounceID is what 53 bits hold.
const maxBounceID = 1<<53 - 1

// BounceID returns the number of the bounce that the event of that message is.
// It is made of what is recorded of the event, so it is the same whenever and
// wherever it is asked for, and nothing has to be counted: two of ten million
// bounces of a server have the same number with a chance of 1 in 180.
func (e Event) BounceID(message ID) int64 {
	h := sha256.New()
	var fixed [40]byte
	copy(fixed[:], message[:])
	copy(fixed[16:], e.Notice[:])
	binary.BigEndian.PutUint64(fixed[32:], uint64(e.At.UnixNano()))
	h.Write(fixed[:])
	for _, s := range []string{string(e.Kind), e.Bounce, e.Recipient} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	n := binary.BigEndian.Uint64(h.Sum(nil)) & maxBounceID
	return int64(max(n, 1))
}

// Bounces returns the bounces among the events of the message, in their order.
// Notices that we wrote and what came back have none: they are nobody's mail.
func (m *Message) Bounces(events []Event) (out []Bounce) {
	if m.Bounce || m.Returned {
		return nil
	}
	for i := range events {
		e := &events[i]
		if e.Bounce == "" {
			continue
		}
		id := e.BounceID(m.ID)
		if slices.ContainsFunc(out, func(b Bounce) bool { return b.ID == id }) {
			continue // the same, recorded twice
		}
		out = append(out, Bounce{ID: id, Server: m.Server, Stream: m.Stream, Message: m.ID, At: e.At, Type: e.Bounce, Recipient: e.Recipient, Tag: m.Tag})
	}
	return out
}

// BounceFilter selects bounces of one stream. Zero fields after Stream select all.
type BounceFilter struct {
	Server    int64  // needed
	Stream    string // needed
	Message   ID
	Types     []string // any of them
	Recipient string   // part of the address, without regard to case
	Tag       string   // exact
	Since     time.Time
	Until     time.Time // exclusive
}

// Matches tells whether the filter selects a bounce.
func (f *BounceFilter) Matches(b *Bounce) bool {
	return b.Server == f.Server && b.Stream == f.Stream &&
		(f.Message.IsZero() || b.Message == f.Message) &&
		(len(f.Types) == 0 || slices.Contains(f.Types, b.Type)) &&
		(f.Tag == "" || b.Tag == f.Tag) &&
		(f.Since.IsZero() || !b.At.Before(f.Since)) &&
		(f.Until.IsZero() || b.At.Before(f.Until)) &&
		(f.Recipient == "" || strings.Contains(strings.ToLower(b.Recipient), strings.ToLower(f.Recipient)))
}

// Bounces is what failed and came back, by time. It is kept as long as the
// messages.
type Bounces interface {
	// Bounce finds a bounce of a server by its number. ErrNotFound when there is
	// none.
	Bounce(ctx context.Context, server, id int64) (Bounce, error)
	// ListBounces returns up to limit bounces that match, newest first, beginning
	// after the cursor ("" for the start), and the cursor of the next page, "" at
	// the end. Every write that returned before is seen.
	ListBounces(ctx context.Context, f BounceFilter, cursor string, limit int) ([]Bounce, string, error)
	// CountBounces counts the bounces of all streams of a server, by type.
	CountBounces(ctx context.Context, server int64) (map[string]int, error)
}
