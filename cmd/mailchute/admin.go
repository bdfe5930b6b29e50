package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// admin is what an administrative command works with. It is the same in the
// server and on the files; only out, json and the caller's directory change from
// command to command.
type admin struct {
	store      *local.Store
	keyring    *auth.Keyring
	cfg        Config
	now        func() time.Time
	by         string                                       // who is named in events
	waiting    func(store.DeliveryID) (relay.Waiting, bool) // asks the running dispatcher; nil on the files
	revive     func()                                       // likewise
	sites      func() []relay.SiteStatus                    // likewise
	tlsReports func() []tlsrpt.Report                       // likewise, and where none are made
	clock      func() error                                 // likewise: how it has jumped
	routes     func(store.StreamKey) []relay.RouteStatus    // likewise
	sitesOf    func(store.StreamKey, string) []string       // likewise: the keys of a destination's sites

	out  io.Writer
	json bool
	abs  func(path string) string // from the caller's directory
}

func newAdmin(f *files, cfg Config) *admin {
	return &admin{store: f.store, keyring: f.keyring, cfg: cfg, now: time.Now, by: operatorName(os.Getuid())}
}

// on returns a copy for one run of the command line.
func (a *admin) on(run *app) *admin {
	c := *a
	c.out, c.json, c.abs = run.out, run.json, run.abs
	if run.by != "" {
		c.by = run.by
	}
	return &c
}

// print writes v as JSON where that was asked for, and else what text writes.
func (a *admin) print(v any, text func() error) error {
	if a.json {
		return writeJSON(a.out, v)
	}
	return text()
}

func (a *admin) say(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// serverOf finds a server by name or number. With an empty ref it is the only
// one.
func serverOf(s *store.Snapshot, ref string) (store.Server, error) {
	if ref == "" {
		if len(s.Servers) == 1 {
			for _, v := range s.Servers {
				return v, nil
			}
		}
		return store.Server{}, usage("there are %d servers: name one with --server (see \"mailchute server list\")", len(s.Servers))
	}
	if v, ok := s.ServerByName(ref); ok {
		return v, nil
	}
	if id, err := strconv.ParseInt(ref, 10, 64); err == nil {
		if v, ok := s.Servers[id]; ok {
			return v, nil
		}
	}
	return store.Server{}, fmt.Errorf("server %q: %w; \"mailchute server list\" shows them", ref, store.ErrNotFound)
}

func streamOf(s *store.Snapshot, serverRef, id string) (store.Server, store.Stream, error) {
	server, err := serverOf(s, serverRef)
	if err != nil {
		return store.Server{}, store.Stream{}, err
	}
	stream, ok := s.Streams[store.StreamKey{Server: server.ID, Stream: id}]
	if !ok {
		return server, stream, fmt.Errorf("stream %q of server %q: %w; \"mailchute stream list\" shows them", id, server.Name, store.ErrNotFound)
	}
	return server, stream, nil
}

// misnamed is an error where a filter has found nothing and no stream has the ID that --stream says. What a deleted stream
// has left behind is found by its ID all the same. Server 0 is any.
func (a *admin) misnamed(found int, server int64, id string) error {
	if found > 0 || id == "" {
		return nil
	}
	for key := range a.store.Snapshot().Streams {
		if key.Stream == id && (server == 0 || key.Server == server) {
			return nil
		}
	}
	return fmt.Errorf("--stream: stream %q: %w; \"mailchute stream list\" shows them", id, store.ErrNotFound)
}

// byRef finds a record by number or by name. A name that several share is
// refused.
func byRef[V any](m map[int64]V, kind, ref string, name func(V) string) (V, error) {
	var found V
	if id, err := strconv.ParseInt(ref, 10, 64); err == nil {
		if v, ok := m[id]; ok {
			return v, nil
		}
	}
	n := 0
	for _, v := range m {
		if name(v) == ref {
			found = v
			n++
		}
	}
	switch n {
	case 0:
		return found, fmt.Errorf("%s %q: %w", kind, ref, store.ErrNotFound)
	case 1:
		return found, nil
	}
	return found, usage("%d have the name %q: give the number of one %s", n, ref, kind)
}
