package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// hooks is the queue of notifications. It lies in the bbolt file and not in the
// journal, and needs no record there: what an event of a message causes is
// written by the transaction that brings the event into the view, together
// with the journal position, so that it is queued exactly once, however often
// the tail of the journal is replayed. A change of a list queues its
// notifications in its own transaction.
type hooks struct {
	db       *viewDB
	snapshot func() *store.Snapshot
	// from is the journal position before which events cause nothing: an older
	// view has queued theirs. Only a rebuild has one.
	from journal.Position

	mu       sync.Mutex
	leased   map[string]time.Time // by key of bucket hook; lost in a crash, on purpose
	watchers map[*hookWatcher]struct{}
}

func newHooks(db *viewDB, snapshot func() *store.Snapshot) *hooks {
	return &hooks{db: db, snapshot: snapshot, leased: map[string]time.Time{}, watchers: map[*hookWatcher]struct{}{}}
}

const (
	laneSize    = 16
	hookKeySize = 8 + laneSize + 8
	dueKeySize  = 8 + hookKeySize
	deadKeySize = 8 + 8 + 8
)

// hookKey names a notification that waits: webhook, lane, number.
type hookKey [hookKeySize]byte

func hookPrefix(webhook int64) []byte { return numberKey(uint64(webhook)) }

func (k *hookKey) webhook() int64 { return int64(binary.BigEndian.Uint64(k[:])) }

// lane is what the keys of its lane begin with.
func (k *hookKey) lane() []byte { return k[:8+laneSize] }

// due is the key of bucket hookdue.
func (k *hookKey) due(at time.Time) []byte {
	b := make([]byte, 0, dueKeySize)
	b = append(b, k[:8]...)
	b = binary.BigEndian.AppendUint64(b, orderedNanos(at))
	return append(b, k[8:]...)
}

// String is the part that callers see.
func (k *hookKey) String() string { return hex.EncodeToString(k[8:]) }

func parseHookKey(webhook int64, text string) (k hookKey, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != hookKeySize-8 {
		return k, fmt.Errorf("key of a notification: %w", store.ErrInvalid)
	}
	binary.BigEndian.PutUint64(k[:], uint64(webhook))
	copy(k[8:], b)
	return k, nil
}

func parseDueKey(b []byte) (k hookKey, due time.Time, err error) {
	if len(b) != dueKeySize {
		return k, due, fmt.Errorf("bucket %s: %w: %w", bucketHookDue, errKey, store.ErrDamaged)
	}
	copy(k[:8], b)
	copy(k[8:], b[16:])
	return k, time.Unix(0, int64(binary.BigEndian.Uint64(b[8:])^(1<<63))).UTC(), nil
}

// laneOf returns what a notification is in order of.
func hookLane(n *store.Notification) (lane [laneSize]byte) {
	if n.Change == nil {
		return n.Message
	}
	sum := sha256.Sum256(listKey(n.Server, n.Stream, n.Change.Address))
	copy(lane[:], sum[:])
	return lane
}

// notificationID makes the ID that an event has for a webhook, a version 8 UUID
// (RFC 9562 5.8) of a hash of all that tells it from others: a queue that is made
// anew gives it the same.
func notificationID(webhook int64, n *store.Notification) (id store.ID) {
	b := numberKey(uint64(webhook))
	b = append(b, n.Message[:]...)
	if n.Change == nil {
		b = putEvent(b, &n.Event)
	} else {
		b = putChange(append(b, listKey(n.Server, n.Stream, "")...), n.Change)
	}
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id
}

// hookTx are the buckets in one write transaction. Its methods do not fail for a
// notification that cannot be read, which would stop the engine and the mail
// with it: that one is lost.
type hookTx struct {
	hook, due, dead *bbolt.Bucket
	touched         map[int64]struct{} // webhooks with something new that is due
}

func openHooks(tx *bbolt.Tx) *hookTx {
	return &hookTx{hook: tx.Bucket(bucketHook), due: tx.Bucket(bucketHookDue), dead: tx.Bucket(bucketHookDead), touched: map[int64]struct{}{}}
}

// add queues a notification at the end of its lane.
func (t *hookTx) add(webhook int64, n *store.Notification) error {
	number, err := t.hook.NextSequence()
	if err != nil {
		return err
	}
	var k hookKey
	binary.BigEndian.PutUint64(k[:], uint64(webhook))
	lane := hookLane(n)
	copy(k[8:], lane[:])
	binary.BigEndian.PutUint64(k[8+laneSize:], number)
	first, _ := t.hook.Cursor().Seek(k.lane())
	free := !bytes.HasPrefix(first, k.lane())
	if err := t.hook.Put(k[:], encodeNotification(n)); err != nil || !free {
		return err
	}
	t.touched[webhook] = struct{}{}
	return t.due.Put(k.due(n.Due), nil)
}

// waiting returns a notification that waits, nil when it is gone.
func waiting(hook *bbolt.Bucket, k *hookKey) (*store.Notification, error) {
	v := hook.Get(k[:])
	if v == nil {
		return nil, nil
	}
	n, err := decodeNotification(v)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: key %x: %w", bucketHook, *k, err)
	}
	n.Webhook, n.Key = k.webhook(), k.String()
	return &n, nil
}

// remove takes the first of a lane away, and makes the next one due.
func (t *hookTx) remove(k *hookKey, n *store.Notification) error {
	if err := t.hook.Delete(k[:]); err != nil {
		return err
	}
	if err := t.due.Delete(k.due(n.Due)); err != nil {
		return err
	}
	return t.promote(k)
}

// promote makes the first of k's lane due, if there is any.
func (t *hookTx) promote(k *hookKey) error {
	c := t.hook.Cursor()
	for {
		first, v := c.Seek(k.lane())
		if !bytes.HasPrefix(first, k.lane()) {
			return nil
		}
		n, err := decodeNotification(v)
		if err == nil && len(first) == hookKeySize {
			next := hookKey(first)
			t.touched[k.webhook()] = struct{}{}
			return t.due.Put(next.due(n.Due), nil)
		}
		if err := c.Delete(); err != nil {
			return err
		}
	}
}

// discard takes away the first of a lane that cannot be read.
func (t *hookTx) discard(due []byte, k *hookKey) error {
	if err := t.due.Delete(due); err != nil {
		return err
	}
	if err := t.hook.Delete(k[:]); err != nil {
		return err
	}
	return t.promote(k)
}

// bury moves the first of a lane to those that were given up.
func (t *hookTx) bury(k *hookKey, n *store.Notification) error {
	if err := t.remove(k, n); err != nil {
		return err
	}
	key := binary.BigEndian.AppendUint64(hookPrefix(k.webhook()), orderedNanos(n.Dead))
	return t.dead.Put(append(key, k[8+laneSize:]...), encodeNotification(n))
}

// hookTargets are the webhooks of a snapshot by stream.
type hookTargets map[store.StreamKey][]store.Webhook

func targetsIn(s *store.Snapshot) hookTargets {
	if len(s.Webhooks) == 0 {
		return nil
	}
	out := hookTargets{}
	for _, w := range s.Webhooks {
		k := store.StreamKey{Server: w.Server, Stream: w.Stream}
		out[k] = append(out[k], w)
	}
	return out
}

// notify queues n for each webhook that wants it.
func (t *hookTx) notify(to hookTargets, n store.Notification) error {
	for _, w := range to[store.StreamKey{Server: n.Server, Stream: n.Stream}] {
		if !w.Triggers.Wants(n.Trigger) {
			continue
		}
		n.ID, n.Due = notificationID(w.ID, &n), n.At()
		if err := t.add(w.ID, &n); err != nil {
			return fmt.Errorf("queueing for webhook %d: %w", w.ID, err)
		}
	}
	return nil
}

// derive queues what the events cause that a checkpoint brings into the view.
// It returns the webhooks that have something new.
func (h *hooks) derive(tx *bbolt.Tx, entries map[store.ID]entry) (map[int64]struct{}, error) {
	to := targetsIn(h.snapshot())
	if to == nil {
		return nil, nil
	}
	t := openHooks(tx)
	for id, e := range entries {
		m := e.state.msg
		if e.news == 0 || m.Bounce || m.Returned || to[store.StreamKey{Server: m.Server, Stream: m.Stream}] == nil {
			continue
		}
		events := e.state.events
		for _, event := range events[max(0, len(events)-e.news):] {
			trigger := event.Trigger()
			if trigger == "" {
				continue
			}
			n := store.Notification{Server: m.Server, Stream: m.Stream, Trigger: trigger, Message: id, Event: event}
			if err := t.notify(to, n); err != nil {
				return nil, err
			}
		}
	}
	return t.touched, nil
}

// changed queues what a change of a list causes, in its transaction.
func (h *hooks) changed(t *hookTx, to hookTargets, c store.SuppressionChange) error {
	n := store.Notification{Server: c.Server, Stream: c.Stream, Trigger: store.TriggerSubscriptionChange, Change: &c}
	if c.Removed.IsZero() {
		n.Message = c.Message
	}
	return t.notify(to, n)
}

// settled tells whether an older view has queued what the record at a position
// causes.
func (h *hooks) settled(at journal.Position) bool { return h != nil && at.Before(h.from) }

// silent returns the state as one whose newest record causes nothing.
func (s *state) silent(old *state) *state {
	n := *s
	if n.logged = 0; old != nil {
		n.logged = old.logged
	}
	return &n
}
