package domains_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/store"
)

// mailHosts is a DNS of MX records.
type mailHosts struct {
	mu   sync.Mutex // guards what follows
	mx   map[string][]string
	fail error
}

func (m *mailHosts) LookupMX(_ context.Context, name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if hosts, ok := m.mx[name]; ok {
		return hosts, nil
	}
	return nil, fmt.Errorf("%s: %w", name, domains.ErrNoDomain)
}

func (m *mailHosts) set(name string, hosts ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mx[name] = hosts
}

// TestReturnPath_IsUsedWhileItLeadsToUs is the life of a domain's own host.
func TestReturnPath_IsUsedWhileItLeadsToUs(t *testing.T) {
	w := newWorld(t)
	mx := &mailHosts{mx: map[string][]string{"bounces.example.net": {"MX1.example.net.", "mx2.example.net"}}}
	w.keeper = domains.NewKeeper(w.dir, w.keyring, domains.Options{Resolver: w.zone, MX: mx, ReturnPath: "bounces.example.net", Now: func() time.Time { return w.now }})
	const own = "back.example.com"
	d := w.live("example.com")
	d, err := w.keeper.SetReturnPath(t.Context(), d.ID, own)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		do     func()
		status string
		used   bool
	}{
		{"not published", func() {}, domains.StatusNoDomain, false},
		{"led elsewhere", func() { mx.set(own, "mx1.example.net") }, domains.StatusMismatch, false},
		{"without SPF", func() { mx.set(own, "mx2.example.net.", "mx1.example.net") }, domains.StatusNoDomain, false},
		{"an alias", func() { w.zone.set(own, "v=spf1 a:mail.example.net -all") }, domains.StatusOK, true},
		{"DNS fails", func() { mx.fail = errServFail }, domains.StatusFailed, true},
		{"it comes back", func() { mx.fail = nil }, domains.StatusOK, true},
		{"two SPF records", func() { w.zone.set(own, "v=spf1 -all", "v=spf1 a -all") }, domains.StatusSeveral, false},
		{"led elsewhere again", func() { mx.set(own, "mx.example.org") }, domains.StatusMismatch, false},
	} {
		step.do()
		w.now = w.now.Add(time.Hour)
		d = w.verify(d)
		f := d.Check.Findings[len(d.Check.Findings)-1]
		if f.Purpose != domains.PurposeReturnPath || f.Name != own || f.Status != step.status || (f.Problem == "") != (f.Status == domains.StatusOK) {
			t.Errorf("%s: found %+v, want %s", step.name, f, step.status)
		}
		want := ""
		if step.used {
			want = own
		}
		for _, author := range []string{"example.com", "news.example.com"} {
			if got := w.dir.Snapshot().ReturnHost(author); got != want {
				t.Errorf("%s: return paths of %s at %q, want %q", step.name, author, got, want)
			}
		}
		if got := w.dir.Snapshot().ReturnHost("notexample.com"); got != "" {
			t.Errorf("return paths of another domain at %q", got)
		}
		if !d.Check.OK {
			t.Errorf("%s: the keys count as wrong", step.name)
		}
	}
}

func TestReturnPath_NeedsAHostOfOurs(t *testing.T) {
	w := newWorld(t)
	d := w.live("example.com")
	d, err := w.keeper.SetReturnPath(t.Context(), d.ID, "back.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if d = w.verify(d); d.Check.Findings[len(d.Check.Findings)-1].Status != domains.StatusUnused || !d.ReturnPathVerified.IsZero() {
		t.Errorf("%+v", d.Check.Findings)
	}
}

func TestReturnPath_IsBelowTheDomain(t *testing.T) {
	w := newWorld(t)
	d, other := w.live("example.com"), w.live("sub.example.com")
	if _, err := w.keeper.SetReturnPath(t.Context(), other.ID, "b.sub.example.com"); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]error{
		"example.com": store.ErrInvalid, "example.org": store.ErrInvalid, "bexample.com": store.ErrInvalid, ".example.com": store.ErrInvalid,
		"B.example.com": store.ErrInvalid, "b.sub.example.com": store.ErrExists, "b.example.com": nil, "": nil,
	} {
		if _, err := w.keeper.SetReturnPath(t.Context(), d.ID, host); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", host, err, want)
		}
	}
}

func TestReturnPath_Records(t *testing.T) {
	d := store.Domain{Name: "example.com", ReturnPath: "back.example.com"}
	records := domains.Records(d, domains.RecordOptions{Hostname: "mail.example.net", ReturnPath: "bounces.example.net"})
	if len(records) != 2 || records[0].Zone() != "back.example.com. IN CNAME bounces.example.net." || records[0].Advice == "" {
		t.Errorf("%+v", records)
	}
}
