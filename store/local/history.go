package local

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

const (
	listDefault = 50   // records of a page where the caller names no number
	listMost    = 1000 // and at most
	listScan    = 512  // index keys read in one transaction
)

// Record implements store.History.
func (s *Store) Record(ctx context.Context, id store.ID) (store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	st, err := s.find(id)
	if err != nil {
		return store.Record{}, err
	}
	return st.record(), nil
}

// Lanes implements store.History. Lanes come sorted by server, stream and
// destination. A delivery under lease is due when its lease ends.
func (s *Store) Lanes(ctx context.Context) ([]store.Lane, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.over.mu.Lock()
	defer s.over.mu.Unlock()
	return s.over.lanes.list(), nil
}

// List implements store.History. Newest means accepted last, and among
// messages of one time the greatest ID. Since is inclusive, Until is not. A limit of 0 means 50,
// and 1,000 is the most.
func (s *Store) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Record, string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if limit <= 0 {
		limit = listDefault
	}
	l := listing{s: s, filter: f, limit: min(limit, listMost)}
	if err := l.begin(cursor); err != nil {
		return nil, "", err
	}
	states, more, err := l.run(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("listing messages: %w", err)
	}
	records := make([]store.Record, len(states))
	for i, st := range states {
		records[i] = st.record()
	}
	if !more || len(states) == 0 {
		return records, "", nil
	}
	last := states[len(states)-1].stamp()
	return records, hex.EncodeToString(last[:]), nil
}

// listing merges what the overlay has with an index of the view. The overlay
// is read first: what leaves it meanwhile is in the view then.
type listing struct {
	s      *Store
	filter store.Filter
	limit  int

	bucket []byte // the index, nil for that of streams
	upper  stamp  // exclusive
	floor  stamp

	newer   map[store.ID]entry
	overlay []*state // matching, newest first
	view    []*state // matching, newest first, not yet merged
	done    bool     // the index has no more
}

func (l *listing) begin(cursor string) error {
	l.upper, l.floor = timeBounds(&l.filter)
	if cursor != "" {
		b, err := hex.DecodeString(cursor)
		if err != nil || len(b) != stampSize {
			return fmt.Errorf("cursor: %w", store.ErrInvalid)
		}
		if at := stamp(b); bytes.Compare(at[:], l.upper[:]) < 0 {
			l.upper = at
		}
	}
	l.bucket = indexFor(&l.filter)
	l.newer = l.s.over.all()
	for _, e := range l.newer {
		if !e.gone && l.within(e.state.stamp()) && matches(&l.filter, e.state) {
			l.overlay = append(l.overlay, e.state)
		}
	}
	slices.SortFunc(l.overlay, newestFirst)
	return nil
}

func newestFirst(a, b *state) int {
	x, y := a.stamp(), b.stamp()
	return bytes.Compare(y[:], x[:])
}

func (l *listing) within(st stamp) bool {
	return bytes.Compare(st[:], l.upper[:]) < 0 && bytes.Compare(st[:], l.floor[:]) >= 0
}

// indexFor picks the index with the fewest keys for a filter, nil for that of
// streams and what their messages can be searched by.
func indexFor(f *store.Filter) (bucket []byte) {
	switch {
	case f.Held:
		return bucketHeld
	case f.Queued && f.Stream != "": // where it waits, which is not where it was accepted when it was rerouted
		return bucketQueue
	case byTerm(f):
		return nil
	case f.Queued || f.Uncertain || f.State == store.Queued:
		return bucketQueue
	}
	return bucketTime
}

// run returns a page and whether there is more.
func (l *listing) run(ctx context.Context) (page []*state, more bool, err error) {
	for {
		if len(l.view) == 0 && !l.done {
			if err := ctx.Err(); err != nil {
				return nil, false, err
			}
			if err := l.s.db.read(l.fill); err != nil {
				return nil, false, err
			}
			continue
		}
		next := &l.overlay
		if len(l.overlay) == 0 || (len(l.view) > 0 && newestFirst(l.view[0], l.overlay[0]) < 0) {
			next = &l.view
		}
		if len(*next) == 0 {
			return page, false, nil
		}
		if len(page) == l.limit {
			return page, true, nil
		}
		page = append(page, (*next)[0])
		*next = (*next)[1:]
	}
}

// fill reads the next matches of the index.
func (l *listing) fill(tx *bbolt.Tx) error {
	if l.bucket == nil {
		return l.fillFromStreams(tx)
	}
	c := tx.Bucket(l.bucket).Cursor()
	k, _ := c.Seek(l.upper[:])
	if k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	for scanned := 0; scanned < listScan && len(l.view) <= l.limit; k, _ = c.Prev() {
		if k == nil {
			l.done = true
			return nil
		}
		st, err := stampAt(k, 0)
		if err != nil {
			return fmt.Errorf("bucket %s: %w: %w", l.bucket, err, store.ErrDamaged)
		}
		if st == l.upper { // another part of the same message
			continue
		}
		if bytes.Compare(st[:], l.floor[:]) < 0 {
			l.done = true
			return nil
		}
		l.upper = st
		scanned++
		if err := l.take(tx, st.id()); err != nil {
			return err
		}
	}
	return nil
}

// fillFromStreams is fill by streams and terms.
func (l *listing) fillFromStreams(tx *bbolt.Tx) error {
	c, err := newCandidates(tx, &l.filter, l.upper, l.floor, nil)
	if err != nil {
		return err
	}
	for scanned := 0; scanned < listScan && len(l.view) <= l.limit; scanned++ {
		st, _, ok, err := c.top()
		if err != nil || !ok {
			l.done = !ok
			return err
		}
		l.upper = st
		if err := l.take(tx, st.id()); err != nil {
			return err
		}
		if err := c.pop(); err != nil {
			return err
		}
	}
	return nil
}

// take adds a message of the view if it matches.
func (l *listing) take(tx *bbolt.Tx, id store.ID) error {
	if _, newer := l.newer[id]; newer {
		return nil
	}
	st, err := stateIn(tx, id)
	if err != nil || st == nil {
		return err
	}
	if st = st.voidLeases(l.s.epoch); matches(&l.filter, st) {
		l.view = append(l.view, st)
	}
	return nil
}

// matches tells whether a filter selects a message. Times are left to the index.
func matches(f *store.Filter, s *state) bool {
	switch m := s.msg; {
	case f.Server != 0 && m.Server != f.Server,
		f.Stream != "" && !s.inStream(f),
		f.Tag != "" && m.Tag != f.Tag,
		f.Outbound && (m.Bounce || m.Returned),
		f.Sender != "" && !sameText(f.Sender, m.From) && !sameText(f.Sender, mailbox(m.Header.From)),
		f.Subject != "" && !strings.Contains(strings.ToLower(m.Header.Subject), strings.ToLower(f.Subject)),
		f.MetadataKey != "" && !hasMetadata(m, f.MetadataKey, f.Metadata),
		f.Queued && !s.unfinished(),
		f.Finished && s.unfinished(),
		f.Bounce && !slices.ContainsFunc(s.events, func(e store.Event) bool { return e.Bounce != "" }):
		return false
	}
	return (f.Destination == "" || s.anyPart(func(d *leased) bool { return sameText(d.Destination, f.Destination) })) &&
		(!f.Held || s.anyPart(func(d *leased) bool { return !d.Held.IsZero() && !d.Done() })) &&
		(!f.Uncertain || s.anyPart(func(d *leased) bool { return d.Uncertain && !d.Done() })) &&
		(f.State == "" || s.anyRecipient(func(r *store.Recipient) bool { return r.State == f.State })) &&
		(f.Recipient == "" || s.anyRecipient(func(r *store.Recipient) bool { return sameText(r.Address, f.Recipient) }))
}

// sameText compares as terms do: strings.EqualFold knows other pairs.
func sameText(a, b string) bool {
	if a == b {
		return true
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b
}

func hasMetadata(m *store.Message, key, value string) bool {
	for k, v := range m.Metadata {
		if v == value && sameText(k, key) {
			return true
		}
	}
	return false
}

// inStream asks queued messages for where they wait, and all others for where
// they were accepted.
func (s *state) inStream(f *store.Filter) bool {
	if !f.Queued {
		return s.msg.Stream == f.Stream
	}
	return s.anyPart(func(d *leased) bool { return d.Stream == f.Stream && !d.Done() })
}

func (s *state) anyPart(is func(*leased) bool) bool {
	for i := range s.parts {
		if is(&s.parts[i]) {
			return true
		}
	}
	return false
}

func (s *state) anyRecipient(is func(*store.Recipient) bool) bool {
	return s.anyPart(func(d *leased) bool {
		for i := range d.Recipients {
			if is(&d.Recipients[i]) {
				return true
			}
		}
		return false
	})
}
