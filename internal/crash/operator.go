package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// shown restarts a copy of a dead relay whose stream is paused, and asks it as an
// operator does which messages may have arrived. The copy neither delivers nor
// posts, so that what it does proves nothing for the relay itself.
func (r *run) shown(ctx context.Context) (ids map[string]bool, err error) {
	dir, err := os.MkdirTemp(r.dir, "copy-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	again := &relay{keep: r.relay.keep * 1000, binary: r.relay.binary, data: filepath.Join(dir, "data"), config: filepath.Join(dir, "mailchute.yaml"), mute: true}
	if err := errors.Join(again.configure(), copyFiles(again.data, r.relay.data)); err != nil {
		return nil, err
	}
	if _, err := again.run(ctx, "stream", "pause", "outbound"); err != nil {
		return nil, err
	}
	p, err := again.start(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.log), p.kill())
	}
	ids, err = uncertain(ctx, again)
	return ids, errors.Join(err, p.kill())
}

// uncertain lists the messages that the relay marks so, and looks at one of them.
func uncertain(ctx context.Context, r *relay) (map[string]bool, error) {
	out, err := r.run(ctx, "queue", "list", "--uncertain", "--json", "--limit", "10000")
	if err != nil {
		return nil, err
	}
	var records []struct {
		Message    struct{ ID string }
		Deliveries []struct{ Uncertain bool }
	}
	if err := json.Unmarshal(out, &records); err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, m := range records {
		if len(m.Deliveries) != 1 || !m.Deliveries[0].Uncertain {
			return nil, fmt.Errorf("message %s is listed as uncertain and is not marked so: %+v", m.Message.ID, m)
		}
		ids[m.Message.ID] = true
	}
	for id := range ids {
		page, err := r.run(ctx, "queue", "show", id)
		if err == nil && !strings.Contains(string(page), "uncertain") {
			err = fmt.Errorf("queue show %s does not say that it may have arrived:\n%s", id, page)
		}
		return ids, err
	}
	return ids, nil
}

// compare holds what the operator sees against the journal: what was ended and has
// no result is shown, and beside it only what was shown before.
func compare(ended, shown, before map[string]bool) (problems []string) {
	for _, id := range slices.Sorted(maps.Keys(ended)) {
		if ended[id] && !shown[id] {
			problems = append(problems, fmt.Sprintf("message %s was ended without a result, and is not shown as uncertain", id))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(shown)) {
		if !ended[id] && !before[id] {
			problems = append(problems, fmt.Sprintf("message %s is shown as uncertain, and was not ended", id))
		}
	}
	return problems
}

// copyFiles copies the files of a tree, and leaves its socket.
func copyFiles(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		name, rel := filepath.Rel(from, path)
		if err = errors.Join(err, rel); err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case d.Type().IsRegular():
			return copyFile(filepath.Join(to, name), path)
		}
		return nil
	})
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close() // read only
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
