package main

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/mailchute/mailchute/store/journal"
)

const (
	diskProbeSize = 64 << 20 // as large as a segment of the journal
	diskProbeMax  = 4 << 20  // as large as a group of the journal
)

// diskBatch is how much the journal writes with one sync when all connections
// wait for it.
func (b *bench) diskBatch() int {
	return int(min(diskProbeMax, int64(b.Size)*int64(b.Connections)))
}

// diskProbe overwrites a file again and again in batches, with a sync after
// each: what the journal does, and nothing else.
type diskProbe struct {
	file  journal.File
	batch []byte
	off   int64
	syncs []float64 // a second, by round
}

func openDiskProbe(dir string, batch int) (*diskProbe, error) {
	f, err := journal.OS{}.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < diskProbeSize && err == nil; off += int64(len(zeros)) {
		_, err = f.WriteAt(zeros, off)
	}
	if err = errors.Join(err, f.Datasync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &diskProbe{file: f, batch: bytes.Repeat([]byte("mailchute"), batch/9+1)[:batch]}, nil
}

func (p *diskProbe) measure(d time.Duration) error {
	begun := time.Now()
	for n := 1; ; n++ {
		if p.off+int64(len(p.batch)) > diskProbeSize {
			p.off = 0
		}
		if _, err := p.file.WriteAt(p.batch, p.off); err != nil {
			return err
		}
		p.off += int64(len(p.batch))
		if err := p.file.Datasync(); err != nil {
			return err
		}
		if spent := time.Since(begun); spent >= d {
			p.syncs = append(p.syncs, float64(n)/spent.Seconds())
			return nil
		}
	}
}

func (p *diskProbe) close() error { return p.file.Close() }

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
