package webhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/testdns"
)

// TestPost_NamesOfInternalAddresses: a name is judged by the addresses that it
// has when the connection is made, whatever they were before.
func TestPost_NamesOfInternalAddresses(t *testing.T) {
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the canary was reached") }))
	defer canary.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(canary.URL, "http://"), ":")
	dns := testdns.New(t, `
v4.hooks.example.      IN A     127.0.0.1
mapped.hooks.example.  IN AAAA  ::ffff:127.0.0.1
nat64.hooks.example.   IN AAAA  64:ff9b::7f00:1
six.hooks.example.     IN AAAA  ::1
several.hooks.example. IN A     10.0.0.1
several.hooks.example. IN A     169.254.169.254
alias.hooks.example.   IN CNAME v4.hooks.example.
`)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dns.Addr())
	}}
	p := testPoster(t, Options{Resolver: resolver})
	for _, name := range []string{"v4", "mapped", "nat64", "six", "several", "alias"} {
		url := "http://" + name + ".hooks.example:" + port + "/"
		if _, err := p.guard.CheckURL(url); err != nil {
			t.Errorf("CheckURL(%q) = %v: the name alone says nothing", url, err)
		}
		if a := p.post(t.Context(), letterTo(url)); !errors.Is(a.err, ErrInternal) || !final(a) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
