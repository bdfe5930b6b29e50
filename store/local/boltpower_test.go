package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal/faultfs"
	"github.com/mailchute/mailchute/store/local/boltwrites"
)

// sector is what a disk writes whole.
const sector = 512

// boltDisk keeps apart what bbolt wrote and what it had synced. bbolt syncs
// after the pages of a transaction and again after its meta page, and syncs a size
// that has grown at once: so a meta page means that what was pending is durable, and a
// page behind a meta page that this is.
type boltDisk struct {
	path    string
	metas   int64 // offset behind the meta pages
	durable []byte
	pending []boltWrite
	rnd     *rand.Rand
	cut     func(image []byte)
}

type boltWrite struct {
	off  int64
	data []byte
}

// watch puts d under the writes of an open engine.
func (d *boltDisk) watch(t *testing.T, v *viewDB) {
	t.Helper()
	d.path, d.metas = v.bolt.Path(), 2*int64(v.bolt.Info().PageSize)
	content, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	d.durable = content
	boltwrites.Intercept(v.bolt, func(next boltwrites.WriteAt) boltwrites.WriteAt {
		return func(b []byte, off int64) (int, error) {
			if err := d.before(b, off); err != nil {
				return 0, err
			}
			return next(b, off)
		}
	})
}

// before takes note of a write and makes every image that a power cut could leave
// while it is under way.
func (d *boltDisk) before(b []byte, off int64) error {
	if meta := off < d.metas; meta || (len(d.pending) > 0 && d.pending[0].off < d.metas) {
		d.sync()
	}
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	if grown := info.Size() - int64(len(d.durable)); grown > 0 {
		d.durable = append(d.durable, make([]byte, grown)...)
	}
	w := boltWrite{off, bytes.Clone(b)}
	older := d.pending
	d.pending = append(older[:len(older):len(older)], w)
	d.cut(d.image(older...))
	d.cut(d.image(d.pending...))
	d.cut(d.image(w))
	for _, at := range d.tears(w) {
		d.cut(d.image(append(older[:len(older):len(older)], boltWrite{off, w.data[:at]})...))
		d.cut(d.image(boltWrite{off + int64(at), w.data[at:]}))
	}
	d.cut(d.image(d.some()...))
	return nil
}

// tears are the places where a write may break. A meta page is shorter than a
// sector; its checksum has to tell in any case.
func (d *boltDisk) tears(w boltWrite) []int {
	if w.off < d.metas {
		return []int{8, pageHeaderSize + 8, pageHeaderSize + metaSize - 8, sector}
	}
	return []int{sector * (1 + d.rnd.IntN(len(w.data)/sector-1))}
}

// some is a random choice of the sectors that are pending, in any order.
func (d *boltDisk) some() (out []boltWrite) {
	for _, w := range d.pending {
		for at := 0; at < len(w.data); at += sector {
			if d.rnd.IntN(2) == 0 {
				out = append(out, boltWrite{w.off + int64(at), w.data[at : at+sector]})
			}
		}
	}
	return out
}

// sync makes durable what is pending.
func (d *boltDisk) sync() {
	d.durable = d.image(d.pending...)
	d.pending = nil
}

func (d *boltDisk) image(writes ...boltWrite) []byte {
	out := bytes.Clone(d.durable)
	for _, w := range writes {
		if missing := w.off + int64(len(w.data)) - int64(len(out)); missing > 0 {
			out = append(out, make([]byte, missing)...)
		}
		copy(out[w.off:], w.data)
	}
	return out
}

// cutImage is what one power cut leaves, with what had been promised by then.
type cutImage struct {
	name     string
	db       []byte
	journal  *faultfs.FS
	loss     faultfs.Loss
	promises promises
}

// promises are the calls that have returned.
type promises struct {
	accepted   map[store.ID]int64
	sent       map[store.ID]bool
	forgotten  bool // what was sent may be gone
	servers    int
	suppressed int
}

func (p promises) clone() promises {
	p.accepted, p.sent = maps.Clone(p.accepted), maps.Clone(p.sent)
	return p
}

// powerWorld runs an engine whose journal and whose bbolt file are on disks that
// lose power.
type powerWorld struct {
	t      *testing.T
	s      *Store
	dir    string
	opts   Options
	memory *faultfs.FS
	disk   *boltDisk
	step   string
	images []cutImage
	promises
}

func newPowerWorld(t *testing.T) *powerWorld {
	w := &powerWorld{
		t: t, dir: t.TempDir(), memory: faultfs.New(), opts: smallOptions(),
		promises: promises{accepted: map[store.ID]int64{}, sent: map[store.ID]bool{}},
	}
	w.opts.Journal.FS, w.opts.Journal.SegmentSize = w.memory, 64<<10
	w.opts.CheckpointEvery, w.opts.InitialMmapSize = time.Hour, 32<<10
	w.s = openT(t, w.dir, w.opts)
	w.disk = &boltDisk{rnd: rand.New(rand.NewPCG(5, 6)), cut: func(image []byte) { w.keep(image, len(w.images)) }}
	w.disk.watch(t, w.s.db)
	return w
}

// keep takes the images of both disks at this moment.
func (w *powerWorld) keep(db []byte, n int) {
	loss := faultfs.Losses()[n%len(faultfs.Losses())]
	w.images = append(w.images, cutImage{
		fmt.Sprintf("%d: %s, journal %s", n, w.step, loss), db, w.memory.Crash(loss, uint64(n)), loss, w.promises.clone(),
	})
}

// do is one call of the engine. When it has returned, everything it promised has to
// last, whatever the disks lose then.
func (w *powerWorld) do(step string, call func() error) {
	w.t.Helper()
	w.step = step
	if err := call(); err != nil {
		w.t.Fatalf("%s: %v", step, err)
	}
	w.disk.sync()
	w.step = "after " + step
	for range faultfs.Losses() {
		w.keep(w.disk.image(), len(w.images))
	}
}

func (w *powerWorld) accept(n int) {
	for range n {
		const size = 6 << 10
		w.do("accept", func() error {
			id, err := acceptOne(w.s, make([]byte, size))
			w.accepted[id] = size
			return err
		})
	}
}

// deliver finishes messages that are not.
func (w *powerWorld) deliver(n int) {
	for _, id := range slices.SortedFunc(maps.Keys(w.accepted), func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) }) {
		if n == 0 {
			return
		}
		if w.sent[id] {
			continue
		}
		n--
		w.do("deliver", func() error {
			err := deliverOne(w.s, id)
			w.sent[id] = true
			return err
		})
	}
}

func (w *powerWorld) work() {
	ctx := w.t.Context()
	w.accept(6)
	w.do("checkpoint", w.s.checkpoint)
	w.do("directory", func() error {
		_, err := w.s.Change(ctx, 0, store.Change{Server: &store.Server{ID: 1, Name: "one", DeliveryType: store.Live}})
		w.servers = 1
		return err
	})
	w.deliver(4)
	w.accept(6)
	w.do("suppress", func() error {
		_, err := w.s.Suppress(ctx, store.Suppression{
			Server: 1, Stream: "outbound", Address: "b@example.org", Reason: store.SuppressedHardBounce, Origin: store.OriginRecipient, Created: time.Now(),
		})
		w.suppressed = 1
		return err
	})
	w.do("checkpoint", w.s.checkpoint)
	w.deliver(4)
	w.forgotten = true // from its beginning on
	w.do("prune", func() error { _, err := w.s.Prune(ctx, time.Now().Add(time.Hour)); return err })
	w.accept(3)
	w.do("checkpoint", w.s.checkpoint)
}

// TestPowerCut_UnderBothFiles cuts the power around every write of bbolt and after
// every call of the engine, while the journal loses in each way what it had not
// synced. Every image must open as it is and hold every promise.
func TestPowerCut_UnderBothFiles(t *testing.T) {
	w := newPowerWorld(t)
	w.work()
	if first := w.s.jour.Segments()[0].Number; first == 1 {
		t.Fatal("the work is too small: no segment was released")
	}
	if err := w.s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, image := range w.images {
		if err := w.verify(image, i%10 == 0); err != nil {
			t.Fatalf("%s: %v", image.name, err)
		}
	}
	t.Logf("%d images", len(w.images))
}

// verify opens an image. The full check makes the view anew and compares.
func (w *powerWorld) verify(image cutImage, full bool) error {
	if err := os.WriteFile(filepath.Join(w.dir, dbName), image.db, 0o600); err != nil {
		return err
	}
	opts := w.opts
	opts.Journal.FS = image.journal
	s, err := Open(w.dir, opts)
	if err != nil {
		return err
	}
	return errors.Join(image.promises.kept(w.t.Context(), s), w.consistent(s, full), s.Close())
}

func (w *powerWorld) consistent(s *Store, full bool) error {
	r, err := s.Check(w.t.Context(), CheckOptions{Full: full})
	if err == nil && !r.OK() {
		err = fmt.Errorf("check: %v", r.Problems)
	}
	return err
}

func (p promises) kept(ctx context.Context, s *Store) error {
	for id, size := range p.accepted {
		r, err := s.Record(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound) && p.forgotten && p.sent[id]:
			continue
		case err != nil:
			return fmt.Errorf("message %s, sent %v: %w", id, p.sent[id], err)
		case p.sent[id] && !r.Deliveries[0].Done():
			return fmt.Errorf("message %s was sent and is queued", id)
		}
		if n, err := bodySize(s, id); err != nil || n != size {
			return fmt.Errorf("body of %s: %d octets, %w", id, n, err)
		}
	}
	if n := len(s.Snapshot().Servers); n < p.servers {
		return fmt.Errorf("%d servers of %d", n, p.servers)
	}
	list, err := s.Suppressed(ctx, 1, "outbound", "b@example.org")
	if err == nil && len(list) < p.suppressed {
		err = fmt.Errorf("%d suppressions of %d", len(list), p.suppressed)
	}
	return err
}

// TestFreeList_IsInTheFileOfADeadProcess: without it the next start reads every page
// of the file.
func TestFreeList_IsInTheFileOfADeadProcess(t *testing.T) {
	opts := smallOptions()
	opts.CheckpointEvery = time.Hour
	s := openT(t, t.TempDir(), opts)
	acceptT(t, s, 100)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.db.bolt.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	w := pageWalk{file: f, size: info.Size()}
	if err := w.meta(); err != nil || w.freelist == pageNone {
		t.Errorf("meta = %v, list of free pages on page %d, want one", err, w.freelist)
	}
}
