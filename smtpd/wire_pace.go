package smtpd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// pace holds a transfer to its minimum rate. Only time spent waiting for the
// client counts, so a slow disk of ours is never held against it.
type pace struct {
	quota  int64         // octets owed in each window
	window time.Duration // 0: no minimum
	ends   time.Time     // of the whole transfer, zero: never

	got    int64
	waited time.Duration
	slow   bool // the last full window was short
}

// errSlow ends a transfer below its minimum rate.
var errSlow = fmt.Errorf("transfer below the minimum rate: %w", os.ErrDeadlineExceeded)

// newPace starts the clock of one transfer.
func (o *Options) newPace(now time.Time) (p pace) {
	if o.MinRate > 0 {
		p.window = o.RateWindow
		p.quota = int64(float64(o.MinRate) * o.RateWindow.Seconds())
	}
	if o.MaxUpload > 0 {
		p.ends = now.Add(o.MaxUpload)
	}
	return p
}

// patience is how long the client may stay silent now. Who has met the quota of
// a window early is free until the next one ends.
func (p *pace) patience(idle time.Duration) time.Duration {
	if p.window == 0 {
		return idle
	}
	left := p.window - p.waited
	if p.got >= p.quota {
		left += p.window
	}
	return left
}

// add counts octets and waiting, and notes a window that ended short of its
// quota. It only matters to a transfer that needs more octets.
func (p *pace) add(n int, waited time.Duration) {
	p.got += int64(n)
	p.waited += waited
	if p.window == 0 || p.waited < p.window {
		return
	}
	p.slow = p.got < p.quota
	p.got, p.waited = 0, 0
}

// read waits for the client within the pace.
func (p *pace) read(w *wire, b []byte) (int, error) {
	if p.slow {
		return 0, errSlow
	}
	start := time.Now()
	end := start.Add(p.patience(w.opts.Idle))
	if !p.ends.IsZero() && p.ends.Before(end) {
		end = p.ends
	}
	w.arm(waitContent, end)
	n, err := w.conn.Read(b)
	p.add(n, time.Since(start))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // no end of the connection is an end of data
	}
	return n, err
}
