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
	recordEnding  = 12
)

// frame is a line of journal.Dump.
type frame struct {
	Kind    string
	Type    byte
	Time    time.Time
	Payload []byte
}

// flights are the transactions that a dead process has left.
type flights struct {
	open  map[string]bool // claimed and without a result
	ended map[string]bool // of these, those recorded to be about to end their content: the uncertain ones
}

// openClaims reads in the journal of a dead process which messages were in
// flight: claimed since it began, and without a result. Every message of the
// load is one delivery. Records behind the last commit frame do not count.
func openClaims(dir string, since time.Time) (flights, error) {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(journal.Dump(w, dir, journal.DumpOptions{Payload: true, JSON: true})) }()
	defer r.Close() // ends Dump
	left := flights{open: map[string]bool{}, ended: map[string]bool{}}
	var group []frame
	for lines := json.NewDecoder(r); ; {
		var f frame
		err := lines.Decode(&f)
		switch {
		case errors.Is(err, io.EOF):
			return left, nil
		case err != nil:
			return left, err
		case f.Kind == "record":
			group = append(group, f)
		case f.Kind == "commit" && f.Time.After(since):
			left.apply(group)
			group = group[:0]
		case f.Kind == "commit", f.Kind == "segment":
			group = group[:0]
		}
	}
}

func (l flights) apply(group []frame) {
	for _, f := range group {
		var id store.ID
		if len(f.Payload) < 1+len(id) {
			continue
		}
		copy(id[:], f.Payload[1:])
		switch f.Type {
		case recordClaim:
			l.open[id.String()] = true
		case recordEnding:
			l.ended[id.String()] = l.open[id.String()]
		case recordResolve:
			delete(l.open, id.String())
			delete(l.ended, id.String())
		}
	}
}
