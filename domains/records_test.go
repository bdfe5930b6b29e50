package domains_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mailchute/mailchute/domains"
)

// A name server must read back what is to be pasted.
func TestRecords_AreAZoneFile(t *testing.T) {
	w := newWorld(t)
	d := w.live("shop.example.com")
	d, err := w.keeper.Rotate(t.Context(), d.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	d.Keys[0].Retired = w.now
	records := domains.Records(d, domains.RecordOptions{Hostname: "mail.example.net", ReturnPath: "bounce.example.net"})
	needed := 0
	for _, r := range records {
		rr, err := dns.NewRR(r.Zone())
		if err != nil {
			t.Errorf("%s: %v", r.Zone(), err)
			continue
		}
		if name := strings.TrimSuffix(rr.Header().Name, "."); name != r.Name || dns.TypeToString[rr.Header().Rrtype] != r.Type {
			t.Errorf("%s: read as %s", r.Zone(), rr)
		}
		switch rr := rr.(type) {
		case *dns.TXT:
			if got := strings.Join(rr.Txt, ""); got != r.Value {
				t.Errorf("%s: value %q, want %q", r.Name, got, r.Value)
			}
		case *dns.MX:
			if r.Name != "bounce.example.net" || rr.Mx != "mail.example.net." || rr.Preference != 10 {
				t.Errorf("return path %s", rr)
			}
		}
		if r.Needed {
			needed++
		} else if r.Advice == "" {
			t.Errorf("%s: no advice", r.Name)
		}
	}
	if needed != 3 || len(records) != 6 {
		t.Errorf("%d needed of %d, want those of the three keys that are not retired, and three of advice", needed, len(records))
	}
	if n := len(domains.Records(d, domains.RecordOptions{Hostname: "mail.example.net"})); n != 5 {
		t.Errorf("without a host for bounces: %d records, want 5", n)
	}
}
