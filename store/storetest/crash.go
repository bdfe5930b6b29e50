package storetest

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
)

var crashTests = []test{
	{"ImageHasEveryWriteThatReturned", crashImages},
	{"ImageOfAnEmptyEngine", func(e *env) {
		crashed := e.image()
		crashed.wantEmpty()
		crashed.accept(start, "one.example")
	}},
	{"DirectoryIsInTheImage", func(e *env) {
		want, err := e.Change(e.ctx(), 0, oneOfEach()...)
		e.must(err)
		e.wantSame("Snapshot", want, e.image().Snapshot())
	}},
	{"StagedBodyIsNotInTheImage", func(e *env) {
		d := e.draft(make([]byte, 3<<20))
		crashed := e.image()
		crashed.wantEmpty()
		m, ds := mail(start, "one.example")
		e.must(d.Commit(e.ctx(), m, ds))
		crashed = e.image()
		crashed.wantBody(m.ID, make([]byte, 3<<20))
	}},
}

// image opens a copy of the directory as the death of the process would leave
// it now. The caller has no call under way.
func (e *env) image() *env {
	e.Helper()
	dir := e.TempDir()
	e.must(filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(e.dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dir, rel), 0o700)
		}
		return copyStill(path, filepath.Join(dir, rel))
	}))
	return &env{TB: e.TB, Store: e.open(e.TB, dir), dir: dir, open: e.open}
}

// copyStill copies a file as it was at one moment: again, when the engine
// wrote to it meanwhile.
func copyStill(from, to string) error {
	for {
		before, err := os.Stat(from)
		if err != nil {
			return err
		}
		if err := copyFile(from, to); err != nil {
			return err
		}
		after, err := os.Stat(from)
		if err != nil || (before.ModTime().Equal(after.ModTime()) && before.Size() == after.Size()) {
			return err
		}
	}
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		return err
	}
	return dst.Close()
}

// ledger is what writers were promised.
type ledger struct {
	mu       sync.Mutex
	accepted map[store.ID]bool // to whether the delivery was resolved as sent
}

func (l *ledger) set(id store.ID, sent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted[id] = sent
}

// crashImages takes images between the calls of several writers.
func crashImages(e *env) {
	const images, writers = 4, 3
	promised := ledger{accepted: map[store.ID]bool{}}
	var gate sync.RWMutex // held for reading during a call, for writing during a copy
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				gate.RLock()
				m := e.accept(start, "one.example")
				promised.set(m.ID, false)
				gate.RUnlock()
				gate.RLock()
				if i%2 == 0 {
					e.finish(part(m, 0), 0, start)
					promised.set(m.ID, true)
				}
				gate.RUnlock()
			}
		})
	}
	for i := range images {
		time.Sleep(time.Duration(20+70*i) * time.Millisecond) // a moment of no meaning to the engine
		gate.Lock()
		crashed := e.image()
		for id, sent := range promised.accepted {
			r := crashed.record(id)
			if r.Deliveries[0].Done() != sent {
				e.Errorf("image %d: delivery of %s is %+v, want sent: %t", i, id, r.Deliveries[0], sent)
			}
			crashed.wantBody(id, bodyOf(id))
		}
		gate.Unlock()
		crashed.must(crashed.Close())
	}
	close(stop)
	wg.Wait()
}
