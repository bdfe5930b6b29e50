package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// oldMessages is how many messages the directory of the first schema holds.
const oldMessages = 4

// scratch kills a start on a directory of its own: a new one, or one that an
// older version wrote. The next start must go through and have everything.
func (r *run) scratch(ctx context.Context, s step) error {
	dir, err := os.MkdirTemp(r.dir, "scratch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	old := &relay{keep: retention, binary: r.relay.binary, data: filepath.Join(dir, "data"), config: filepath.Join(dir, "mailchute.yaml")}
	if err := old.configure(); err != nil {
		return err
	}
	want := 0
	if s.point != failpoint.StartCreated {
		want = oldMessages
		if err := os.CopyFS(old.data, os.DirFS(filepath.Join(r.opts.module, "store", "local", "testdata", "v1"))); err != nil {
			return err
		}
		if err := os.Chmod(old.data, 0o700); err != nil {
			return err
		}
	}
	p, err := old.start(ctx, arm(s))
	if err != nil {
		return err
	}
	select {
	case <-p.gone:
	case <-time.After(pointPatience):
	}
	if err := p.kill(); err != nil || !p.killed() {
		return errors.Join(err, fmt.Errorf("at %s: the relay was not killed: %v\n%s", s.point, p.cmd.ProcessState, p.log))
	}
	if err := holds(ctx, old.data, want); err != nil {
		return fmt.Errorf("after a kill at %s: %w", s.point, err)
	}
	r.note(kill{Life: r.life, Point: string(s.point), Hit: s.hit, AfterS: time.Since(p.begun).Round(time.Millisecond).String()})
	return nil
}

// holds opens a data directory and reads the bodies of all its messages.
func holds(ctx context.Context, dir string, want int) error {
	s, err := local.Open(dir, local.Options{MinFree: -1})
	if err != nil {
		return err
	}
	records, _, err := s.List(ctx, store.Filter{}, "", 100)
	for _, m := range records {
		body, open := s.Body(ctx, m.Message.ID)
		if err = errors.Join(err, open); open == nil {
			_, read := io.Copy(io.Discard, body)
			err = errors.Join(err, read, body.Close())
		}
	}
	report, check := s.Check(ctx, local.CheckOptions{})
	if err = errors.Join(err, check, s.Close()); err == nil && (len(records) != want || !report.OK()) {
		err = fmt.Errorf("%d messages of %d, problems %v", len(records), want, report.Problems)
	}
	return err
}
