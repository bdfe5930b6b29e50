package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay/dane"
)

// TestAliases is RFC 5321 5.1 with CNAME records: an alias stands for its target, in the place of a domain and, although RFC
// 2181 10.3 forbids that, of a mail host. A loop, or a chain without a sensible end, is a fault that its owner will mend: it
// says nothing about the address.
func TestAliases(t *testing.T) {
	chain := func(n int, target string) string {
		var b strings.Builder
		for i := range n - 1 {
			fmt.Fprintf(&b, "c%d.test. CNAME c%d.test.\n", i, i+1)
		}
		fmt.Fprintf(&b, "c%d.test. CNAME %s\n", n-1, target)
		return b.String()
	}
	const real = "real.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\nnull.test. MX 0 .\n"
	for _, steps := range []bool{false, true} { // whether the resolver leaves following to us
		for _, c := range []struct {
			name, zone, to, want string
			asked                int // questions at most
		}{
			{"the domain", "alias.test. CNAME real.test.\n", "alias.test", "delivered 250 dot ", 9},
			{"the mail host", "example.test. MX 10 alias.test.\nalias.test. CNAME mx.test.\n", "example.test", "delivered 250 dot ", 9},
			{"a domain without MX", "alias.test. CNAME mx.test.\n", "alias.test", "delivered 250 dot ", 9},
			{"a chain of seven", chain(7, "real.test."), "c0.test", "delivered 250 dot ", 40},
			{"a chain of twelve", chain(12, "real.test."), "c0.test", "temporary 0 dns 4.4.3", 40},
			{"a domain that is its own alias", "c0.test. CNAME c0.test.\n", "c0.test", "temporary 0 dns 4.4.3", 20},
			{"two that are each other's", chain(2, "c0.test."), "c0.test", "temporary 0 dns 4.4.3", 20},
			{"a mail host that loops", "example.test. MX 10 c0.test.\n" + chain(3, "c0.test."), "example.test", "temporary 0 dns 4.4.3", 40},
			{"a mail host that loops, and another", "example.test. MX 10 c0.test.\nexample.test. MX 20 mx.test.\n" + chain(3, "c0.test."), "example.test", "delivered 250 dot ", 40},
			{"of nothing", "alias.test. CNAME nowhere.test.\n", "alias.test", "permanent 550 dns 5.1.2", 9},
			{"of a null MX", "alias.test. CNAME null.test.\n", "alias.test", "permanent 556 dns 5.1.10", 9},
			{"a mail host of nothing", "example.test. MX 10 alias.test.\nalias.test. CNAME nowhere.test.\n", "example.test", "temporary 0 dns 4.4.4", 9},
		} {
			t.Run(fmt.Sprintf("%s, in steps %v", c.name, steps), func(t *testing.T) {
				mx := testmx.New(t, testmx.Script{})
				dns := testdns.New(t, real+c.zone)
				if steps {
					for l := range strings.Lines(c.zone) {
						if name, _, ok := strings.Cut(l, ". CNAME "); ok {
							dns.Fail(name, testdns.Partial)
						}
					}
				}
				resolver, err := dane.New(dane.Options{Servers: []string{dns.Addr()}, Trusted: true, Timeout: 2 * time.Second, Rounds: 1})
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld()
				w.at["127.0.0.1:25"] = mx.Addr()
				o := w.options()
				o.DANE = resolver
				got := transport(t, o).Send(t.Context(), job("b@"+c.to))[0]
				text := fate(got) + " "
				if got.Reply.Host == "" {
					text = fate(got) + enhanced(got.Reply.Enhanced)
				}
				if text != c.want {
					t.Errorf("%s, want %s: %+v", text, c.want, got.Reply)
				}
				if n := len(dns.Queries()); n > c.asked {
					t.Errorf("%d questions, want at most %d", n, c.asked)
				}
			})
		}
	}
}
