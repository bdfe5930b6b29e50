package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// listAdmin is an administrator of a server with its default streams, of which
// broadcast ignores hard bounces.
func listAdmin(t testing.TB) *admin {
	t.Helper()
	db, err := local.Open(filepath.Join(t.TempDir(), "data"), local.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}}}
	for _, s := range store.DefaultStreams(1, store.ModeLive, now) {
		s.IgnoreBounces = s.ID == "broadcast"
		changes = append(changes, store.Change{Stream: &s})
	}
	if _, err := db.Change(context.Background(), 0, changes...); err != nil {
		t.Fatal(err)
	}
	return &admin{store: db, now: func() time.Time { return now }, by: "operator"}
}

func TestSuppressor(t *testing.T) {
	a := listAdmin(t)
	s := suppressor{directory: a.store, lists: a.store}
	for _, tc := range []struct {
		name, stream, address string
		reason                bounce.Type
		want                  store.SuppressionReason // "" is not listed
		fails                 bool
	}{
		{"hard bounce", "outbound", "Ada@Example.org", bounce.HardBounce, store.SuppressedHardBounce, false},
		{"hard bounce, ignored", "broadcast", "bob@example.org", bounce.HardBounce, "", false},
		{"complaint", "outbound", "carol@example.org", bounce.SpamComplaint, store.SuppressedSpamComplaint, false},
		{"complaint where hard bounces are ignored", "broadcast", "dan@example.org", bounce.SpamComplaint, store.SuppressedSpamComplaint, false},
		{"soft bounce", "outbound", "eve@example.org", bounce.SoftBounce, "", true},
		{"no address", "outbound", "nonsense", bounce.HardBounce, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := store.NewID()
			err := s.Suppress(t.Context(), relay.Suppression{Server: 1, Stream: tc.stream, Address: tc.address, Reason: tc.reason, Message: id, At: a.now()})
			if (err != nil) != tc.fails {
				t.Errorf("Suppress = %v", err)
			}
			got, err := a.store.Suppressed(t.Context(), 1, tc.stream, strings.ToLower(tc.address))
			if err != nil || (len(got) == 1) != (tc.want != "") {
				t.Fatalf("Suppressed = %+v, %v", got, err)
			}
			if len(got) == 1 && (got[0].Reason != tc.want || got[0].Origin != store.OriginRecipient || got[0].Message != id || !got[0].Created.Equal(a.now())) {
				t.Errorf("Suppressed = %+v", got[0])
			}
		})
	}
}

// fileOf is an import of a file with the content.
func fileOf(t testing.TB, a *admin, content string) *suppressionFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &suppressionFile{admin: a, path: path, flags: &listFlags{stream: "outbound", reason: "ManualSuppression", origin: "Admin"}}
	if err := f.prepare(); err != nil {
		t.Fatal(err)
	}
	return f
}

// lines returns address and reason of each line, or what is wrong with it.
func (f *suppressionFile) lines() (out []string, err error) {
	err = f.each(func(_ int, s store.Suppression, err error) error {
		switch {
		case err == nil:
			out = append(out, s.Address+" "+string(s.Reason)+" "+string(s.Origin))
		case errors.Is(err, store.ErrInvalid):
			out = append(out, "invalid")
		default:
			out = append(out, err.Error())
		}
		return nil
	})
	return out, err
}

func TestSuppressionFile_Forms(t *testing.T) {
	a := listAdmin(t)
	const manual = " ManualSuppression Admin"
	for _, tc := range []struct {
		name, content string
		want          []string
	}{
		{"empty", "", nil},
		{"one a line", "A@x.org\nb@x.org\n\nc@x.org", []string{"a@x.org" + manual, "b@x.org" + manual, "c@x.org" + manual}},
		{"CRLF and a byte order mark", "\ufeffa@x.org\r\nb@x.org\r\n", []string{"a@x.org" + manual, "b@x.org" + manual}},
		{"names of others", "Name,Email Address,Reason\nAda,ada@x.org,hardbounce\n", []string{"ada@x.org HardBounce Admin"}},
		{"a mark before the names", "\ufeffEmailAddress,Origin\nada@x.org,recipient\n", []string{"ada@x.org ManualSuppression Recipient"}},
		{"short lines", "EmailAddress,SuppressionReason\nada@x.org\n", []string{"ada@x.org" + manual}},
		{"quoted address", `"""a b""@x.org"`, []string{`"a b"@x.org` + manual}},
		{"bad ones", "EmailAddress,CreatedAt\nnobody,\nada@x.org,yesterday\n,\n", []string{"invalid", `CreatedAt "yesterday" is not a time such as 2026-01-31T08:00:00Z`, "invalid"}},
	} {
		got, err := fileOf(t, a, tc.content).lines()
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

// FuzzSuppressionFile: whatever a file holds, a line that is taken can be listed
// and found.
func FuzzSuppressionFile(f *testing.F) {
	a := listAdmin(f)
	for _, s := range []string{"a@x.org\nb@x.org", "EmailAddress,Stream\na@x.org,outbound", "\"a", "\ufeffemail\n\x00@x.org", "İ@x.org", "a@\xff.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		file := fileOf(t, a, content)
		_ = file.each(func(_ int, s store.Suppression, err error) error {
			if err != nil {
				return nil
			}
			if err := s.Check(); err != nil {
				t.Errorf("taken, and then: %v", err)
			}
			if key, err := mailboxKey(s.Address); err == nil && key != s.Address {
				t.Errorf("%q is listed, and %q would be looked for", s.Address, key)
			}
			return nil
		})
	})
}
