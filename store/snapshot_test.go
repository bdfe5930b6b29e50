package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/store"
)

var created = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// base has one of each record: server 1 with its default streams, tokens 2 to
// 5, domain 6, signature 7, user 8, and server 9 without anything.
func base(t *testing.T) *store.Snapshot {
	t.Helper()
	changes := []store.Change{
		{Account: &store.Account{Name: "Example"}},
		{Server: &store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}},
		{Server: &store.Server{ID: 9, Name: "blog", DeliveryType: store.Sandbox}},
	}
	for _, s := range store.DefaultStreams(1, store.ModeLive, created) {
		changes = append(changes, store.Change{Stream: &s})
	}
	changes = append(changes,
		store.Change{AccountToken: &store.AccountToken{ID: 2, Hash: digest(2)}},
		store.Change{ServerToken: &store.ServerToken{ID: 3, Server: 1, Hash: digest(3)}},
		store.Change{ServerToken: &store.ServerToken{ID: 4, Server: 1, Hash: digest(4)}},
		store.Change{SMTPToken: &store.SMTPToken{ID: 5, Server: 1, Stream: "outbound", AccessKey: "five"}},
		store.Change{Domain: &store.Domain{ID: 6, Name: "example.com", Verified: created}},
		store.Change{Signature: &store.Signature{ID: 7, Email: "Me@example.net"}},
		store.Change{User: &store.User{ID: 8, Email: "ada@example.com", Role: store.ServerViewer, Servers: []int64{1}}},
	)
	s, err := (&store.Snapshot{}).With(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digest(n byte) store.Digest { return store.Digest{Key: 1, Sum: [32]byte{n}} }

// The builders make one change of a record that would be good without edit.

func server(edit func(*store.Server)) store.Change {
	v := store.Server{ID: 20, Name: "new", DeliveryType: store.Live}
	edit(&v)
	return store.Change{Server: &v}
}

func stream(edit func(*store.Stream)) store.Change {
	v := store.Stream{Server: 1, ID: "news", Kind: store.Broadcast, Mode: store.ModeLive}
	edit(&v)
	return store.Change{Stream: &v}
}

func route(r store.Route) store.Change { return stream(func(s *store.Stream) { s.Route = r }) }

// sources takes addresses and names in turns.
func sources(list ...string) store.Change {
	return stream(func(s *store.Stream) {
		for i := 0; i < len(list); i += 2 {
			s.Sources = append(s.Sources, store.Source{Address: netip.MustParseAddr(list[i]), Hostname: list[i+1]})
		}
	})
}

func routes(r ...store.Route) store.Change {
	return stream(func(s *store.Stream) { s.Route, s.Alternates = r[0], r[1:] })
}

func smtpToken(edit func(*store.SMTPToken)) store.Change {
	v := store.SMTPToken{ID: 20, Server: 1, Stream: "outbound", AccessKey: "new"}
	edit(&v)
	return store.Change{SMTPToken: &v}
}

func TestWith_Rules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change store.Change
		want   error
	}{
		{"nothing", store.Change{}, store.ErrInvalid},
		{"account deleted", store.Change{Delete: true, Account: &store.Account{}}, store.ErrInvalid},

		{"user", store.Change{User: &store.User{ID: 20, Email: "x@y", Role: store.Owner}}, nil},
		{"user without email", store.Change{User: &store.User{ID: 20, Role: store.Owner}}, store.ErrInvalid},
		{"user of unknown role", store.Change{User: &store.User{ID: 20, Email: "x@y", Role: "root"}}, store.ErrInvalid},
		{"user of unknown server", store.Change{User: &store.User{ID: 20, Email: "x@y", Role: store.ServerAdmin, Servers: []int64{77}}}, store.ErrNotFound},
		{"user without number", store.Change{User: &store.User{Email: "x@y", Role: store.Owner}}, store.ErrInvalid},
		{"unknown user deleted", store.Change{Delete: true, User: &store.User{ID: 77}}, store.ErrNotFound},

		{"server", server(func(*store.Server) {}), nil},
		{"server of a negative number", server(func(v *store.Server) { v.ID = -1 }), store.ErrInvalid},
		{"server without name", server(func(v *store.Server) { v.Name = "" }), store.ErrInvalid},
		{"server with a long name", server(func(v *store.Server) { v.Name = strings.Repeat("x", 101) }), store.ErrInvalid},
		{"server without delivery type", server(func(v *store.Server) { v.DeliveryType = "" }), store.ErrInvalid},
		{"server weight too large", server(func(v *store.Server) { v.Weight = 101 }), store.ErrInvalid},
		{"server of a name taken", server(func(v *store.Server) { v.Name = "shop" }), store.ErrExists},
		{"server that keeps its name", server(func(v *store.Server) { v.ID, v.Name = 1, "shop" }), nil},

		{"stream", stream(func(*store.Stream) {}), nil},
		{"stream of an unknown server", stream(func(v *store.Stream) { v.Server = 77 }), store.ErrNotFound},
		{"stream with a bad ID", stream(func(v *store.Stream) { v.ID = "News" }), store.ErrInvalid},
		{"stream of unknown kind", stream(func(v *store.Stream) { v.Kind = "fax" }), store.ErrInvalid},
		{"stream of unknown mode", stream(func(v *store.Stream) { v.Mode = "" }), store.ErrInvalid},
		{"stream of another kind than before", stream(func(v *store.Stream) { v.ID = "outbound" }), store.ErrInvalid},
		{"inbound stream without mode", stream(func(v *store.Stream) { v.Kind, v.Mode = store.Inbound, "" }), nil},
		{"redirect without address", stream(func(v *store.Stream) { v.Mode = store.ModeRedirect }), store.ErrInvalid},
		{"redirect", stream(func(v *store.Stream) { v.Mode, v.RedirectTo = store.ModeRedirect, "a@b" }), nil},
		{"weight too large", stream(func(v *store.Stream) { v.Weight = 101 }), store.ErrInvalid},
		{"weight negative", stream(func(v *store.Stream) { v.Weight = -1 }), store.ErrInvalid},
		{"unknown stream deleted", store.Change{Delete: true, Stream: &store.Stream{Server: 1, ID: "news"}}, store.ErrNotFound},

		{"smarthost", route(store.Route{Host: "relay", Port: 587, TLS: store.TLSStartTLS, Username: "u", PasswordFile: "f"}), nil},
		{"smarthost without port", route(store.Route{Host: "relay"}), store.ErrInvalid},
		{"smarthost with port 65536", route(store.Route{Host: "relay", Port: 65536}), store.ErrInvalid},
		{"smarthost of unknown TLS", route(store.Route{Host: "relay", Port: 25, TLS: "ssl"}), store.ErrInvalid},
		{"username without password", route(store.Route{Host: "relay", Port: 25, Username: "u"}), store.ErrInvalid},
		{"password without username", route(store.Route{Host: "relay", Port: 25, PasswordFile: "f"}), store.ErrInvalid},
		{"password over opportunistic TLS", route(store.Route{Host: "relay", Port: 25, TLS: store.TLSOpportunistic, Username: "u", PasswordFile: "f"}), store.ErrInvalid},
		{"password over TLS to anybody", route(store.Route{Host: "relay", Port: 25, TLS: store.TLSRequired, Username: "u", PasswordFile: "f"}), store.ErrInvalid},
		{"verified MX", route(store.Route{TLS: store.TLSVerified}), nil},
		{"MX with TLS", route(store.Route{TLS: store.TLSRequired}), nil},
		{"sources", sources("192.0.2.1", "mail1.example.com", "2001:db8::1", ""), nil},
		{"the same source twice", sources("192.0.2.1", "", "192.0.2.1", "b"), store.ErrExists},
		{"unspecified source", sources("0.0.0.0", ""), store.ErrInvalid},
		{"source with a bad name", sources("192.0.2.1", "a b"), store.ErrInvalid},
		{"several routes", routes(store.Route{}, store.Route{Host: "a", Port: 25, Weight: 100}, store.Route{Host: "a", Port: 25, TLS: store.TLSStartTLS, Username: "u", PasswordFile: "f"}), nil},
		{"the same route twice", routes(store.Route{Host: "a", Port: 25}, store.Route{Host: "a", Port: 25, TLS: store.TLSNone}), store.ErrExists},
		{"a bad route among several", routes(store.Route{}, store.Route{Host: "a"}), store.ErrInvalid},
		{"weight of a route too large", routes(store.Route{Weight: 101}), store.ErrInvalid},
		{"too many routes", routes(make([]store.Route, store.MaxRoutes+1)...), store.ErrLimit},
		{"port without smarthost", route(store.Route{Port: 25}), store.ErrInvalid},
		{"implicit TLS without smarthost", route(store.Route{TLS: store.TLSImplicit}), store.ErrInvalid},

		{"account token", store.Change{AccountToken: &store.AccountToken{ID: 20, Hash: digest(20)}}, nil},
		{"account token of a hash taken", store.Change{AccountToken: &store.AccountToken{ID: 20, Hash: digest(2)}}, store.ErrExists},
		{"server token, the third", store.Change{ServerToken: &store.ServerToken{ID: 20, Server: 1, Hash: digest(20)}}, nil},
		{"server token of a hash taken", store.Change{ServerToken: &store.ServerToken{ID: 20, Server: 9, Hash: digest(3)}}, store.ErrExists},
		{"server token of an unknown server", store.Change{ServerToken: &store.ServerToken{ID: 20, Server: 77}}, store.ErrNotFound},

		{"SMTP token", smtpToken(func(*store.SMTPToken) {}), nil},
		{"SMTP token of a key taken", smtpToken(func(v *store.SMTPToken) { v.AccessKey = "five" }), store.ErrExists},
		{"SMTP token of an unknown stream", smtpToken(func(v *store.SMTPToken) { v.Stream = "news" }), store.ErrNotFound},
		{"SMTP token of an inbound stream", smtpToken(func(v *store.SMTPToken) { v.Stream = "inbound" }), store.ErrInvalid},

		{"domain", store.Change{Domain: &store.Domain{ID: 20, Name: "example.org"}}, nil},
		{"domain without name", store.Change{Domain: &store.Domain{ID: 20}}, store.ErrInvalid},
		{"domain of a name taken", store.Change{Domain: &store.Domain{ID: 20, Name: "example.com"}}, store.ErrExists},
		{"signature without email", store.Change{Signature: &store.Signature{ID: 20}}, store.ErrInvalid},
		{"signature of an email taken", store.Change{Signature: &store.Signature{ID: 20, Email: "Me@example.net"}}, store.ErrExists},
	} {
		t.Run(tc.name, func(t *testing.T) {
			old, untouched := base(t), base(t)
			next, err := old.With(tc.change)
			if !errors.Is(err, tc.want) {
				t.Errorf("With = %v, want %v", err, tc.want)
			}
			if d := cmp.Diff(untouched, old); d != "" {
				t.Errorf("With changed its receiver (-before +after):\n%s", d)
			}
			if (next == nil) != (tc.want != nil) {
				t.Errorf("With = %v beside error %v", next, err)
			}
			if next != nil && next.Revision != old.Revision+1 {
				t.Errorf("revision = %d, want %d", next.Revision, old.Revision+1)
			}
		})
	}
}

func TestWith_Limits(t *testing.T) {
	many := func(n int, make func(i int) store.Change) (out []store.Change) {
		for i := range n {
			out = append(out, make(i))
		}
		return out
	}
	for _, tc := range []struct {
		name string
		free int // how many fit into base
		make func(i int) store.Change
	}{
		{"API tokens of a server", store.MaxServerTokens - 2, func(i int) store.Change {
			return store.Change{ServerToken: &store.ServerToken{ID: int64(100 + i), Server: 1, Hash: digest(byte(100 + i))}}
		}},
		{"streams of a server", store.MaxStreams - 3, func(i int) store.Change {
			return stream(func(s *store.Stream) { s.ID = fmt.Sprintf("s%d", i) })
		}},
		{"SMTP tokens of a stream", store.MaxSMTPTokens - 1, func(i int) store.Change {
			return smtpToken(func(v *store.SMTPToken) { v.ID, v.AccessKey = int64(100+i), fmt.Sprint(i) })
		}},
	} {
		full, err := base(t).With(many(tc.free, tc.make)...)
		if err != nil {
			t.Fatalf("%s: filling up: %v", tc.name, err)
		}
		if _, err := full.With(tc.make(tc.free)); !errors.Is(err, store.ErrLimit) {
			t.Errorf("%s: one more = %v, want %v", tc.name, err, store.ErrLimit)
		}
		if _, err := full.With(tc.make(0)); err != nil {
			t.Errorf("%s: changing one of them = %v", tc.name, err)
		}
	}
}

func TestWith_LaterChangesSeeEarlierOnes(t *testing.T) {
	s, err := base(t).With(
		store.Change{Delete: true, ServerToken: &store.ServerToken{ID: 3}},
		store.Change{ServerToken: &store.ServerToken{ID: 20, Server: 1, Hash: digest(3)}}, // the hash is free again
		server(func(*store.Server) {}),
		stream(func(v *store.Stream) { v.Server = 20 }),
	)
	if err != nil || len(s.StreamsOf(20)) != 1 {
		t.Errorf("With = %v", err)
	}
}

func TestWith_DeletingTakesWhatBelongsToIt(t *testing.T) {
	s, err := base(t).With(store.Change{Delete: true, Stream: &store.Stream{Server: 1, ID: "outbound"}})
	if err != nil || len(s.SMTPTokens) != 0 || len(s.Streams) != 2 || len(s.ServerTokens) != 2 {
		t.Errorf("without a stream: %+v, %v", s, err)
	}
	s, err = base(t).With(store.Change{Delete: true, Server: &store.Server{ID: 1}})
	if err != nil || len(s.SMTPTokens)+len(s.Streams)+len(s.ServerTokens) != 0 || len(s.Servers) != 1 || len(s.AccountTokens) != 1 {
		t.Errorf("without a server: %+v, %v", s, err)
	}
	if got := s.NextID(1); got != 11 {
		t.Errorf("NextID(1) = %d, want 11: numbers are not given twice", got)
	}
}

func TestWith_ArchivedStreamTakesNoToken(t *testing.T) {
	s, err := base(t).With(stream(func(v *store.Stream) { v.Archived = created }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.With(smtpToken(func(v *store.SMTPToken) { v.Stream = "news" })); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("With = %v, want %v", err, store.ErrInvalid)
	}
}

func TestVerifiedSender(t *testing.T) {
	s := base(t)
	s, err := s.With(
		store.Change{Domain: &store.Domain{ID: 20, Name: "unverified.example"}},
		store.Change{Signature: &store.Signature{ID: 7, Email: "Me@example.net", Verified: created}},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		local, domain string
		want          bool
	}{
		{"anyone", "example.com", true},
		{"anyone", "sub.example.com", false},
		{"anyone", "unverified.example", false},
		{"me", "example.net", true},
		{"you", "example.net", false},
		{"", "", false},
	} {
		if got := s.VerifiedSender(tc.local, tc.domain); got != tc.want {
			t.Errorf("VerifiedSender(%q, %q) = %t, want %t", tc.local, tc.domain, got, tc.want)
		}
	}
}

func TestValidStreamID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "outbound": true, "a-1": true, "a_b": true, "a_": true, strings.Repeat("a", 30): true,
		"": false, "A": false, "1a": false, "-a": false, "a-": false, "_a": false, "ä": false, "a b": false, strings.Repeat("a", 31): false,
	} {
		if got := store.ValidStreamID(id); got != want {
			t.Errorf("ValidStreamID(%q) = %t, want %t", id, got, want)
		}
	}
}
