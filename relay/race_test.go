package relay_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestRace is a host with an address of each family, and how each of them answers.
func TestRace(t *testing.T) {
	const six, four = "[2001:db8::1]:25", "127.0.0.1:25"
	silent := func(ctx context.Context, _ func() (net.Conn, error)) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	refused := func(context.Context, func() (net.Conn, error)) (net.Conn, error) {
		return nil, errors.New("connection refused")
	}
	open := func(_ context.Context, dial func() (net.Conn, error)) (net.Conn, error) { return dial() }
	late := func(ctx context.Context, dial func() (net.Conn, error)) (net.Conn, error) {
		select {
		case <-time.After(400 * time.Millisecond):
			return dial()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for _, c := range []struct {
		name      string
		six, four func(context.Context, func() (net.Conn, error)) (net.Conn, error)
		want      string
		via       string
		dials     string // of the first message
	}{
		{"IPv6 answers", open, open, "delivered 250 dot", six, six},
		{"IPv6 keeps silent", silent, open, "delivered 250 dot", four, six + " " + four},
		{"IPv6 is refused", refused, open, "delivered 250 dot", four, six + " " + four},
		{"IPv6 is slow, and IPv4 slower", late, silent, "delivered 250 dot", six, six + " " + four},
		{"IPv6 is slow, and IPv4 refused", late, refused, "delivered 250 dot", six, six + " " + four},
		{"both keep silent", silent, silent, "temporary 0 connect", "", six + " " + four + " " + four},
		{"both are refused", refused, refused, "temporary 0 connect", "", six + " " + four},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, mx := newWorld(), testmx.New(t, testmx.Script{TLS: testmx.NoTLS})
			w.mail("example.test", 10, "a.test")
			w.hosts["a.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
			w.at[six], w.at[four] = mx.Addr(), mx.Addr()
			o := w.options()
			o.Timeouts.Connect = time.Second
			dial := o.Dial
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				how := c.four
				if address == six {
					how = c.six
				}
				w.note(address)
				return how(ctx, func() (net.Conn, error) { return dial(ctx, network, address) })
			}
			tr := transport(t, o)
			began := time.Now()
			got := tr.Send(t.Context(), job())[0]
			took := time.Since(began)
			if fate(got) != c.want || strings.Join(w.noted(), " ") != c.dials {
				t.Errorf("%s after dialling %v, want %s after %s", fate(got), w.noted(), c.want, c.dials)
			}
			if got.Verdict() != relay.Delivered {
				return
			}
			if took > 950*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if !strings.HasPrefix(got.Detail, "via a.test ") {
				t.Errorf("Detail = %q", got.Detail)
			}
			again := tr.Send(t.Context(), job())[0]
			if again.Verdict() != relay.Delivered || len(w.noted()) != len(strings.Fields(c.dials)) || mx.Connections() != len(w.dialled()) {
				t.Errorf("the second message: %s, dialled %v; %d connections", fate(again), w.noted(), mx.Connections())
			}
		})
	}
}

// TestRace_Remembered: IPv6 that lost goes last for a while, so that the next session does not wait for it.
func TestRace_Remembered(t *testing.T) {
	w, mx := newWorld(), testmx.New(t, testmx.Script{TLS: testmx.NoTLS})
	w.mail("example.test", 10, "a.test")
	w.hosts["a.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	w.at["127.0.0.1:25"] = mx.Addr()
	o := w.options()
	o.Pool.Messages = 1
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		w.note(address)
		if strings.HasPrefix(address, "[") {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return dial(ctx, network, address)
	}
	tr := transport(t, o)
	for range 2 {
		if got := tr.Send(t.Context(), many(2)); tally(got)["delivered 250 dot"] != 2 {
			t.Error(tally(got))
		}
	}
	if s := strings.Join(w.noted(), " "); s != "[2001:db8::1]:25 127.0.0.1:25 127.0.0.1:25 127.0.0.1:25 127.0.0.1:25" {
		t.Errorf("dialled %s", s)
	}
}

// TestRace_NotWithASource: a stream's source address is of one family.
func TestRace_NotWithASource(t *testing.T) {
	w := newWorld()
	w.mail("example.test", 10, "a.test")
	w.hosts["a.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	o := w.options()
	o.Timeouts.Connect = 400 * time.Millisecond
	o.DialFrom = func(ctx context.Context, source netip.Addr, network, address string) (net.Conn, error) {
		w.note(address)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	j := job()
	j.Sources = []store.Source{{Address: netip.MustParseAddr("2001:db8::9")}}
	transport(t, o).Send(t.Context(), j)
	if s := strings.Join(w.noted(), " "); s != "[2001:db8::1]:25" {
		t.Errorf("dialled %s, want the address of the source's family alone", s)
	}
}
