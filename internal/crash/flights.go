package main

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Types of journal records, docs/storage.md.
const (
	recordClaim   = 2
	recordResolve = 3
)

// frame is a line of journal.Dump.
type frame struct {
	Kind    string
	Type    byte
	Time    time.Time
	Payload []byte
}

// openClaims reads in the journal of a dead process which messages were in
// flight: claimed since it began, and without a result. Every message of the
// load is one delivery. Records behind the last commit frame do not count.
func openClaims(dir string, since time.Time) (map[string]bool, error) {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(journal.Dump(w, dir, journal.DumpOptions{Payload: true, JSON: true})) }()
	defer r.Close() // ends Dump
	open := map[string]bool{}
	var group []frame
	for lines := json.NewDecoder(r); ; {
		var f frame
		err := lines.Decode(&f)
		switch {
		case errors.Is(err, io.EOF):
			return open, nil
		case err != nil:
			return nil, err
		case f.Kind == "record":
			group = append(group, f)
		case f.Kind == "commit" && f.Time.After(since):
			apply(open, group)
			group = group[:0]
		case f.Kind == "commit", f.Kind == "segment":
			group = group[:0]
		}
	}
}

func apply(open map[string]bool, group []frame) {
	for _, f := range group {
		var id store.ID
		if len(f.Payload) < 1+len(id) {
			continue
		}
		copy(id[:], f.Payload[1:])
		switch f.Type {
		case recordClaim:
			open[id.String()] = true
		case recordResolve:
			delete(open, id.String())
		}
	}
}
