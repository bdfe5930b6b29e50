package relay_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

func source(address, name string) store.Source {
	return store.Source{Address: netip.MustParseAddr(address), Hostname: name}
}

// TestSources sends from two addresses in turns, each with its name, and never over a connection of another.
func TestSources(t *testing.T) {
	routes, servers := smarthosts(t, testmx.Script{})
	tr := transport(t, routesOptions())
	for range 4 {
		j := job()
		j.Route, j.Sources = routes[0], []store.Source{source("127.0.0.2", "one.test"), source("2001:db8::1", "six.test"), source("127.0.0.3", "")}
		if got := tr.Send(context.Background(), j)[0]; got.Verdict() != relay.Delivered {
			t.Fatalf("Send = %s %s", fate(got), got.Reply.Text)
		}
	}
	j := job()
	j.Route = routes[0]
	tr.Send(context.Background(), j)
	var got []string
	for _, m := range servers[0].Messages() {
		got = append(got, m.Client.String()+" "+m.Hello)
	}
	const want = "127.0.0.2 one.test, 127.0.0.3 relay.test, 127.0.0.2 one.test, 127.0.0.3 relay.test, 127.0.0.1 relay.test"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("clients = %s, want %s", s, want)
	}
	if n := servers[0].Connections(); n != 3 {
		t.Errorf("%d connections, want one for each source", n)
	}
}

func TestSources_Family(t *testing.T) {
	for _, c := range []struct {
		name    string
		sources []store.Source
		addrs   []string
		want    string
		dials   string
	}{
		{"IPv4 only", []store.Source{source("127.0.0.2", "")}, []string{"2001:db8::1", "192.0.2.1"}, "temporary 0 connect", "192.0.2.1:25"},
		{"none that fits", []store.Source{source("127.0.0.2", "")}, []string{"2001:db8::1"}, "temporary 0 connect", ""},
		{"both", []store.Source{source("127.0.0.2", ""), source("2001:db8::9", "")}, []string{"2001:db8::1", "192.0.2.1"}, "temporary 0 connect", "[2001:db8::1]:25 192.0.2.1:25"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			for _, a := range c.addrs {
				w.hosts["example.test"] = append(w.hosts["example.test"], netip.MustParseAddr(a))
			}
			o := w.options()
			o.DialFrom = func(ctx context.Context, s netip.Addr, network, address string) (net.Conn, error) {
				if to := netip.MustParseAddrPort(address); to.Addr().Is4() != s.Is4() {
					t.Errorf("dials %s from %s", address, s)
				}
				return w.dial(ctx, network, address)
			}
			j := job()
			j.Sources = c.sources
			if got := transport(t, o).Send(context.Background(), j)[0]; fate(got) != c.want {
				t.Errorf("Send = %s, want %s", fate(got), c.want)
			}
			if d := strings.Join(w.dialled(), " "); d != c.dials {
				t.Errorf("dialled %q, want %q", d, c.dials)
			}
		})
	}
}

// TestSources_NotOurs is an address that this machine does not have.
func TestSources_NotOurs(t *testing.T) {
	routes, _ := smarthosts(t, testmx.Script{})
	j := job()
	j.Route, j.Sources = routes[0], []store.Source{source("192.0.2.1", "")}
	got := transport(t, routesOptions()).Send(context.Background(), j)[0]
	if fate(got) != "temporary 0 connect" || !strings.Contains(got.Reply.Text, "192.0.2.1") {
		t.Errorf("Send = %s %q, want the reason with the address", fate(got), got.Reply.Text)
	}
}
