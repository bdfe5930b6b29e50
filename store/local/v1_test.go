package local

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

var rewrite = flag.Bool("update", false, "write the newest directory of testdata anew; only before its schema is released")

// v1Dir is a data directory that schema version 1 wrote, with a message in each state that the
// format knows. It is opened by every later version for ever, and so are those
// of later schemas, which have the same messages.
const (
	v1Dir = "testdata/v1"
	v4Dir = "testdata/v4" // two of the messages are in a search block
	v5Dir = "testdata/v5" // there is room for notifications
	v6Dir = "testdata/v6" // and what was sent is counted
	v7Dir = "testdata/v7" // there is a log of interventions, and a note
)

// The messages of v1Dir.
var (
	v1Queued = mustID("0195620d-0000-7000-8000-000000000001")
	v1Held   = mustID("0195620d-0000-7000-8000-000000000002")
	v1Sent   = mustID("0195620d-0000-7000-8000-000000000003")
	v1Tail   = mustID("0195620d-0000-7000-8000-000000000004") // in the journal, not in the view
)

func mustID(s string) store.ID {
	id, err := store.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func TestSchemas_OpenForEver(t *testing.T) {
	if *rewrite {
		writeFixture(t, v7Dir)
	}
	for _, from := range []string{v1Dir, v4Dir, v5Dir, v6Dir, v7Dir} {
		t.Run(filepath.Base(from), func(t *testing.T) { opensForEver(t, from) })
	}
}

func opensForEver(t *testing.T, from string) {
	dir := filepath.Join(t.TempDir(), "data")
	copyDir(t, from, dir)
	s := openT(t, dir, smallOptions())
	if snap := s.Snapshot(); snap.Revision != 1 || snap.Servers[1].Name != "one" || len(snap.Streams) != 3 || snap.SMTPTokens[2].AccessKey != "key" {
		t.Errorf("Snapshot = %+v", snap)
	}
	for _, tc := range []struct {
		id     store.ID
		events int
		state  store.State
		held   bool
	}{
		{v1Queued, 2, store.Queued, false},
		{v1Held, 2, store.Queued, true},
		{v1Sent, 2, store.Sent, false},
		{v1Tail, 1, store.Queued, false},
	} {
		r, err := s.Record(t.Context(), tc.id)
		if err != nil {
			t.Error(err)
			continue
		}
		d := r.Deliveries[0]
		if len(r.Events) != tc.events || d.Recipients[0].State != tc.state || d.Held.IsZero() == tc.held {
			t.Errorf("%s = %+v", tc.id, r)
		}
		if r.Message.Header.Subject != "Your order 4711 has been shipped" || r.Message.Metadata["order"] != "4711" || !r.Message.Accepted.Equal(moment) {
			t.Errorf("message = %+v", r.Message)
		}
		wantBody(t, s, tc.id, 700)
	}
	if n := totalT(t, s, store.Filter{Tag: "shipping", Queued: true}); n != 3 {
		t.Errorf("%d queued messages are found, want 3", n)
	}
	if n := statsT(t, s, "shipping"); n != 1 {
		t.Errorf("%d are counted as sent, want 1", n)
	}
	log, err := s.ListInterventions(t.Context(), 10)
	note, noteErr := s.Note(t.Context(), "sites")
	if kept := from == v7Dir; err != nil || noteErr != nil || (len(log) == 1) != kept || (string(note) == "[]") != kept {
		t.Errorf("interventions = %+v, %v, note %q, %v", log, err, note, noteErr)
	}
	checkT(t, s)
}

// TestSchemas_HaveAFixtureEach: whoever adds a schema leaves a directory of it.
func TestSchemas_HaveAFixtureEach(t *testing.T) {
	for n := 1; n <= len(migrations); n++ {
		path := fmt.Sprintf("testdata/v%d/%s", n, dbName)
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Error(err)
			continue
		}
		err = db.View(func(tx *bbolt.Tx) error {
			if have, err := schemaOf(tx); err != nil || have != n {
				t.Errorf("%s has schema %d, %v", path, have, err)
			}
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// writeFixture makes a directory as it is when the process dies with the last
// message not yet in the view.
func writeFixture(t *testing.T, to string) {
	t.Helper()
	dir := t.TempDir()
	opts := smallOptions()
	opts.Journal.SegmentSize, opts.CheckpointEvery, opts.blockSize = 32<<10, time.Hour, 2
	s := openT(t, dir, opts)
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "one", DeliveryType: store.Live, Created: moment}}}
	for _, stream := range store.DefaultStreams(1, store.ModeLive, moment) {
		changes = append(changes, store.Change{Stream: &stream})
	}
	changes = append(changes, store.Change{SMTPToken: &store.SMTPToken{ID: 2, Server: 1, Stream: "outbound", AccessKey: "key", Created: moment}})
	_, err := s.Change(t.Context(), 0, changes...)
	accept := func(id store.ID) {
		m, ds := sampleMessage(id, "example.org")
		m.Accepted, ds[0].Due, ds[0].Expires = moment, moment, moment.Add(time.Hour)
		d, begin := s.Begin(t.Context())
		if begin != nil {
			t.Fatal(begin)
		}
		if _, write := d.Write(make([]byte, 700)); write != nil {
			t.Fatal(write)
		}
		if commit := d.Commit(t.Context(), m, ds); commit != nil {
			t.Fatal(commit)
		}
	}
	for _, id := range []store.ID{v1Queued, v1Held, v1Sent} {
		accept(id)
	}
	c, err2 := s.Claim(t.Context(), store.DeliveryID{Message: v1Queued}, 0, moment, moment.Add(time.Minute))
	c.Delivery.Due = moment.Add(time.Minute)
	err3 := s.Resolve(t.Context(), store.Resolution{Delivery: c.Delivery, Events: []store.Event{{At: moment, Kind: store.EventDeferred, Attempt: 1}}})
	_, err4 := s.Amend(t.Context(), store.Hold, "ada", moment, v1Held)
	deliverT(t, s, v1Sent)
	err5 := errors.Join(s.checkpoint(), s.seal(), s.Intervened(t.Context(), store.Intervention{At: moment, By: "ada", What: "hold", Count: 1}), s.SetNote(t.Context(), "sites", []byte("[]")))
	accept(v1Tail)
	for _, err := range []error{err, err2, err3, err4, err5, os.RemoveAll(to)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	copyDir(t, dir, to)
	trim(t, filepath.Join(to, dbName))
}

// trim cuts off the pages of a bbolt file that were never used.
func trim(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pageWalk{file: f}
	if err := w.meta(); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(w.high) * int64(w.pageSize)); err != nil {
		t.Fatal(err)
	}
}
