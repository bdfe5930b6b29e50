package domains_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

func TestAdd_KeysWaitForTheirRecords(t *testing.T) {
	w := newWorld(t)
	d := w.add("example.com")
	w.wantStates(d, "mc20261123r pending, mc20261123e pending")
	d = w.verify(d)
	w.wantStates(d, "mc20261123r pending, mc20261123e pending")
	if d.Check.OK || !d.Verified.IsZero() || len(d.SigningKeys(w.now)) > 0 {
		t.Errorf("before its records are there: %+v", d)
	}
	w.zone.publish(d)
	w.now = epoch.Add(time.Hour)
	d = w.verify(d)
	w.wantStates(d, "mc20261123r active, mc20261123e active")
	if !d.Check.OK || !d.Verified.Equal(w.now) || len(d.SigningKeys(w.now)) != 2 {
		t.Errorf("after its records are there: %+v", d)
	}
	if _, err := w.keeper.Add(t.Context(), "example.com"); !errors.Is(err, store.ErrExists) {
		t.Errorf("adding it again: %v", err)
	}
}

// Ed25519 is for those who know it, beside RSA.
func TestVerify_Ed25519NeverSignsAlone(t *testing.T) {
	w := newWorld(t)
	d := w.add("example.com")
	w.zone.set("mc20261123e._domainkey.example.com", d.Keys[1].Record)
	d = w.verify(d)
	w.wantStates(d, "mc20261123r pending, mc20261123e pending")
	if d.Verified.IsZero() {
		t.Error("who can publish a key's record controls the domain, and it is not verified")
	}
	w.zone.set("mc20261123r._domainkey.example.com", d.Keys[0].Record)
	w.zone.set("mc20261123e._domainkey.example.com")
	w.wantStates(w.verify(d), "mc20261123r active, mc20261123e pending")
}

func TestVerify_SaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	d := w.add("example.com")
	other := w.add("example.net")
	name := d.Keys[0].RecordName(d.Name)
	record := d.Keys[0].Record
	for _, tc := range []struct {
		status string
		txt    []string
		err    error
	}{
		{status: domains.StatusNoDomain, err: domains.ErrNoDomain},
		{status: domains.StatusMissing, err: domains.ErrNoRecords},
		{status: domains.StatusTimeout, err: context.DeadlineExceeded},
		{status: domains.StatusFailed, err: errServFail},
		{status: domains.StatusMalformed, txt: []string{"google-site-verification=1"}},
		{status: domains.StatusMalformed, txt: []string{record[:len(record)-9]}},
		{status: domains.StatusMismatch, txt: []string{other.Keys[0].Record}},
		{status: domains.StatusMismatch, txt: []string{d.Keys[1].Record}},
		{status: domains.StatusRevoked, txt: []string{"v=DKIM1; k=rsa; p="}},
		{status: domains.StatusRestricted, txt: []string{strings.Replace(record, "k=rsa", "k=rsa; s=tlsrpt", 1)}},
		{status: domains.StatusSeveral, txt: []string{record, other.Keys[0].Record}},
		{status: domains.StatusOK, txt: []string{record}},
		{status: domains.StatusOK, txt: []string{strings.Replace(record, "k=rsa", "k=rsa; t=y", 1)}},
	} {
		w.zone.fail[name] = tc.err
		w.zone.set(name, tc.txt...)
		d = w.verify(d)
		f := d.Check.Findings[0]
		if f.Status != tc.status || f.Name != name {
			t.Errorf("%v %q: %+v, want %s", tc.err, tc.txt, f, tc.status)
		}
		if (f.Problem == "") != (f.Status == domains.StatusOK && !strings.Contains(tc.txt[0], "t=y")) {
			t.Errorf("%s: problem %q", tc.status, f.Problem)
		}
		if active := !d.Keys[0].Active.IsZero(); active != (tc.status == domains.StatusOK) {
			t.Fatalf("after %s the key is %s", f.Status, d.Keys[0].State())
		}
	}
}

func TestVerify_LooksAtSPFAndDMARC(t *testing.T) {
	w := newWorld(t)
	d := w.live("mail.example.com")
	for _, tc := range []struct {
		name, txt string
		spf       string
		dmarc     string
	}{
		{"", "", domains.StatusNoDomain, domains.StatusNoDomain},
		{"mail.example.com", "v=spf1 -all", domains.StatusOK, domains.StatusNoDomain},
		{"mail.example.com", "v=spf10", domains.StatusMissing, domains.StatusNoDomain},
		{"_dmarc.example.com", "v=DMARC1; p=none", domains.StatusMissing, domains.StatusOK},
	} {
		if tc.name != "" {
			w.zone.set(tc.name, tc.txt)
		}
		d = w.verify(d)
		found := map[string]string{}
		for _, f := range d.Check.Findings {
			found[f.Purpose] = f.Status
		}
		if found["spf"] != tc.spf || found["dmarc"] != tc.dmarc || !d.Check.OK {
			t.Errorf("with %s %q: %v, OK %v; want spf %s, dmarc %s", tc.name, tc.txt, found, d.Check.OK, tc.spf, tc.dmarc)
		}
	}
}

// TestVerify_LooksAtTheSPFRecordThatCounts, which is the one that it prints.
func TestVerify_LooksAtTheSPFRecordThatCounts(t *testing.T) {
	w := newWorld(t)
	mx := &mailHosts{mx: map[string][]string{"bounces.example.net": {"mx.example.net"}}}
	w.keeper = domains.NewKeeper(w.dir, w.keyring, domains.Options{Resolver: w.zone, MX: mx, ReturnPath: "bounces.example.net", Now: func() time.Time { return w.now }})
	d := w.live("example.com")
	w.zone.set("bounces.example.net", "v=spf1 a:mx.example.net -all")
	seen := func() (name, status string) {
		t.Helper()
		d = w.verify(d)
		for _, f := range d.Check.Findings {
			if f.Purpose == domains.PurposeSPF {
				return f.Name, f.Status
			}
		}
		return "", ""
	}
	if name, status := seen(); name != "bounces.example.net" || status != domains.StatusOK {
		t.Errorf("SPF of %s is %s, want that of the host of return paths", name, status)
	}
	d, err := w.keeper.SetReturnPath(t.Context(), d.ID, "back.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := seen(); name != "bounces.example.net" {
		t.Errorf("SPF of %s was looked at before its host is used", name)
	}
	mx.set("back.example.com", "mx.example.net")
	w.zone.set("back.example.com", "v=spf1 a:mx.example.net -all")
	w.verify(d)
	if name, status := seen(); name != "back.example.com" || status != domains.StatusOK {
		t.Errorf("SPF of %s is %s, want that of the domain's own host", name, status)
	}
}

func TestRotate_OldPairSignsUntilTheNewIsSeen(t *testing.T) {
	w := newWorld(t)
	d := w.live("example.com")
	sent := w.now
	w.now = epoch.AddDate(0, 0, 1)
	d, err := w.keeper.Rotate(t.Context(), d.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	w.wantStates(d, "mc20261123r active, mc20261123e active, mc20261124r pending, mc20261124e pending")
	if _, err := w.keeper.Rotate(t.Context(), d.ID, false); !errors.Is(err, domains.ErrPending) {
		t.Errorf("a second rotation: %v", err)
	}
	w.zone.publish(d)
	w.now = w.now.Add(time.Hour)
	d = w.verify(d)
	w.wantStates(d, "mc20261123r replaced, mc20261123e replaced, mc20261124r active, mc20261124e active")
	for at, want := range map[time.Time]string{sent: "mc20261123r", w.now.Add(-time.Second): "mc20261123r", w.now: "mc20261124r"} {
		if got := d.SigningKeys(at); len(got) != 2 || got[0].Selector != want {
			t.Errorf("accepted %v: signed with %v, want %s first", at, got, want)
		}
	}
}

func TestRotate_Now(t *testing.T) {
	w := newWorld(t)
	d := w.add("example.com")
	d, err := w.keeper.Rotate(t.Context(), d.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	w.wantStates(d, "mc20261123r active, mc20261123e active")
	if d, err = w.keeper.Rotate(t.Context(), d.ID, true); err != nil {
		t.Fatal(err)
	}
	w.wantStates(d, "mc20261123r replaced, mc20261123e replaced, mc20261123r2 active, mc20261123e2 active")
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	d := w.add("example.com")
	key, err := dkim.GenerateRSA(2048)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	if d, err = w.keeper.Import(t.Context(), d.ID, "s1", pem, false); err != nil {
		t.Fatal(err)
	}
	w.wantStates(d, "mc20261123r pending, mc20261123e pending, s1 pending")
	w.zone.set("s1._domainkey.example.com", key.Record())
	w.wantStates(w.verify(d), "mc20261123e pending, s1 active")
	for selector, want := range map[string]error{"s1": store.ErrExists, "S 2": store.ErrInvalid, "": store.ErrInvalid, "a_b": store.ErrInvalid} {
		if _, err := w.keeper.Import(t.Context(), d.ID, selector, pem, false); !errors.Is(err, want) {
			t.Errorf("selector %q: %v, want %v", selector, err, want)
		}
	}
	_, err = w.keeper.Import(t.Context(), d.ID, "s3", []byte("no key"), false)
	if !errors.Is(err, store.ErrInvalid) || !errors.Is(err, dkim.ErrKeyFormat) {
		t.Errorf("text without a key: %v", err)
	}
	if _, err := w.keeper.Import(t.Context(), 99, "s1", pem, false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown domain: %v", err)
	}
}

// The directory keeps at most MaxDomainKeys; what is retired makes room.
func TestRotate_MakesRoom(t *testing.T) {
	for retired, want := range map[int]error{2: nil, 1: store.ErrLimit} {
		w := newWorld(t)
		d := w.live("example.com")
		for i := len(d.Keys); i < store.MaxDomainKeys; i++ {
			k := d.Keys[0]
			k.Selector = fmt.Sprintf("old%d", i)
			k.Replaced = w.now
			if i < 2+retired {
				k.Retired = w.now
			}
			d.Keys = append(d.Keys, k)
		}
		if _, err := w.dir.Change(t.Context(), w.dir.Snapshot().Revision, store.Change{Domain: &d}); err != nil {
			t.Fatal(err)
		}
		got, err := w.keeper.Rotate(t.Context(), d.ID, true)
		if !errors.Is(err, want) {
			t.Fatalf("with %d retired keys of %d: %v, want %v", retired, len(d.Keys), err, want)
		}
		if _, there := got.Key("old2"); err == nil && (there || len(got.Keys) != store.MaxDomainKeys) {
			t.Errorf("keys are %s, want the retired ones replaced", states(got))
		}
	}
}
