package intake

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// A request that was sent twice, because its answer was lost, is recognised
// without a record beside the message: the message's ID is made from what names
// the request, so the engine, which takes an ID once, is the memory. It is as
// durable as the message, and gone with it.

// RequestWindow is how long a Request is known.
const RequestWindow = 24 * time.Hour

// Known is what intake asks of what was accepted.
type Known interface {
	// Record returns one message; store.ErrNotFound where there is none.
	Record(ctx context.Context, id store.ID) (store.Record, error)
}

// Request names a request that is to have one effect however often it is made
// within RequestWindow.
type Request struct {
	// Key names it among those of one server.
	Key string
	// Content is the digest of all it says. The same key with another one is
	// refused as KindConflict.
	Content [32]byte
}

// Earlier returns the message that an equal request has made; the zero ID where
// there is none. A *Refusal of KindConflict says that another request had its key.
func (i *Intake) Earlier(ctx context.Context, server int64, r Request) (store.ID, error) {
	_, id, err := i.seek(ctx, r.once(server), i.opts.Now())
	return id, err
}

// once is the identity of a submission that is recognised when it comes again.
type once struct {
	key    [32]byte
	window time.Duration
	// content must be equal too; zero: the key alone decides.
	content [32]byte
	// body makes content while the octets come, where the client gave no key.
	body hash.Hash
	// refuse makes another content under the same key an error. Otherwise it is
	// a message of its own.
	refuse bool
}

func (r Request) once(server int64) once {
	return once{key: digest("request", number(server), r.Key), window: RequestWindow, content: r.Content, refuse: true}
}

// maxSameKey is how many messages may share Message-ID and envelope and still be
// recognised. The next ones are taken without.
const maxSameKey = 8

// identify finds out what the submission is recognised by, if by anything.
func (s *submission) identify() (once, bool) {
	if r := s.envelope.Request; r != nil {
		return r.once(s.server.ID), true
	}
	if s.stream.Dedupe <= 0 || s.opts.Known == nil {
		return once{}, false
	}
	o := once{window: s.stream.Dedupe}
	where := []string{number(s.server.ID), s.stream.ID, s.addresses()}
	if key := s.header.Get(keyField); key != "" {
		s.header.Remove(keyField)
		o.key = digest(append(where, "key", key)...)
		return o, true
	}
	id := s.header.Get("Message-ID")
	if id == "" {
		return once{}, false
	}
	o.key = digest(append(where, "message", credential(s.envelope.Principal), id)...)
	o.body = sha256.New()
	o.body.Write(s.header.Bytes())
	return o, true
}

// keyField is the field by which an SMTP client names a submission.
const keyField = "X-Idempotency-Key"

// addresses is the envelope in a form that does not depend on its order.
func (s *submission) addresses() string {
	var to []string
	for _, r := range s.envelope.Recipients {
		key, err := message.MailboxKey(r.Address)
		if err != nil {
			key = r.Address
		}
		to = append(to, key)
	}
	slices.Sort(to)
	return s.envelope.From + "\n" + strings.Join(slices.Compact(to), "\n")
}

// recognise takes the ID that the submission has for its identity. It reports
// true when an earlier message is known to be the same: then the ID is that
// one's, and nothing is to be stored.
func (s *submission) recognise(ctx context.Context, body io.Reader) (bool, error) {
	o, ok := s.identify()
	if !ok {
		return false, nil
	}
	s.once = &o
	free, same, err := s.seek(ctx, o, s.now)
	switch {
	case err != nil:
		return false, err
	case !same.IsZero() && o.body == nil:
		s.id = same
		_, err := io.CopyBuffer(io.Discard, body, s.memory.copy[:])
		return true, err
	case !free.IsZero():
		s.id = free
	default:
		s.once = nil
	}
	return false, nil
}

// settle is asked when all octets are there, just before the commit, by one
// submission of the same identity at a time until unlock. It reports true when an equal message is
// durable: then the ID is that one's.
func (s *submission) settle(ctx context.Context) (done bool, unlock func(), err error) {
	o := *s.once
	if o.body != nil {
		o.body.Sum(o.content[:0])
	}
	unlock = s.same.lock(o.key)
	_, same, err := s.seek(ctx, o, s.opts.Now()) // a window may have ended since the submission began
	if err == nil && !same.IsZero() {
		s.id, done = same, true
	}
	s.request = o.content
	return done, unlock, err
}

// seek goes through the messages of an identity that are within its window. It
// returns the one with the same content, and the ID that a new one would have:
// zero when there are too many.
func (i *Intake) seek(ctx context.Context, o once, now time.Time) (free, same store.ID, err error) {
	if i.opts.Known == nil {
		return free, same, nil
	}
	this := now.Truncate(o.window)
	for _, start := range []time.Time{this.Add(-o.window), this} {
		free = store.ID{}
		for n := range maxSameKey {
			id := derive(o.key, start, n)
			r, err := i.opts.Known.Record(ctx, id)
			if errors.Is(err, store.ErrNotFound) {
				free = id
				break
			}
			if err != nil {
				return free, same, fmt.Errorf("looking for an earlier submission: %w", err)
			}
			switch {
			case !r.Message.Accepted.Add(o.window).After(now):
			case r.Message.Request == o.content:
				return free, id, nil
			case o.refuse:
				return free, same, &Refusal{Kind: KindConflict, Reason: "another request was made with this idempotency key"}
			}
		}
	}
	return free, same, nil
}

// derive makes the ID of the nth message of an identity in the window that
// begins at start: a UUID of version 8 (RFC 9562 5.8) that begins with that
// time, as other IDs begin with theirs.
func derive(key [32]byte, start time.Time, n int) (id store.ID) {
	ms := uint64(start.UnixMilli())
	sum := digest("id", string(key[:]), number(int64(ms)), number(int64(n)))
	copy(id[6:], sum[:])
	binary.BigEndian.PutUint32(id[:4], uint32(ms>>16))
	binary.BigEndian.PutUint16(id[4:6], uint16(ms))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// digest is a hash of a list of texts, no two lists alike.
func digest(parts ...string) (sum [32]byte) {
	h := sha256.New()
	for _, p := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		io.WriteString(h, p)
	}
	h.Sum(sum[:0])
	return sum
}

func number(n int64) string { return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(n))) }
