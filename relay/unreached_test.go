package relay_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
)

// TestUnreached is a domain whose working host lies behind more dead ones than one attempt dials.
func TestUnreached(t *testing.T) {
	w, mx := newWorld(), testmx.New(t, testmx.Script{})
	for i := range 7 {
		w.mail("example.test", uint16(i), fmt.Sprintf("h%d.test", i))
		w.host(fmt.Sprintf("h%d.test", i), i+1, nil)
	}
	w.at["127.0.0.7:25"] = mx.Addr()
	o := w.options()
	now := time.Now()
	o.Now = func() time.Time { return now }
	tr := transport(t, o)
	send := func(want, dials string) {
		t.Helper()
		before := len(w.dialled())
		if got := tr.Send(context.Background(), job())[0]; fate(got) != want {
			t.Errorf("Send = %s, want %s", fate(got), want)
		}
		if d := strings.Join(w.dialled()[before:], " "); d != dials {
			t.Errorf("dialled %q, want %q", d, dials)
		}
	}
	const first = "127.0.0.1:25 127.0.0.2:25 127.0.0.3:25 127.0.0.4:25 127.0.0.5:25"
	send("temporary 0 connect", first)
	now = now.Add(time.Minute)
	send("delivered 250 dot", "127.0.0.6:25 127.0.0.7:25")
	now = now.Add(time.Hour)
	send("temporary 0 connect", first)
}

// TestUnreached_AllOfThem are tried again, oldest failure first.
func TestUnreached_AllOfThem(t *testing.T) {
	w := newWorld()
	w.mail("example.test", 10, "a.test")
	for i := range 3 {
		w.host("a.test", i+1, nil)
	}
	tr := transport(t, w.options())
	for range 2 {
		tr.Send(context.Background(), job())
	}
	const want = "127.0.0.1:25 127.0.0.2:25 127.0.0.3:25 127.0.0.1:25 127.0.0.2:25 127.0.0.3:25"
	if d := strings.Join(w.dialled(), " "); d != want {
		t.Errorf("dialled %q, want %q", d, want)
	}
}

// TestNoRoute is a machine without IPv6: the addresses it cannot try do not count.
func TestNoRoute(t *testing.T) {
	w, mx := newWorld(), testmx.New(t, testmx.Script{})
	w.mail("example.test", 10, "a.test")
	for i := range 6 {
		w.hosts["a.test"] = append(w.hosts["a.test"], netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i+1)))
	}
	w.mail("example.test", 20, "c.test")
	w.host("c.test", 9, mx)
	o := w.options()
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "[") {
			return nil, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}
		}
		return dial(ctx, network, address)
	}
	if got := transport(t, o).Send(context.Background(), job())[0]; got.Verdict() != relay.Delivered {
		t.Errorf("Send = %s, want delivered over IPv4", fate(got))
	}
}

// TestLoop is mail whose hosts include ourselves (RFC 5321 5.1).
func TestLoop(t *testing.T) {
	for _, c := range []struct {
		name      string
		listeners string
		hosts     string // preference name address
		want      string
		dials     string
	}{
		{"we are the only host, by name", "192.0.2.9:25", "10 RELAY.test 192.0.2.1", "permanent 554 dns", ""},
		{"we are the only host, by address", "192.0.2.9:25", "10 a.test 192.0.2.9", "permanent 554 dns", ""},
		{"we are the only host, on any address", "0.0.0.0:25", "10 a.test 127.0.0.1", "permanent 554 dns", ""},
		{"IPv6 and any address", "[::]:25", "10 a.test ::1", "permanent 554 dns", ""},
		{"hosts before us are tried", "192.0.2.9:25", "10 a.test 192.0.2.1,20 relay.test 192.0.2.2,30 c.test 192.0.2.3", "temporary 0 connect", "192.0.2.1:25"},
		{"hosts before our address are tried", "192.0.2.9:25", "10 a.test 192.0.2.1,20 b.test 192.0.2.9,30 c.test 192.0.2.3", "temporary 0 connect", "192.0.2.1:25"},
		{"hosts as preferred as we are not", "192.0.2.9:25", "10 a.test 192.0.2.1,10 relay.test 192.0.2.2", "permanent 554 dns", ""},
		{"we take no mail at that port", "192.0.2.9:587", "10 relay.test 192.0.2.9", "temporary 0 connect", "192.0.2.9:25"},
		{"we take no mail at that address", "192.0.2.9:25", "10 a.test 127.0.0.1", "temporary 0 connect", "127.0.0.1:25"},
		{"others on any address", "0.0.0.0:25", "10 a.test 192.0.2.1", "temporary 0 connect", "192.0.2.1:25"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			for _, h := range strings.Split(c.hosts, ",") {
				var preference uint16
				var name, addr string
				if _, err := fmt.Sscan(h, &preference, &name, &addr); err != nil {
					t.Fatal(err)
				}
				w.mail("example.test", preference, name)
				name = strings.ToLower(name)
				w.hosts[name] = append(w.hosts[name], netip.MustParseAddr(addr))
			}
			o := w.options()
			o.Listeners = []netip.AddrPort{netip.MustParseAddrPort(c.listeners)}
			got := transport(t, o).Send(context.Background(), job())[0]
			if fate(got) != c.want || (got.Reply.Code == 554 && got.Reply.Enhanced != [3]int{5, 4, 6}) {
				t.Errorf("Send = %s %v, want %s", fate(got), got.Reply.Enhanced, c.want)
			}
			if d := strings.Join(w.dialled(), " "); d != c.dials {
				t.Errorf("dialled %q, want %q", d, c.dials)
			}
		})
	}
}
