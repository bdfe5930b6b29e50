package main

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/relay"
)

func TestNameServer(t *testing.T) {
	dns := testdns.New(t, `
example.org.     MX 10 mx.example.org.
mx.example.org.  A  192.0.2.1
mx.example.org.  AAAA 2001:db8::1
nomail.example.  MX 0 .
broken.example.  MX 10 mx.example.org.
`)
	dns.Fail("broken.example", testdns.ServFail)
	r := nameServerAt(dns.Addr())

	mx, err := r.LookupMX(t.Context(), "example.org")
	if diff := cmp.Diff([]relay.MX{{Host: "mx.example.org.", Preference: 10}}, mx); diff != "" || err != nil {
		t.Errorf("LookupMX: %v\n%s", err, diff)
	}
	mx, err = r.LookupMX(t.Context(), "nomail.example")
	if diff := cmp.Diff([]relay.MX{{Host: ".", Preference: 0}}, mx); diff != "" || err != nil {
		t.Errorf("LookupMX of a domain without mail: %v\n%s", err, diff)
	}
	if _, err := r.LookupMX(t.Context(), "mx.example.org"); !errors.Is(err, relay.ErrNoRecords) {
		t.Errorf("LookupMX without records = %v, want ErrNoRecords", err)
	}
	if _, err := r.LookupMX(t.Context(), "broken.example"); err == nil || errors.Is(err, relay.ErrNoRecords) {
		t.Errorf("LookupMX of a broken zone = %v: that must stay temporary", err)
	} else if !strings.Contains(err.Error(), "on "+dns.Addr()+":") {
		t.Errorf("LookupMX of a broken zone = %v, want the name server that was asked", err)
	}
	for _, host := range []string{"mx.example.org", "mx.example.org."} {
		ips, err := r.LookupIP(t.Context(), host)
		if err != nil || !slices.Contains(ips, netip.MustParseAddr("192.0.2.1")) || !slices.Contains(ips, netip.MustParseAddr("2001:db8::1")) {
			t.Errorf("LookupIP(%s) = %v, %v", host, ips, err)
		}
	}
	if _, err := r.LookupIP(t.Context(), "none.example.org"); !errors.Is(err, relay.ErrNoRecords) {
		t.Errorf("LookupIP without records = %v, want ErrNoRecords", err)
	}
}
