package local

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// chunkSize is how much of a body a draft holds in memory. A body of up to
// this size is written with its accept record; a larger one is staged in
// chunks, which the append of the accept record then makes durable with it.
const chunkSize = 256 << 10

// draft implements store.Draft.
type draft struct {
	s      *Store
	hash   hash.Hash
	sum    [sha256.Size]byte
	size   int64
	buf    []byte
	staged []extent
	err    error // sticky
	spent  bool
}

// What finished drafts leave to the next ones.
var (
	buffers      = sync.Pool{New: func() any { return new([chunkSize]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallBody]byte) }}
	hashes       = sync.Pool{New: func() any { return sha256.New() }}
)

// Begin implements store.Intake.
func (s *Store) Begin(ctx context.Context) (store.Draft, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.db.healthy(); err != nil {
		return nil, err
	}
	if err := s.space.check(); err != nil {
		return nil, err
	}
	d := &draft{s: s, hash: hashes.Get().(hash.Hash)}
	d.hash.Reset()
	return d, nil
}

// Write takes more of the body.
func (d *draft) Write(p []byte) (int, error) {
	if d.spent {
		d.err = store.ErrClosed
	}
	for done := 0; done < len(p) && d.err == nil; {
		if len(d.buf) == chunkSize {
			d.stage(context.Background()) // Write has no context; it lasts one append
			continue
		}
		n := min(len(p)-done, chunkSize-len(d.buf))
		d.grow(n)
		d.buf = append(d.buf, p[done:done+n]...)
		done += n
	}
	if d.err != nil {
		return 0, fmt.Errorf("writing a draft: %w", d.err)
	}
	d.hash.Write(p)
	d.size += int64(len(p))
	return len(p), nil
}

// smallBody is the size of the buffer that a draft begins with; a larger body
// gets one of full size.
const smallBody = 16 << 10

// grow makes room for n more octets.
func (d *draft) grow(n int) {
	var larger []byte
	switch {
	case len(d.buf)+n <= cap(d.buf):
		return
	case len(d.buf)+n <= smallBody:
		larger = smallBuffers.Get().(*[smallBody]byte)[:0]
	default:
		larger = buffers.Get().(*[chunkSize]byte)[:0]
	}
	have := d.buf
	d.buf = append(larger, have...)
	recycle(have)
}

// stage writes the buffer to the journal.
func (d *draft) stage(ctx context.Context) {
	if d.err = d.s.enter(ctx); d.err != nil {
		return
	}
	defer d.s.leave()
	ref, err := d.s.jour.Stage(ctx, journal.Record{Type: typeBody, Payload: [][]byte{d.buf}})
	if err != nil {
		d.err = journalError(err)
		return
	}
	d.staged = append(d.staged, extent{ref: ref, length: ref.Length})
	d.buf = d.buf[:0]
}

// Discard implements store.Draft.
func (d *draft) Discard() {
	if d.spent {
		return
	}
	d.spent = true
	if len(d.staged) > 0 {
		d.s.jour.Discard(stagedRefs(d.staged)...)
	}
	recycle(d.buf)
	hashes.Put(d.hash)
	d.buf, d.hash = nil, nil
}

func recycle(b []byte) {
	switch cap(b) {
	case chunkSize:
		buffers.Put((*[chunkSize]byte)(b[:chunkSize]))
	case smallBody:
		smallBuffers.Put((*[smallBody]byte)(b[:smallBody]))
	}
}

// Commit implements store.Draft.
func (d *draft) Commit(ctx context.Context, m store.Message, deliveries []store.Delivery) error {
	if d.spent {
		return fmt.Errorf("committing a draft twice: %w", store.ErrClosed)
	}
	defer d.Discard()
	if d.err != nil {
		return fmt.Errorf("accepting message %s: %w", m.ID, d.err)
	}
	if err := d.s.enter(ctx); err != nil {
		return err
	}
	defer d.s.leave()
	if err := d.accept(ctx, m, deliveries); err != nil {
		return fmt.Errorf("accepting message %s: %w", m.ID, err)
	}
	return nil
}

func (d *draft) accept(ctx context.Context, m store.Message, deliveries []store.Delivery) error {
	if err := d.s.space.check(); err != nil {
		return err
	}
	if len(d.staged) > 0 && len(d.buf) > 0 {
		if d.stage(ctx); d.err != nil {
			return d.err
		}
	}
	m.Size = d.size
	d.hash.Sum(d.sum[:0])
	m.BodyHash = d.sum
	d.s.keys.acquire(m.ID)
	defer d.s.keys.give(m.ID)
	in, err := d.s.acceptance(m, deliveries, d.staged, d.buf)
	if err != nil {
		return err
	}
	return d.s.commit(ctx, stagedRefs(d.staged), in)
}

func stagedRefs(body []extent) (refs []journal.Ref) {
	for _, e := range body {
		refs = append(refs, e.ref)
	}
	return refs
}

// acceptance makes the record of a new message, whose key lock the caller
// holds. The body is either staged or inline.
func (s *Store) acceptance(m store.Message, deliveries []store.Delivery, staged []extent, inline []byte) (intent, error) {
	if err := checkNew(&m, deliveries); err != nil {
		return intent{}, err
	}
	old, err := s.lookup(m.ID)
	if err != nil {
		return intent{}, err
	}
	if old != nil {
		return intent{}, store.ErrExists
	}
	st := newState(&m, deliveries, staged)
	head := encodeAccepted(&st)
	rec := journal.Record{Type: typeAccept, Payload: [][]byte{head, inline}}
	if len(staged) > 0 {
		rec.Payload = rec.Payload[:1]
	}
	return intent{m.ID, rec, old}, nil
}

// maxParts is what the two bytes for the part in queue keys can number.
const maxParts = 1 << 16

func checkNew(m *store.Message, deliveries []store.Delivery) error {
	if m.ID.IsZero() {
		return fmt.Errorf("message ID is zero: %w", store.ErrInvalid)
	}
	if len(deliveries) > maxParts {
		return fmt.Errorf("%d deliveries: %w", len(deliveries), store.ErrInvalid)
	}
	for i := range deliveries {
		if len(deliveries[i].Recipients) == 0 {
			return fmt.Errorf("delivery %d has no recipient: %w", i, store.ErrInvalid)
		}
	}
	return nil
}

// logSuppressed adds the events of recipients that are not written to.
func (s *state) logSuppressed() {
	for i := range s.parts {
		for _, r := range s.parts[i].Recipients {
			if r.State == store.Suppressed {
				s.log(store.Event{At: s.msg.Accepted, Kind: store.EventSuppressed, Part: i, Recipient: r.Address, Detail: r.Last.Text})
			}
		}
	}
}

// newState is a message as it enters the queue: nothing claimed, and events
// that tell of its acceptance and of who does not get it.
func newState(m *store.Message, deliveries []store.Delivery, staged []extent) state {
	s := state{msg: m, body: staged, events: []store.Event{{At: m.Accepted, Kind: store.EventAccepted, Detail: m.Protocol}}}
	for _, d := range deliveries {
		d.Attempt, d.Lease = 0, time.Time{}
		d.Recipients = slices.Clone(d.Recipients)
		for i := range d.Recipients {
			if d.Recipients[i].State == "" {
				d.Recipients[i].State = store.Queued
			}
		}
		s.parts = append(s.parts, leased{Delivery: d})
	}
	s.adopt()
	s.logSuppressed()
	return s
}
