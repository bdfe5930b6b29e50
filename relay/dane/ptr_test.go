package dane

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/mailchute/mailchute/internal/testdns"
)

func TestLookupPTR(t *testing.T) {
	server := testdns.New(t, `
25.113.0.203.in-addr.arpa. PTR mail.example.com.
25.113.0.203.in-addr.arpa. PTR Other.example.com.
26.113.0.203.in-addr.arpa. CNAME 26.sub.example.net.
26.sub.example.net. PTR delegated.example.com.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.example.com.
`)
	server.Fail("28.113.0.203.in-addr.arpa.", testdns.ServFail)
	r, err := New(Options{Servers: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string][]string{
		"203.0.113.25":        {"mail.example.com", "other.example.com"},
		"::ffff:203.0.113.25": {"mail.example.com", "other.example.com"},
		"203.0.113.26":        {"delegated.example.com"}, // RFC 2317
		"2001:db8::1":         {"six.example.com"},
	} {
		got, err := r.LookupPTR(t.Context(), netip.MustParseAddr(addr))
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", addr, got, err, want)
		}
	}
	if _, err := r.LookupPTR(t.Context(), netip.MustParseAddr("203.0.113.27")); !errors.Is(err, ErrNoDomain) {
		t.Errorf("an address without a name: %v", err)
	}
	if _, err := r.LookupPTR(t.Context(), netip.MustParseAddr("203.0.113.28")); err == nil || IsAbsence(err) {
		t.Errorf("a server that fails: %v", err)
	}
}
