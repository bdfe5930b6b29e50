package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

func statsT(t testing.TB, s *Store, tag string) (n int64) {
	t.Helper()
	days, err := s.Stats(t.Context(), store.StatsFilter{Server: 1, Tag: tag})
	if err != nil {
		t.Error(err)
	}
	for _, d := range days {
		n += d.Sent
	}
	return n
}

// counted makes a store that has sent 40 messages, forgotten 20 of them with their journal
// segments, and not brought what came last into the view. It returns what a crash leaves.
func countedStore(t testing.TB) (crashed string) {
	t.Helper()
	opts := still()
	opts.Journal.SegmentSize = 64 << 10
	s := openT(t, t.TempDir(), opts)
	for range 20 {
		deliverT(t, s, acceptT(t, s, 8<<10))
	}
	last := time.Now()
	pruneT(t, s, 20)
	for range 10 {
		deliverT(t, s, acceptT(t, s, 8<<10))
	}
	if _, err := s.Prune(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		deliverT(t, s, acceptT(t, s, 10))
	}
	if n := statsT(t, s, ""); n != 40 {
		t.Errorf("%d sent, want 40", n)
	}
	crashed = filepath.Join(t.TempDir(), "crashed")
	copyDir(t, s.root, crashed)
	return crashed
}

func TestStats_ReplayCountsOnce(t *testing.T) {
	opts := smallOptions()
	opts.MaxOverlay = 1 // checkpoints in the midst of the replay
	s := openT(t, countedStore(t), opts)
	for _, tag := range []string{"", "shipping"} {
		if n := statsT(t, s, tag); n != 40 {
			t.Errorf("%d sent with tag %q, want 40", n, tag)
		}
	}
	checkT(t, s)
}

func TestStats_RebuildKeepsAndAdds(t *testing.T) {
	dir := countedStore(t)
	for range 2 { // the second time of a view that a clean stop left
		r, err := Rebuild(t.Context(), dir, smallOptions())
		if err != nil || len(r.Lost) > 0 || r.Counters == 0 {
			t.Fatalf("Rebuild = %+v, %v", r, err)
		}
		s := openT(t, dir, smallOptions())
		if n, tagged := statsT(t, s, ""), statsT(t, s, "shipping"); n != 40 || tagged != 40 {
			t.Errorf("%d sent, %d with the tag, want 40", n, tagged)
		}
		checkT(t, s)
	}
}

// TestStats_RebuildOfWhatWasAhead has the view know a record that lies behind its
// position, because an older one was still being written.
func TestStats_RebuildOfWhatWasAhead(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	held := s.over.end()
	w, err := s.over.begin(t.Context())
	if err != nil || w.from != held {
		t.Fatalf("a write from %v, %v, want %v", w.from, err, held)
	}
	for range 5 {
		deliverT(t, s, acceptT(t, s, 10))
	}
	if err := s.checkpoint(); err != nil || s.position != held {
		t.Fatalf("position %v, %v, want %v", s.position, err, held)
	}
	dir := filepath.Join(t.TempDir(), "crashed")
	copyDir(t, s.root, dir)
	s.over.finish(w)
	if _, err := Rebuild(t.Context(), dir, smallOptions()); err != nil {
		t.Fatal(err)
	}
	again := openT(t, dir, smallOptions())
	if n := statsT(t, again, ""); n != 5 {
		t.Errorf("%d sent after the rebuild, want 5", n)
	}
	checkT(t, again)
}

func TestStats_RebuildWithoutTheOldFileCountsTheJournal(t *testing.T) {
	dir := countedStore(t)
	if err := os.Remove(filepath.Join(dir, dbName)); err != nil {
		t.Fatal(err)
	}
	r, err := Rebuild(t.Context(), dir, smallOptions())
	if err != nil || !strings.Contains(fmt.Sprint(r.Lost), "statistics") {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	s := openT(t, dir, smallOptions())
	if n := statsT(t, s, ""); n < 20 || n > 40 {
		t.Errorf("%d sent, want what the journal has: 20 and more", n)
	}
	checkT(t, s)
}

// TestStats_OlderSchemaIsCounted: a store of before gets the counters of what it has.
func TestStats_OlderSchemaIsCounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v1")
	copyDir(t, v1Dir, dir)
	s := openT(t, dir, smallOptions())
	days, err := s.Stats(t.Context(), store.StatsFilter{Server: 1, Stream: "outbound"})
	if err != nil || len(days) != 1 || days[0].Sent != 1 {
		t.Errorf("Stats = %+v, %v, want the one that was sent", days, err)
	}
	checkT(t, s)
}

func TestStats_DamageStopsNoMailAndIsSaid(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	deliverT(t, s, acceptT(t, s, 10))
	err := errors.Join(s.checkpoint(), s.db.write(func(tx *bbolt.Tx) error {
		k, v := tx.Bucket(bucketStats).Cursor().First()
		v = append([]byte(nil), v...)
		v[len(v)-1] ^= 1
		return tx.Bucket(bucketStats).Put(k, v)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stats(t.Context(), store.StatsFilter{Server: 1}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Stats = %v, want damage", err)
	}
	if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || r.OK() {
		t.Errorf("Check = %+v, %v, want the counter", r, err)
	}
	deliverT(t, s, acceptT(t, s, 10))
	checkT(t, s)
}

// TestStats_FailedCheckpointLosesNoCount and counts nothing twice.
func TestStats_FailedCheckpointLosesNoCount(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	deliverT(t, s, acceptT(t, s, 10))
	b := s.over.take()
	deliverT(t, s, acceptT(t, s, 10))
	if n := statsT(t, s, ""); n != 2 {
		t.Errorf("%d sent during the checkpoint, want 2", n)
	}
	s.over.settle(b, store.ErrFull)
	for range 2 {
		if n := statsT(t, s, ""); n != 2 {
			t.Errorf("%d sent, want 2", n)
		}
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	checkT(t, s)
}

// FuzzStats: what can be read is written again as it was understood.
func FuzzStats(f *testing.F) {
	f.Add(statsKey(countKey{1, 20_000, "outbound", "welcome"}), statsValue(store.Counts{Sent: 3, Bounces: map[string]int64{"HardBounce": 2}}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if k, err := parseStatsKey(key); err == nil && string(statsKey(k)) != string(key) {
			t.Errorf("key %x becomes %x", key, statsKey(k))
		}
		c, err := parseStats(value)
		if err != nil {
			return
		}
		again, err := parseStats(statsValue(c))
		if d := cmp.Diff(c, again); err != nil || d != "" {
			t.Errorf("%v %s", err, d)
		}
	})
}
