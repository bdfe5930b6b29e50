package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// still never makes a checkpoint by itself.
func still() Options {
	opts := smallOptions()
	opts.CheckpointEvery = time.Hour
	return opts
}

// sealT brings the view and its blocks up to date and returns how many blocks there are.
func sealT(t testing.TB, s *Store) int {
	t.Helper()
	if err := errors.Join(s.checkpoint(), s.seal()); err != nil {
		t.Fatal(err)
	}
	return blocksOf(t, s)
}

func blocksOf(t testing.TB, s *Store) (n int) {
	t.Helper()
	err := s.db.read(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucketBlock).Stats().KeyN
		if live := tx.Bucket(bucketLive).Stats().KeyN; live != n {
			t.Errorf("%d blocks, %d with a state", n, live)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func totalT(t testing.TB, s *Store, f store.Filter) int {
	t.Helper()
	f.Server, f.Stream = 1, "outbound"
	_, n, err := s.Search(t.Context(), f, 0, 0)
	if err != nil {
		t.Error(err)
	}
	return n
}

func TestSeal_LifeOfABlock(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	var ids []store.ID
	for range 30 {
		ids = append(ids, acceptT(t, s, 10))
	}
	deliverT(t, s, ids[3])
	if n := sealT(t, s); n != 3 { // of 8, and 4 of the newest stay out at least
		t.Errorf("%d blocks of 30 messages, want 3", n)
	}
	if q, all := totalT(t, s, store.Filter{Queued: true}), totalT(t, s, store.Filter{Subject: "ORDER 4711"}); q != 29 || all != 30 {
		t.Errorf("%d queued of %d, want 29 of 30", q, all)
	}
	for _, id := range ids[:16] { // in blocks, and not yet known to be sent there
		if id != ids[3] {
			deliverT(t, s, id)
		}
	}
	if q := totalT(t, s, store.Filter{Queued: true}); q != 14 {
		t.Errorf("%d queued before the checkpoint, want 14", q)
	}
	sealT(t, s)
	if q := totalT(t, s, store.Filter{Queued: true}); q != 14 {
		t.Errorf("%d queued behind the checkpoint, want 14", q)
	}
	pruneT(t, s, 16)
	if n, all := blocksOf(t, s), totalT(t, s, store.Filter{Recipient: "Jane.Doe@EXAMPLE.org"}); n != 1 || all != 14 {
		t.Errorf("%d blocks with %d messages after pruning, want 1 and 14", n, all)
	}
	checkT(t, s)
}

// What comes in great numbers between two checkpoints is in blocks with the first
// of them, together with what was listed before.
func TestCheckpoint_MakesBlocksOfWhatComesTogether(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	accept := func(n int) (ids []store.ID) {
		for range n {
			ids = append(ids, acceptT(t, s, 10))
		}
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	first := accept(5)
	if n := blocksOf(t, s); n != 0 {
		t.Errorf("%d blocks of 5 messages, want none", n)
	}
	deliverT(t, s, first[1]) // its place in the block comes with the same transaction
	accept(20)
	if n := blocksOf(t, s); n != 2 {
		t.Errorf("%d blocks of 25 messages, want 2", n)
	}
	if q, all := totalT(t, s, store.Filter{Queued: true}), totalT(t, s, store.Filter{}); q != 24 || all != 25 {
		t.Errorf("%d queued of %d, want 24 of 25", q, all)
	}
	accept(6)
	if n := sealT(t, s); n != 3 {
		t.Errorf("%d blocks of 31 messages once the loop has come by, want 3", n)
	}
	checkT(t, s)
}

// TestSeal_OldStore has a store without blocks get them, in the order of a start.
func TestSeal_OldStore(t *testing.T) {
	opts := still()
	opts.blockSize = maxBlock
	dir := t.TempDir()
	s := openT(t, dir, opts)
	for range 100 {
		acceptT(t, s, 10)
	}
	if n := sealT(t, s); n != 0 {
		t.Errorf("%d blocks of too few messages", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opts = smallOptions()
	opts.CheckpointEvery = time.Millisecond
	s = openT(t, dir, opts)
	for deadline := time.Now().Add(10 * time.Second); blocksOf(t, s) < 12; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d blocks of 100 messages, want 12", blocksOf(t, s))
		}
	}
	if n := totalT(t, s, store.Filter{}); n != 100 {
		t.Errorf("%d messages are found, want 100", n)
	}
	checkT(t, s)
}

func TestSeal_DamagedBlockStopsNoMail(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	var ids []store.ID
	for range 30 {
		ids = append(ids, acceptT(t, s, 10))
	}
	sealT(t, s)
	err := s.db.write(func(tx *bbolt.Tx) error {
		k, v := tx.Bucket(bucketBlock).Cursor().First()
		return tx.Bucket(bucketBlock).Put(k, v[:len(v)-1])
	})
	if err != nil {
		t.Fatal(err)
	}
	deliverT(t, s, ids[0])
	pruneT(t, s, 1)
	if _, _, err := s.Search(t.Context(), store.Filter{Server: 1, Stream: "outbound"}, 0, 1); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Search = %v, want damage", err)
	}
	r, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || !strings.Contains(fmt.Sprint(r.Problems), "bucket block") {
		t.Errorf("Check = %+v, %v, want the block", r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(t.Context(), s.root, smallOptions()); err != nil {
		t.Fatal(err)
	}
	s = openT(t, s.root, still())
	if n := totalT(t, s, store.Filter{}); n != 29 {
		t.Errorf("%d messages after the rebuild, want 29", n)
	}
	checkT(t, s)
}

func TestCheck_SeesABlockThatIsWrong(t *testing.T) {
	for name, change := range map[string]func(block, live *bbolt.Bucket, k, v []byte) error{
		"queued": func(_, b *bbolt.Bucket, k, _ []byte) error {
			return b.Put(k, append(b.Get(k)[:9:9], make([]byte, 8)...))
		},
		"gone": func(_, b *bbolt.Bucket, k, _ []byte) error { return b.Put(k, append([]byte{1}, make([]byte, 16)...)) },
		"term": func(b, _ *bbolt.Bucket, k, v []byte) error {
			v = append([]byte(nil), v...)
			parsed, err := parseBlock(v)
			if err != nil {
				return err
			}
			parsed.terms[7]++
			binary.BigEndian.PutUint32(v[4:], crc32.Checksum(v[8:], castagnoli))
			return b.Put(k, v)
		},
		"text": func(b, _ *bbolt.Bucket, k, v []byte) error {
			v = append([]byte(nil), v...)
			v[len(v)-2]++
			binary.BigEndian.PutUint32(v[4:], crc32.Checksum(v[8:], castagnoli))
			return b.Put(k, v)
		},
		"checksum": func(b, _ *bbolt.Bucket, k, v []byte) error {
			v = append([]byte(nil), v...)
			v[len(v)-2]++
			return b.Put(k, v)
		},
		"no state": func(_, b *bbolt.Bucket, k, _ []byte) error { return b.Delete(k) },
	} {
		s := openT(t, t.TempDir(), still())
		for range 30 {
			acceptT(t, s, 10)
		}
		sealT(t, s)
		err := s.db.write(func(tx *bbolt.Tx) error {
			k, v := tx.Bucket(bucketBlock).Cursor().First()
			return change(tx.Bucket(bucketBlock), tx.Bucket(bucketLive), k, v)
		})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || r.OK() {
			t.Errorf("%s: Check = %+v, %v, want a problem", name, r, err)
		}
	}
}

// TestSearch_EndsWithItsContext: what is not indexed may take long.
func TestSearch_EndsWithItsContext(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	acceptT(t, s, 10)
	ctx, cancel := context.WithCancel(t.Context())
	if _, n, err := s.Search(ctx, store.Filter{}, 0, 1); n != 1 || err != nil {
		t.Errorf("Search = %d, %v", n, err)
	}
	cancel()
	if _, _, err := s.Search(ctx, store.Filter{}, 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Search = %v", err)
	}
}

// variedStates have terms of one message, of some and of all, and subjects that repeat.
func variedStates(n int) (states []*state) {
	for i := range n {
		m, ds := sampleMessage(store.NewID(), "example.org")
		m.Accepted = moment.Add(time.Duration(i))
		m.Tag = fmt.Sprint("tag ", i%3)
		m.Header.Subject = fmt.Sprint("Number ", i%7, strings.Repeat(" again", i%3))
		m.Metadata = map[string]string{"Order": fmt.Sprint(i)}
		m.Bounce = i == 5
		states = append(states, newStateT(m, ds))
	}
	return states
}

func TestBlock_SelectsWhatTheRecordsDo(t *testing.T) {
	for _, n := range []int{1, 2, 63, 64, 65, 200, maxBlock} {
		states := variedStates(n)
		v := blockOf(states)
		if err := checkBlock(v); err != nil {
			t.Fatal(err)
		}
		b, err := parseBlock(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []store.Filter{
			{}, {Tag: "tag 1"}, {Tag: "tag"}, {Recipient: "JANE.doe@example.org"}, {Recipient: "nobody@example.org"},
			{Sender: "shop@app.example.com"}, {Sender: "bounce@APP.example.com"}, {MetadataKey: "order", Metadata: "7"},
			{Subject: "number 3 AGAIN"}, {Subject: "n again"}, {Subject: "7"}, {Subject: "number 6number"}, {Subject: "again again "},
			{Subject: "\x00"}, {Outbound: true}, {Tag: "tag 2", Subject: "5", Outbound: true}, {Destination: "Example.ORG", Subject: " "},
		} {
			q := queryOf(&f)
			set := span(0, n)
			b.narrow(&set, &q)
			for i, st := range states {
				if set.has(i) != matches(&f, st) {
					t.Errorf("message %d of %d: %+v selects it in the block: %t", i, n, f, set.has(i))
				}
			}
		}
	}
}

func TestBitset(t *testing.T) {
	for _, r := range [][2]int{{0, 0}, {0, 1}, {5, 5}, {0, 64}, {3, 64}, {63, 65}, {0, maxBlock}, {100, 400}, {maxBlock - 1, maxBlock}, {7, 3}} {
		s := span(r[0], r[1])
		highest := -1
		for i := range maxBlock {
			if s.has(i) != (i >= r[0] && i < r[1]) {
				t.Fatalf("span %v: %d is wrong", r, i)
			}
			if s.has(i) {
				highest = i
			}
		}
		if s.highest() != highest || s.count() != max(0, r[1]-r[0]) || s.empty() != (highest < 0) {
			t.Errorf("span %v: highest %d, count %d, empty %t", r, s.highest(), s.count(), s.empty())
		}
	}
}

// FuzzBlock: what is damaged is refused or searched in vain, and never a panic.
func FuzzBlock(f *testing.F) {
	f.Add(blockOf(variedStates(1)), "number")
	f.Add(blockOf(variedStates(70)), "7 again")
	f.Fuzz(func(t *testing.T, v []byte, subject string) {
		b, err := parseBlock(v)
		if err != nil {
			return
		}
		for _, filter := range []store.Filter{{Tag: "tag 1"}, {Subject: subject}, {Outbound: true, Subject: subject}} {
			q, set := queryOf(&filter), span(0, b.n)
			b.narrow(&set, &q)
			if all := span(0, b.n); set.count() > all.count() {
				t.Errorf("%d of %d", set.count(), all.count())
			}
		}
		for i := range b.n {
			_ = b.textAt(i)
			b.search(b.stamp(i))
		}
	})
}

// FuzzIndex: the search by a rare byte finds what bytes.Index does.
func FuzzIndex(f *testing.F) {
	f.Add("your order 4711 has been shipped", "47")
	f.Fuzz(func(t *testing.T, text, part string) {
		if part == "" {
			return
		}
		if got, want := index([]byte(text), []byte(part), rarest([]byte(part), []byte(text))), strings.Index(text, part); got != want {
			t.Errorf("index(%q, %q) = %d, want %d", text, part, got, want)
		}
	})
}

// What a checkpoint and a block take in between a search's two looks is found once.
func TestSearch_SealedBetweenItsTwoLooks(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	for range 20 {
		acceptT(t, s, 10)
	}
	f := store.Filter{Server: 1, Stream: "outbound"}
	q := newSearching(s, f, 100)
	q.compareNewer()
	if n := sealT(t, s); n == 0 {
		t.Fatal("no block was made")
	}
	err := s.db.read(func(tx *bbolt.Tx) error { return q.run(t.Context(), tx) })
	if err != nil || q.total != 20 {
		t.Errorf("found %d, %v, want 20", q.total, err)
	}
}

// A message that was forgotten, and whose ID came again while the checkpoint with
// that is under way, is found once: the block that the view still has it in is out of date.
func TestSearch_MessageThatCameAgain(t *testing.T) {
	s := openT(t, t.TempDir(), still())
	var ids []store.ID
	for range 20 {
		ids = append(ids, acceptT(t, s, 10))
	}
	deliverT(t, s, ids[0])
	if n := sealT(t, s); n == 0 {
		t.Fatal("no block was made")
	}
	forgetT(t, s, ids[0])
	s.checkpointing.Lock()
	b := s.over.take()
	acceptAsT(t, s, ids[0])
	if n := totalT(t, s, store.Filter{}); n != 20 {
		t.Errorf("%d messages are found during the checkpoint, want 20", n)
	}
	err := s.writeBatch(b)
	s.checkpointing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if n := totalT(t, s, store.Filter{}); n != 20 {
		t.Errorf("%d messages are found behind it, want 20", n)
	}
	checkT(t, s)
}

// What a checkpoint has of a message is nothing to the next one where that message was
// forgotten and its ID came again meanwhile, whether the checkpoint can be written or not.
func TestCheckpoint_MessageThatCameAgainDuringIt(t *testing.T) {
	for _, inView := range []bool{false, true} {
		for _, change := range []string{"finished", "forgotten", "again"} { // what the checkpoint has
			for _, end := range []string{"forgotten", "again", "again, forgotten"} { // and then comes
				for _, failed := range []bool{false, true} {
					if change == "forgotten" && end == "forgotten" {
						continue
					}
					t.Run(fmt.Sprintf("in view %v, %s, then %s, failed %v", inView, change, end, failed), func(t *testing.T) {
						cameAgainDuring(t, inView, change, end, failed)
					})
				}
			}
		}
	}
}

func cameAgainDuring(t *testing.T, inView bool, change, end string, failed bool) {
	s := openT(t, t.TempDir(), still())
	id := acceptT(t, s, 10)
	if inView {
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	deliverT(t, s, id)
	if change == "forgotten" || change == "again" {
		forgetT(t, s, id)
	}
	if change == "again" {
		acceptAsT(t, s, id)
		deliverT(t, s, id)
	}
	s.checkpointing.Lock()
	b := s.over.take()
	if change != "forgotten" {
		forgetT(t, s, id)
	}
	want := 0
	if end != "forgotten" {
		acceptAsT(t, s, id)
		want = 1
	}
	if end == "again, forgotten" {
		deliverT(t, s, id)
		forgetT(t, s, id)
		want = 0
	}
	if failed {
		s.over.settle(b, store.ErrFull)
	} else if err := s.writeBatch(b); err != nil {
		t.Error(err)
	}
	s.checkpointing.Unlock()
	untold := failed && change == "finished"
	if e := s.over.dirty[id]; end == "again, forgotten" && !e.fresh && e.news != 0 && !untold {
		t.Errorf("%d events of the message before are told again", e.news)
	}
	for range 2 {
		if n := totalT(t, s, store.Filter{}); n != want {
			t.Errorf("%d messages are found, want %d", n, want)
		}
		if err := s.checkpoint(); err != nil {
			t.Error(err)
		}
	}
	checkT(t, s)
}

func forgetT(t *testing.T, s *Store, id store.ID) {
	t.Helper()
	if n, err := s.forget(t.Context(), []store.ID{id}); n != 1 || err != nil {
		t.Fatalf("forget = %d, %v", n, err)
	}
}

// acceptAsT accepts a message of a given ID.
func acceptAsT(t *testing.T, s *Store, id store.ID) {
	t.Helper()
	d, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, ds := sampleMessage(id, "example.org")
	if err := d.Commit(t.Context(), m, ds); err != nil {
		t.Fatal(err)
	}
}
