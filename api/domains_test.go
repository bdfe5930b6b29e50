package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/store"
)

// zone is a DNS of TXT and MX records.
type zone struct {
	mu      sync.Mutex // guards records
	records map[string][]string
}

func (z *zone) publish(name string, values ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = map[string][]string{}
	}
	z.records[name] = values
}

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if r, ok := z.records[name]; ok {
		return r, nil
	}
	return nil, fmt.Errorf("%s: %w", name, domains.ErrNoDomain)
}

func (z *zone) LookupMX(ctx context.Context, name string) ([]string, error) {
	return z.LookupTXT(ctx, "mx:"+name)
}

func TestDomains_FromNewToRotated(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := wantOK(t, r.asAccount("POST", "/domains/", `{"name":" Example.COM. "}`))
	one := "/domains/" + a.text("ID")
	for key, want := range map[string]string{
		"Name": "example.com", "DKIMVerified": "false", "WeakDKIM": "false", "SPFVerified": "true", "DKIMHost": "", "DKIMTextValue": "", "DKIMUpdateStatus": "Pending",
		"DKIMRevokedHost": "", "DKIMRevokedTextValue": "", "SafeToRemoveRevokedKeyFromDNS": "false", "ReturnPathDomain": "", "ReturnPathDomainVerified": "false",
		"ReturnPathDomainCNAMEValue": "bounces.relay.example", "CustomTrackingVerified": "false", "CustomTrackingDomain": "", "CustomTrackingDomainCNAMEValue": "",
	} {
		if a.text(key) != want {
			t.Errorf("%s of a new domain is %q, want %q", key, a.text(key), want)
		}
	}
	host, record := a.text("DKIMPendingHost"), a.text("DKIMPendingTextValue")
	if !strings.HasSuffix(host, "._domainkey.example.com") || !strings.Contains(record, "k=rsa") {
		t.Errorf("pending key %s %s", host, record)
	}
	wantError(t, r.asAccount("POST", one+"/rotatedkim", ""), 422, 505, "This DKIM is already being renewed.")
	if a = wantOK(t, r.asAccount("PUT", one+"/verifyDkim", "null")); a.text("DKIMVerified") != "false" {
		t.Errorf("verified without a record: %s", a.raw)
	}
	for _, rec := range a.list("DNSRecords") {
		if rec["Name"] == host && (rec["Status"] != "nxdomain" || rec["Problem"] == "" || rec["Needed"] != true) {
			t.Errorf("record %v, want what DNS says of it", rec)
		}
		if rec["Purpose"] == "dkim" {
			r.zone.publish(fmt.Sprint(rec["Name"]), fmt.Sprint(rec["Value"]))
		}
	}
	a = wantOK(t, r.asAccount("PUT", one+"/verifydkim/", "{}"))
	if a.text("DKIMVerified") != "true" || a.text("DKIMHost") != host || a.text("DKIMTextValue") != record || a.text("DKIMPendingHost") != "" || a.text("DKIMUpdateStatus") != "Verified" {
		t.Errorf("verified: %s", a.raw)
	}
	a = wantOK(t, r.asAccount("POST", one+"/rotatedkim", ""))
	if a.text("DKIMPendingHost") == host || a.text("DKIMPendingHost") == "" || a.text("DKIMHost") != host {
		t.Errorf("rotated: %s", a.raw)
	}
	r.zone.publish(a.text("DKIMPendingHost"), a.text("DKIMPendingTextValue"))
	a = wantOK(t, r.asAccount("PUT", one+"/verifydkim", ""))
	if a.text("DKIMRevokedHost") != host || a.text("DKIMRevokedTextValue") != record || a.text("DKIMHost") == host || a.text("SafeToRemoveRevokedKeyFromDNS") != "false" {
		t.Errorf("after the rotation: %s", a.raw)
	}
	for _, what := range []string{"POST /verifyspf", "PUT /verifycustomtracking"} {
		method, path, _ := strings.Cut(what, " ")
		if a := wantOK(t, r.asAccount(method, one+path, "")); a.text("SPFVerified") != "true" || a.text("Name") != "example.com" {
			t.Errorf("%s: %s", what, a.raw)
		}
	}
	wantOK(t, r.asAccount("GET", one, ""))
	if l := wantOK(t, r.asAccount("GET", "/domains?count=10&offset=0", "")); l.text("TotalCount") != "1" || l.list("Domains")[0]["DKIMVerified"] != true {
		t.Errorf("list %s", l.raw)
	}
	if d := wantOK(t, r.asAccount("DELETE", one, "")); d.text("Message") != "Domain example.com removed." {
		t.Errorf("removed %s", d.raw)
	}
	wantError(t, r.asAccount("GET", one, ""), 422, 510)
}

func TestDomains_ReturnPath(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := wantOK(t, r.asAccount("POST", "/domains", `{"Name":"example.com","returnPathDomain":"PM-bounces.example.com"}`))
	one := "/domains/" + a.text("ID")
	if a.text("ReturnPathDomain") != "pm-bounces.example.com" || a.text("ReturnPathDomainVerified") != "false" {
		t.Errorf("created %s", a.raw)
	}
	if a = wantOK(t, r.asAccount("PUT", one+"/verifyReturnPath", "")); a.text("ReturnPathDomainVerified") != "false" {
		t.Errorf("verified without a record: %s", a.raw)
	}
	for _, name := range []string{"bounces.relay.example", "pm-bounces.example.com"} {
		r.zone.publish("mx:"+name, "relay.example")
		r.zone.publish(name, "v=spf1 a:relay.example -all")
	}
	if a = wantOK(t, r.asAccount("PUT", one+"/verifyReturnPath", "")); a.text("ReturnPathDomainVerified") != "true" {
		t.Errorf("not verified: %s", a.raw)
	}
	if a = wantOK(t, r.asAccount("PUT", one, `{"ReturnPathDomain":"other.example.com"}`)); a.text("ReturnPathDomain") != "other.example.com" || a.text("ReturnPathDomainVerified") != "false" {
		t.Errorf("changed: %s", a.raw)
	}
	if a = wantOK(t, r.asAccount("PUT", one, `{"ReturnPathDomain":""}`)); a.text("ReturnPathDomain") != "" {
		t.Errorf("taken away: %s", a.raw)
	}
	wantOK(t, r.asAccount("PUT", one, `{"CustomTrackingDomain":""}`))
	r.asAccount("POST", "/domains", `{"Name":"below.example.com","ReturnPathDomain":"b.below.example.com"}`)
	wantError(t, r.asAccount("PUT", one, `{"ReturnPathDomain":"b.below.example.com"}`), 422, 511)
}

func TestDomains_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	one := "/domains/" + wantOK(t, r.asAccount("POST", "/domains", `{"Name":"example.com"}`)).text("ID")
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/domains", "", 500}, {"GET", "/domains?count=-1&offset=0", "", 500}, {"GET", "/domains?count=1&offset=10000", "", 500},
		{"POST", "/domains", "", 514}, {"POST", "/domains", `{"Name":"` + strings.Repeat("x", 256) + `"}`, 515}, {"POST", "/domains", `{"Name":"a b"}`, 516},
		{"POST", "/domains", `{"Name":"localhost"}`, 516}, {"POST", "/domains", `{"Name":"[192.0.2.1]"}`, 516}, {"POST", "/domains", `{"Name":"a@b.example"}`, 516},
		{"POST", "/domains", `{"Name":"Gmail.com"}`, 503}, {"POST", "/domains", `{"Name":"EXAMPLE.com"}`, 512},
		{"POST", "/domains", `{"Name":"b.example","ReturnPathDomain":"pm.other.example"}`, 511}, {"POST", "/domains", `{"Name":"b.example","CustomTrackingDomain":"t.b.example"}`, 615},
		{"PUT", one, "", 502}, {"PUT", one, `{"Name":"x.example"}`, 502}, {"PUT", one, `{"ReturnPathDomain":"example.com"}`, 511}, {"PUT", one, `{"ReturnPathDomain":"a b"}`, 511},
		{"PUT", one, `{"CustomTrackingDomain":"t.example.com"}`, 615}, {"PUT", one, `{"ReturnPathDomain":1}`, 403},
		{"GET", "/domains/99", "", 510}, {"GET", "/domains/x", "", 510}, {"PUT", "/domains/99", "{}", 510}, {"DELETE", "/domains/99", "", 510},
		{"PUT", "/domains/99/verifydkim", "", 510}, {"PUT", "/domains/99/verifyreturnpath", "", 510}, {"POST", "/domains/99/rotatedkim", "", 510},
		{"POST", "/domains/99/verifyspf", "", 510}, {"PUT", "/domains/99/verifycustomtracking", "", 510},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) { wantError(t, r.asAccount(tt.method, tt.path, tt.body), 422, tt.code) })
	}
	for _, path := range []string{"/domains?count=1&offset=0", one, "/senders?count=1&offset=0", "/senders/1"} {
		wantError(t, r.as("GET", path, ""), 401, 10, "Account token")
	}
}

// confirmer notes who was asked.
type confirmer struct {
	mu    sync.Mutex // guards asked
	asked []store.Signature
	err   error
}

func (c *confirmer) Ask(_ context.Context, g store.Signature) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, g)
	return c.err
}

func (r *rig) confirm(email string) {
	r.t.Helper()
	for _, g := range r.store.Snapshot().Signatures {
		if g.Email == email {
			g.Verified = time.Now()
			r.change(store.Change{Signature: &g})
		}
	}
}
