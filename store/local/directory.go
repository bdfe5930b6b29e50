package local

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

const directoryFormat = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// directory holds the snapshot that readers see and writes its successors.
type directory struct {
	db      *viewDB
	current atomic.Pointer[store.Snapshot]

	changing sync.Mutex // one Change at a time; held across its transaction on purpose

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

func loadDirectory(db *viewDB) (*directory, error) {
	d := &directory{db: db, changed: make(chan struct{})}
	var snap *store.Snapshot
	err := db.read(func(tx *bbolt.Tx) (err error) { snap, err = readSnapshot(tx); return err })
	if err != nil {
		return nil, fmt.Errorf("loading the directory: %w", err)
	}
	d.current.Store(snap)
	return d, nil
}

// Snapshot implements store.Directory.
func (s *Store) Snapshot() *store.Snapshot { return s.dir.current.Load() }

// Changed implements store.Directory.
func (s *Store) Changed(rev uint64) <-chan struct{} {
	d := s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current.Load().Revision > rev {
		done := make(chan struct{})
		close(done)
		return done
	}
	return d.changed
}

// Change implements store.Directory.
func (s *Store) Change(ctx context.Context, rev uint64, changes ...store.Change) (*store.Snapshot, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	snap, err := s.dir.change(ctx, rev, changes)
	if err != nil {
		return nil, fmt.Errorf("changing the directory: %w", err)
	}
	return snap, nil
}

func (d *directory) change(ctx context.Context, rev uint64, changes []store.Change) (*store.Snapshot, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	old := d.current.Load()
	if old.Revision != rev {
		return nil, fmt.Errorf("revision %d is not %d: %w", rev, old.Revision, store.ErrStale)
	}
	next, err := old.With(changes...)
	if err != nil {
		return nil, err
	}
	if err := d.db.write(func(tx *bbolt.Tx) error { return writeChanges(tx, old, next, changes) }); err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.DirectoryCommitted)
	d.publish(next)
	return next, nil
}

func (d *directory) publish(next *store.Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current.Store(next)
	close(d.changed)
	d.changed = make(chan struct{})
}

// writeChanges writes what differs between two snapshots: the records that the
// changes named, as next has them, and the removal of all that next lacks.
func writeChanges(tx *bbolt.Tx, old, next *store.Snapshot, changes []store.Change) error {
	b := tx.Bucket(bucketDirectory)
	if err := b.Put([]byte{kindRevision}, append(numberKey(next.Revision), numberKey(uint64(next.LastID))...)); err != nil {
		return err
	}
	removed := false
	for _, c := range changes {
		removed = removed || c.Delete
		key, v := named(next, c)
		if v == nil {
			continue
		}
		if err := putRecord(b, key, v); err != nil {
			return err
		}
	}
	if !removed {
		return nil
	}
	for _, key := range missingKeys(old, next) {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	for id := range old.Servers {
		if _, there := next.Servers[id]; !there {
			if err := deleteLists(tx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// named returns key and value of the record that a change names as the
// snapshot has it, nil where it has none.
func named(s *store.Snapshot, c store.Change) (key []byte, v any) {
	switch {
	case c.Account != nil:
		return recordKey(kindAccount, 0), s.Account
	case c.User != nil:
		return recordOf(kindUser, c.User.ID, s.Users)
	case c.Server != nil:
		return recordOf(kindServer, c.Server.ID, s.Servers)
	case c.Stream != nil:
		k := store.StreamKey{Server: c.Stream.Server, Stream: c.Stream.ID}
		if stream, ok := s.Streams[k]; ok {
			return directoryStreamKey(k), stream
		}
	case c.AccountToken != nil:
		return recordOf(kindAccountToken, c.AccountToken.ID, s.AccountTokens)
	case c.ServerToken != nil:
		return recordOf(kindServerToken, c.ServerToken.ID, s.ServerTokens)
	case c.SMTPToken != nil:
		return recordOf(kindSMTPToken, c.SMTPToken.ID, s.SMTPTokens)
	case c.Domain != nil:
		return recordOf(kindDomain, c.Domain.ID, s.Domains)
	case c.Signature != nil:
		return recordOf(kindSignature, c.Signature.ID, s.Signatures)
	case c.Webhook != nil:
		return recordOf(kindWebhook, c.Webhook.ID, s.Webhooks)
	}
	return nil, nil
}

func recordOf[V any](kind byte, id int64, m map[int64]V) ([]byte, any) {
	if v, ok := m[id]; ok {
		return recordKey(kind, id), v
	}
	return nil, nil
}

func missingKeys(old, next *store.Snapshot) (keys [][]byte) {
	keys = missing(keys, kindUser, old.Users, next.Users)
	keys = missing(keys, kindServer, old.Servers, next.Servers)
	keys = missing(keys, kindAccountToken, old.AccountTokens, next.AccountTokens)
	keys = missing(keys, kindServerToken, old.ServerTokens, next.ServerTokens)
	keys = missing(keys, kindSMTPToken, old.SMTPTokens, next.SMTPTokens)
	keys = missing(keys, kindDomain, old.Domains, next.Domains)
	keys = missing(keys, kindSignature, old.Signatures, next.Signatures)
	keys = missing(keys, kindWebhook, old.Webhooks, next.Webhooks)
	for k := range old.Streams {
		if _, ok := next.Streams[k]; !ok {
			keys = append(keys, directoryStreamKey(k))
		}
	}
	return keys
}

func missing[V any](keys [][]byte, kind byte, old, next map[int64]V) [][]byte {
	for id := range old {
		if _, ok := next[id]; !ok {
			keys = append(keys, recordKey(kind, id))
		}
	}
	return keys
}

func putRecord(b *bbolt.Bucket, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a directory record: %w", err)
	}
	value := binary.BigEndian.AppendUint32([]byte{directoryFormat}, crc32.Checksum(text, castagnoli))
	return b.Put(key, append(value, text...))
}

// readSnapshot reads the whole directory.
func readSnapshot(tx *bbolt.Tx) (*store.Snapshot, error) {
	s, err := (&store.Snapshot{}).With()
	if err != nil {
		return nil, err
	}
	s.Revision = 0
	b := tx.Bucket(bucketDirectory)
	if b == nil {
		return nil, fmt.Errorf("bucket %s is missing: %w", bucketDirectory, store.ErrDamaged)
	}
	err = b.ForEach(func(k, v []byte) error {
		if err := readRecord(s, k, v); err != nil {
			return fmt.Errorf("directory record %x: %w", k, err)
		}
		return nil
	})
	return s, err
}

func readRecord(s *store.Snapshot, k, v []byte) error {
	if len(k) == 0 {
		return fmt.Errorf("%w: %w", errKey, store.ErrDamaged)
	}
	if k[0] == kindRevision {
		if len(v) != 16 {
			return fmt.Errorf("revision has %d bytes: %w", len(v), store.ErrDamaged)
		}
		s.Revision, s.LastID = binary.BigEndian.Uint64(v), int64(binary.BigEndian.Uint64(v[8:]))
		return nil
	}
	if len(v) < 5 || crc32.Checksum(v[5:], castagnoli) != binary.BigEndian.Uint32(v[1:]) {
		return fmt.Errorf("checksum: %w", store.ErrDamaged)
	}
	if v[0] != directoryFormat {
		return fmt.Errorf("format %d is unknown: %w", v[0], store.ErrDamaged)
	}
	return decodeRecord(s, k[0], v[5:])
}

func decodeRecord(s *store.Snapshot, kind byte, text []byte) error {
	switch kind {
	case kindAccount:
		if err := json.Unmarshal(text, &s.Account); err != nil {
			return fmt.Errorf("%w: %w", err, store.ErrDamaged)
		}
		return nil
	case kindUser:
		return into(text, s.Users, func(v store.User) int64 { return v.ID })
	case kindServer:
		return into(text, s.Servers, func(v store.Server) int64 { return v.ID })
	case kindStream:
		return into(text, s.Streams, func(v store.Stream) store.StreamKey { return store.StreamKey{Server: v.Server, Stream: v.ID} })
	case kindAccountToken:
		return into(text, s.AccountTokens, func(v store.AccountToken) int64 { return v.ID })
	case kindServerToken:
		return into(text, s.ServerTokens, func(v store.ServerToken) int64 { return v.ID })
	case kindSMTPToken:
		return into(text, s.SMTPTokens, func(v store.SMTPToken) int64 { return v.ID })
	case kindDomain:
		return into(text, s.Domains, func(v store.Domain) int64 { return v.ID })
	case kindSignature:
		return into(text, s.Signatures, func(v store.Signature) int64 { return v.ID })
	case kindWebhook:
		return into(text, s.Webhooks, func(v store.Webhook) int64 { return v.ID })
	}
	return fmt.Errorf("kind %d is unknown: %w", kind, store.ErrDamaged)
}

func into[K comparable, V any](text []byte, m map[K]V, key func(V) K) error {
	var v V
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrDamaged)
	}
	m[key(v)] = v
	return nil
}
