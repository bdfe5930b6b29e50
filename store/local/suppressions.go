package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// suppressionFormat is the version of the values in bucket suppression.
const suppressionFormat = 1

// suppressions writes the lists. They live in the bbolt file and not in the
// journal: they outlive every message, so in the journal each retention would have to
// copy all of them forward, and they are looked up at every submission, so the view
// would have to hold them anyway. Writers that come together share one synced transaction.
type suppressions struct {
	db    *viewDB
	hooks *hooks
	empty unlisted

	mu      sync.Mutex // guards waiting
	waiting []*listWrite
	writing sync.Mutex // one transaction at a time; held across it on purpose
}

// listWrite is one call that writes.
type listWrite struct {
	// plan returns what to put. It changes nothing: an error of one call must not
	// undo those that share its transaction.
	plan func(*bbolt.Bucket) ([]listPut, error)
	done bool
	err  error
}

type listPut struct {
	key     []byte
	value   listed
	changes []store.SuppressionChange // what webhooks are told of
}

// listed is what is known of an address on one list, oldest change first. It is
// on the list when the last change was not removed.
type listed struct {
	Changes []listedChange `json:"changes"`
}

// listedChange is a store.SuppressionChange without what the key says.
type listedChange struct {
	Reason    store.SuppressionReason `json:"reason"`
	Origin    store.SuppressionOrigin `json:"origin"`
	Created   time.Time               `json:"created"`
	By        string                  `json:"by,omitempty"`
	Message   store.ID                `json:"message,omitzero"`
	Removed   time.Time               `json:"removed,omitzero"`
	RemovedBy string                  `json:"removed_by,omitempty"`
}

// listKey is server 8, stream, 0x00, address. With an empty address it is the
// prefix of a list.
func listKey(server int64, stream, address string) []byte {
	return append(streamPrefix(server, stream), address...)
}

func parseListKey(k []byte) (server int64, stream, address string, err error) {
	if len(k) < 8 {
		return 0, "", "", errKey
	}
	server = int64(binary.BigEndian.Uint64(k))
	i := slices.Index(k[8:], 0)
	if i < 0 {
		return 0, "", "", errKey
	}
	return server, string(k[8 : 8+i]), string(k[8+i+1:]), nil
}

func (l *listed) value() ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding a suppression: %w", err)
	}
	v := binary.BigEndian.AppendUint32([]byte{suppressionFormat}, crc32.Checksum(text, castagnoli))
	return append(v, text...), nil
}

// parseListed reads a value; nil is an address that was never on the list.
func parseListed(v []byte) (l listed, err error) {
	switch {
	case v == nil:
		return l, nil
	case len(v) < 5 || crc32.Checksum(v[5:], castagnoli) != binary.BigEndian.Uint32(v[1:]):
		return l, fmt.Errorf("suppression: checksum: %w", store.ErrDamaged)
	case v[0] != suppressionFormat:
		return l, fmt.Errorf("suppression: format %d is unknown: %w", v[0], store.ErrDamaged)
	}
	if err := json.Unmarshal(v[5:], &l); err != nil {
		return l, fmt.Errorf("suppression: %w: %w", err, store.ErrDamaged)
	}
	return l, nil
}

// current returns the change that has the address on the list, nil when it is
// not there.
func (l *listed) current() *listedChange {
	if n := len(l.Changes); n > 0 && l.Changes[n-1].Removed.IsZero() {
		return &l.Changes[n-1]
	}
	return nil
}

// suppression completes a change with what its key says.
func (c *listedChange) suppression(server int64, stream, address string) store.Suppression {
	return store.Suppression{
		Server: server, Stream: stream, Address: address,
		Reason: c.Reason, Origin: c.Origin, Created: c.Created, By: c.By, Message: c.Message,
	}
}

// add puts a suppression on top. It returns false when the one that is there stays.
func (l *listed) add(s store.Suppression) bool {
	if c := l.current(); c != nil {
		if !s.Outweighs(c.suppression(s.Server, s.Stream, s.Address)) {
			return false
		}
		c.Removed, c.RemovedBy = s.Created.Round(0).UTC(), "a "+string(s.Reason)+" by the "+string(s.Origin)+" in its place"
	}
	l.Changes = append(l.Changes, listedChange{
		Reason: s.Reason, Origin: s.Origin, Created: s.Created.Round(0).UTC(), By: s.By, Message: s.Message,
	})
	l.Changes = l.Changes[max(0, len(l.Changes)-store.MaxSuppressionHistory):]
	return true
}

// write runs a call in a transaction of its own or in one with others.
func (w *suppressions) write(call *listWrite) error {
	w.mu.Lock()
	w.waiting = append(w.waiting, call)
	w.mu.Unlock()
	w.writing.Lock()
	defer w.writing.Unlock()
	if call.done { // by the one before, which took all that waited
		return call.err
	}
	w.mu.Lock()
	calls := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	var touched map[int64]struct{}
	w.empty.changing()
	err := w.db.write(func(tx *bbolt.Tx) error {
		t := openHooks(tx)
		touched = t.touched
		return w.run(tx.Bucket(bucketSuppression), t, calls)
	})
	w.empty.changing()
	failpoint.Hit(failpoint.SuppressionListed)
	if err == nil {
		w.hooks.announce(touched)
	}
	for _, c := range calls {
		if c.done = true; c.err == nil {
			c.err = err
		}
	}
	return call.err
}

func (w *suppressions) run(b *bbolt.Bucket, t *hookTx, calls []*listWrite) error {
	to := targetsIn(w.hooks.snapshot())
	for _, c := range calls {
		var puts []listPut
		if puts, c.err = c.plan(b); c.err != nil {
			continue
		}
		for i := range puts {
			v, err := puts[i].value.value()
			if err == nil {
				err = b.Put(puts[i].key, v)
			}
			for _, change := range puts[i].changes {
				if err == nil {
					err = w.hooks.changed(t, to, change)
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Suppress implements store.Suppressions.
func (s *Store) Suppress(ctx context.Context, all ...store.Suppression) (int, error) {
	for i := range all {
		if err := all[i].Check(); err != nil {
			return 0, err
		}
	}
	if err := s.enter(ctx); err != nil || len(all) == 0 {
		if err == nil {
			s.leave()
		}
		return 0, err
	}
	defer s.leave()
	added := 0
	err := s.lists.write(&listWrite{plan: func(b *bbolt.Bucket) (puts []listPut, err error) {
		puts, added, err = planSuppress(b, all)
		return puts, err
	}})
	if err != nil {
		return 0, fmt.Errorf("suppressing %d addresses: %w", len(all), err)
	}
	return added, nil
}

// planSuppress sees repetitions within the call: the later entry is decided on
// the state that the earlier one makes.
func planSuppress(b *bbolt.Bucket, all []store.Suppression) (puts []listPut, added int, err error) {
	at := map[string]int{}
	for i := range all {
		key := listKey(all[i].Server, all[i].Stream, all[i].Address)
		if n, ok := at[string(key)]; ok {
			if puts[n].value.add(all[i]) {
				puts[n].changes = append(puts[n].changes, store.SuppressionChange{Suppression: all[i]})
			}
			continue
		}
		l, err := parseListed(b.Get(key))
		if err != nil {
			return nil, 0, err
		}
		fresh := l.current() == nil
		if !l.add(all[i]) {
			continue
		}
		if fresh {
			added++
		}
		at[string(key)] = len(puts)
		puts = append(puts, listPut{key, l, []store.SuppressionChange{{Suppression: all[i]}}})
	}
	return puts, added, nil
}

// Reactivate implements store.Suppressions.
func (s *Store) Reactivate(ctx context.Context, r store.Reactivation) (removed int, kept []store.Suppression, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, nil, err
	}
	defer s.leave()
	err = s.lists.write(&listWrite{plan: func(b *bbolt.Bucket) ([]listPut, error) {
		puts, left, err := planReactivate(b, r)
		removed, kept = len(puts), left
		return puts, err
	}})
	if err != nil {
		return 0, nil, fmt.Errorf("reactivating %d addresses: %w", len(r.Addresses), err)
	}
	return removed, kept, nil
}

func planReactivate(b *bbolt.Bucket, r store.Reactivation) (puts []listPut, kept []store.Suppression, err error) {
	seen := map[string]bool{}
	for _, address := range r.Addresses {
		if seen[address] {
			continue
		}
		seen[address] = true
		key := listKey(r.Server, r.Stream, address)
		l, err := parseListed(b.Get(key))
		if err != nil {
			return nil, nil, err
		}
		c := l.current()
		if c == nil {
			continue
		}
		if s := c.suppression(r.Server, r.Stream, address); s.Binding() && !r.Binding {
			kept = append(kept, s)
			continue
		}
		was := c.suppression(r.Server, r.Stream, address)
		c.Removed, c.RemovedBy = r.At.Round(0).UTC(), r.By
		puts = append(puts, listPut{key, l, []store.SuppressionChange{{Suppression: was, Removed: c.Removed, RemovedBy: c.RemovedBy}}})
	}
	return puts, kept, nil
}

// Suppressed implements store.Suppressions.
func (s *Store) Suppressed(ctx context.Context, server int64, stream string, addresses ...string) (out []store.Suppression, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	out, err = s.lists.lookup(store.StreamKey{Server: server, Stream: stream}, addresses)
	if err != nil {
		return nil, fmt.Errorf("looking up suppressions: %w", err)
	}
	return out, nil
}

func (w *suppressions) lookup(list store.StreamKey, addresses []string) (out []store.Suppression, err error) {
	empty, version := w.empty.has(list)
	if empty {
		return nil, nil
	}
	err = w.db.read(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketSuppression)
		if !hasPrefix(b, listKey(list.Server, list.Stream, "")) {
			empty = true
			return nil
		}
		for _, address := range addresses {
			l, err := parseListed(b.Get(listKey(list.Server, list.Stream, address)))
			if err != nil {
				return err
			}
			if c := l.current(); c != nil {
				out = append(out, c.suppression(list.Server, list.Stream, address))
			}
		}
		return nil
	})
	if empty {
		w.empty.learn(list, version)
	}
	return out, err
}

func hasPrefix(b *bbolt.Bucket, prefix []byte) bool {
	k, _ := b.Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

// SuppressionHistory implements store.Suppressions.
func (s *Store) SuppressionHistory(ctx context.Context, server int64, stream, address string) (out []store.SuppressionChange, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	err = s.db.read(func(tx *bbolt.Tx) error {
		l, err := parseListed(tx.Bucket(bucketSuppression).Get(listKey(server, stream, address)))
		for i := range l.Changes {
			c := &l.Changes[i]
			out = append(out, store.SuppressionChange{
				Suppression: c.suppression(server, stream, address), Removed: c.Removed, RemovedBy: c.RemovedBy,
			})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history of a suppression: %w", err)
	}
	return out, nil
}

// ListSuppressions implements store.Suppressions. A limit of 0 means 50, and
// 1,000 is the most.
func (s *Store) ListSuppressions(ctx context.Context, f store.SuppressionFilter, cursor string, limit int) ([]store.Suppression, string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	after, err := hex.DecodeString(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("listing suppressions: cursor: %w", store.ErrInvalid)
	}
	if f.Stream != "" && f.Server == 0 {
		return nil, "", fmt.Errorf("listing suppressions: a stream without its server: %w", store.ErrInvalid)
	}
	if limit <= 0 {
		limit = listDefault
	}
	l := suppressionListing{filter: f, prefix: listPrefix(f), after: after, limit: min(limit, listMost)}
	for !l.end && len(l.out) < l.limit {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		if err := s.db.read(l.scan); err != nil {
			return nil, "", fmt.Errorf("listing suppressions: %w", err)
		}
	}
	if l.end {
		return l.out, "", nil
	}
	return l.out, hex.EncodeToString(l.after), nil
}

// listPrefix is what the keys begin with that a filter can select.
func listPrefix(f store.SuppressionFilter) []byte {
	switch {
	case f.Server == 0:
		return nil
	case f.Stream == "":
		return numberKey(uint64(f.Server))
	}
	return listKey(f.Server, f.Stream, f.Address)
}
