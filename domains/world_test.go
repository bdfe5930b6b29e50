package domains_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/store"
)

// memory is a store.Directory in memory.
type memory struct {
	mu      sync.Mutex // guards what follows
	snap    *store.Snapshot
	changed chan struct{}
}

func newMemory() *memory {
	snap, err := (&store.Snapshot{}).With()
	if err != nil {
		panic(err)
	}
	return &memory{snap: snap, changed: make(chan struct{})}
}

func (m *memory) Snapshot() *store.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snap
}

func (m *memory) Change(_ context.Context, rev uint64, changes ...store.Change) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rev != m.snap.Revision {
		return nil, store.ErrStale
	}
	next, err := m.snap.With(changes...)
	if err != nil {
		return nil, err
	}
	m.snap = next
	close(m.changed)
	m.changed = make(chan struct{})
	return next, nil
}

func (m *memory) Changed(rev uint64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.snap.Revision > rev {
		done := make(chan struct{})
		close(done)
		return done
	}
	return m.changed
}

// zone is a DNS of TXT records.
type zone struct {
	mu      sync.Mutex // guards what follows
	txt     map[string][]string
	fail    map[string]error
	queries int
}

func newZone() *zone { return &zone{txt: map[string][]string{}, fail: map[string]error{}} }

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.queries++
	if err := z.fail[name]; err != nil {
		return nil, err
	}
	if txt, ok := z.txt[name]; ok {
		if len(txt) == 0 {
			return nil, fmt.Errorf("%s: %w", name, domains.ErrNoRecords)
		}
		return txt, nil
	}
	return nil, fmt.Errorf("%s: %w", name, domains.ErrNoDomain)
}

func (z *zone) set(name string, txt ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.txt[name] = txt
}

func (z *zone) asked() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.queries
}

// publish puts the records of all keys into the zone.
func (z *zone) publish(d store.Domain) {
	for _, k := range d.Keys {
		z.set(k.RecordName(d.Name), k.Record)
	}
}

// epoch is when the tests begin.
var epoch = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

type world struct {
	t       testing.TB
	dir     *memory
	keyring *auth.Keyring
	zone    *zone
	now     time.Time
	keeper  *domains.Keeper
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: newMemory(), zone: newZone(), now: epoch}
	var err error
	if w.keyring, err = auth.OpenKeyring(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	w.keeper = domains.NewKeeper(w.dir, w.keyring, domains.Options{Resolver: w.zone, Now: func() time.Time { return w.now }})
	return w
}

func (w *world) add(name string) store.Domain {
	w.t.Helper()
	d, err := w.keeper.Add(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) verify(d store.Domain) store.Domain {
	w.t.Helper()
	d, err := w.keeper.Verify(w.t.Context(), d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// live is a domain whose keys are published and active.
func (w *world) live(name string) store.Domain {
	w.t.Helper()
	d := w.add(name)
	w.zone.publish(d)
	return w.verify(d)
}

// states is the keys in short.
func states(d store.Domain) string {
	var out []string
	for _, k := range d.Keys {
		out = append(out, k.Selector+" "+k.State())
	}
	return strings.Join(out, ", ")
}

func (w *world) wantStates(d store.Domain, want string) {
	w.t.Helper()
	if got := states(d); got != want {
		w.t.Errorf("keys are %q, want %q", got, want)
	}
	if got := states(w.dir.Snapshot().Domains[d.ID]); got != want {
		w.t.Errorf("stored keys are %q, want %q", got, want)
	}
}

var errServFail = errors.New("SERVFAIL")
