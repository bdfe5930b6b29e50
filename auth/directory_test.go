package auth

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// memory is a store.Directory without durability.
type memory struct {
	mu      sync.Mutex
	snap    atomic.Pointer[store.Snapshot]
	waiting chan struct{} // closed and replaced by each change
}

func newMemory(s *store.Snapshot) *memory {
	m := &memory{waiting: make(chan struct{})}
	m.snap.Store(s)
	return m
}

func (m *memory) Snapshot() *store.Snapshot { return m.snap.Load() }

func (m *memory) Change(ctx context.Context, rev uint64, changes ...store.Change) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	current := m.snap.Load()
	if current.Revision != rev {
		return nil, fmt.Errorf("revision %d: %w", rev, store.ErrStale)
	}
	next, err := current.With(changes...)
	if err != nil {
		return nil, err
	}
	m.snap.Store(next)
	close(m.waiting)
	m.waiting = make(chan struct{})
	return next, nil
}

func (m *memory) Changed(rev uint64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.snap.Load().Revision > rev {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return m.waiting
}

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// The servers of world: shop has everything, blog is there to be mixed up with
// it.
const (
	shop = 1
	blog = 2
)

// world is a directory with two servers, their default streams, and a key file.
type world struct {
	t    testing.TB
	d    *memory
	k    *Keyring
	path string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, d: newMemory(&store.Snapshot{}), path: filepath.Join(t.TempDir(), "keys")}
	k, err := OpenKeyring(w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.k = k
	for id, name := range map[int64]string{shop: "shop", blog: "blog"} {
		w.change(store.Change{Server: &store.Server{ID: id, Name: name, DeliveryType: store.Live, Created: epoch}})
		for _, s := range store.DefaultStreams(id, store.ModeCapture, epoch) {
			w.change(store.Change{Stream: &s})
		}
	}
	return w
}

func (w *world) change(c store.Change) {
	w.t.Helper()
	if _, err := w.d.Change(w.t.Context(), w.d.Snapshot().Revision, c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) serverToken(server int64) (string, store.ServerToken) {
	w.t.Helper()
	token, record, err := CreateServerToken(w.t.Context(), w.d, w.k, server, "t", epoch)
	if err != nil {
		w.t.Fatal(err)
	}
	return token, record
}

func (w *world) accountToken() (string, store.AccountToken) {
	w.t.Helper()
	token, record, err := CreateAccountToken(w.t.Context(), w.d, w.k, "t", epoch)
	if err != nil {
		w.t.Fatal(err)
	}
	return token, record
}

func (w *world) smtpToken(server int64, stream string) (SMTPCredential, store.SMTPToken) {
	w.t.Helper()
	pair, record, err := CreateSMTPToken(w.t.Context(), w.d, w.k, store.StreamKey{Server: server, Stream: stream}, "t", epoch)
	if err != nil {
		w.t.Fatal(err)
	}
	return pair, record
}

var (
	office   = netip.MustParseAddr("192.0.2.1")
	home     = netip.MustParseAddr("198.51.100.7")
	loopback = netip.MustParseAddr("127.0.0.1")
)

// host returns the n-th of many addresses, each a network of its own.
func host(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}
