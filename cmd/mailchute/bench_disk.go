package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/mailchute/mailchute/store/journal"
)

const (
	diskProbeSize = 64 << 20  // as large as a segment of the journal
	diskProbeMax  = 4 << 20   // as large as a group of the journal
	diskProbeGrow = 128 << 10 // as large as the groups for which no segment is written beforehand
)

// diskBatch is how much the journal writes with one sync when all connections
// wait for it.
func (b *bench) diskBatch() int {
	return int(min(diskProbeMax, int64(b.Size)*int64(b.Connections)))
}

// diskProbe writes batches with a sync after each: what the journal does, and nothing else. Small ones overwrite a
// file again and again, large ones make new files, as dd does.
type diskProbe struct {
	dir   string
	file  journal.File
	made  int // files
	batch []byte
	off   int64
	syncs []float64 // a second, by round
}

func openDiskProbe(dir string, batch int) (*diskProbe, error) {
	p := &diskProbe{dir: dir, batch: bytes.Repeat([]byte("mailchute"), batch/9+1)[:batch]}
	if err := p.create(); err != nil || p.grows() {
		return p, err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < diskProbeSize; off += int64(len(zeros)) {
		if _, err := p.file.WriteAt(zeros, off); err != nil {
			return p, err
		}
	}
	return p, p.file.Datasync()
}

func (p *diskProbe) grows() bool { return len(p.batch) >= diskProbeGrow }

func (p *diskProbe) create() (err error) {
	p.made++
	p.file, err = journal.OS{}.Create(filepath.Join(p.dir, fmt.Sprintf("probe-%d", p.made)))
	return err
}

func (p *diskProbe) measure(d time.Duration) error {
	begun := time.Now()
	for n := 1; ; n++ {
		if err := p.write(); err != nil {
			return err
		}
		if spent := time.Since(begun); spent >= d {
			p.syncs = append(p.syncs, float64(n)/spent.Seconds())
			return nil
		}
	}
}

// write is one batch. The files of large ones stay, as the relay's do.
func (p *diskProbe) write() error {
	if p.off+int64(len(p.batch)) > diskProbeSize {
		p.off = 0
		if p.grows() {
			if err := errors.Join(p.file.Close(), p.create()); err != nil {
				return err
			}
		}
	}
	if _, err := p.file.WriteAt(p.batch, p.off); err != nil {
		return err
	}
	p.off += int64(len(p.batch))
	return p.file.Datasync()
}

func (p *diskProbe) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// syncCountLimit is the journal beyond which counting would take too long.
const syncCountLimit = 1 << 30

// countSyncs tells how many groups the relay has added to its journal, each of
// which was one sync. It needs the relay to have ended.
func (b *bench) countSyncs(r *benchReport) error {
	if b.Backlog > 0 || int64(r.Relay.Messages)*int64(b.Size) > syncCountLimit {
		return nil
	}
	n, err := b.commits()
	if err != nil {
		return err
	}
	var busy time.Duration
	for _, round := range b.relay.rounds {
		busy += max(round.through, round.window)
	}
	r.Relay.Syncs = n - b.prepared
	r.Relay.SyncsPerSecond = float64(r.Relay.Syncs) / busy.Seconds()
	return nil
}

// commits counts the commit frames in the journal.
func (b *bench) commits() (int, error) {
	var c commitCounter
	err := journal.Dump(&c, filepath.Join(b.dir, "data", "journal"), journal.DumpOptions{JSON: true})
	return c.n, err
}

// commitCounter counts the commit frames in a dump.
type commitCounter struct {
	n    int
	rest []byte
}

var _ io.Writer = (*commitCounter)(nil)

// Write implements io.Writer.
func (c *commitCounter) Write(p []byte) (int, error) {
	mark := []byte(`"kind":"commit"`)
	c.rest = append(c.rest, p...)
	c.n += bytes.Count(c.rest, mark)
	if at := bytes.LastIndexByte(c.rest, '\n'); at >= 0 {
		c.rest = append(c.rest[:0], c.rest[at+1:]...)
		c.n -= bytes.Count(c.rest, mark) // it is counted with the rest of its line
	}
	return len(p), nil
}
