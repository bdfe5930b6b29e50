package relay_test

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestShortage is a process without descriptors for a moment: no host, route or site is blamed for it.
func TestShortage(t *testing.T) {
	short := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	build := func(t *testing.T) (*world, *testmx.Server, relay.Options, *bool) {
		mx := testmx.New(t, testmx.Script{TLS: testmx.NoTLS})
		w := newWorld()
		w.mail("example.test", 10, "mx1.example.test")
		w.mail("example.test", 20, "mx2.example.test")
		w.host("mx1.example.test", 1, mx)
		w.host("mx2.example.test", 2, mx)
		o, lacking := w.options(), true
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if w.note(address); lacking {
				return nil, short
			}
			return dial(ctx, network, address)
		}
		return w, mx, o, &lacking
	}
	t.Run("hosts", func(t *testing.T) {
		w, _, o, lacking := build(t)
		tr := transport(t, o)
		got := tr.Send(t.Context(), job())[0]
		if fate(got) != "temporary 0 connect" || got.Reply.Enhanced != [3]int{4, 3, 0} || !strings.Contains(got.Reply.Text, "too many open files") {
			t.Errorf("%+v", got)
		}
		*lacking = false
		if got = tr.Send(t.Context(), job())[0]; got.Verdict() != relay.Delivered {
			t.Error(fate(got))
		}
		if s := strings.Join(w.noted(), " "); s != "127.0.0.1:25 127.0.0.1:25" {
			t.Errorf("dialled %s, want the first host only, and first again", s)
		}
	})
	t.Run("look-ups", func(t *testing.T) {
		w, _, o, _ := build(t)
		w.fail["mx example.test"] = short
		if got := transport(t, o).Send(t.Context(), job())[0]; fate(got) != "temporary 0 dns" || got.Reply.Enhanced != [3]int{4, 3, 0} {
			t.Errorf("%+v", got)
		}
	})
	t.Run("routes", func(t *testing.T) {
		w, mx, o, lacking := build(t)
		tr := transport(t, o)
		j := job()
		j.Route = store.Route{Host: "first.test", Port: 587, TLS: store.TLSNone}
		j.Alternates = []store.Route{{Host: "second.test", Port: 587, TLS: store.TLSNone}}
		w.at["first.test:587"], w.at["second.test:587"] = mx.Addr(), mx.Addr()
		for range 5 {
			tr.Send(t.Context(), j)
		}
		*lacking = false
		if got := tr.Send(t.Context(), j)[0]; got.Route != "first.test:587" || strings.Contains(strings.Join(w.noted(), " "), "second") {
			t.Errorf("route %q after dialling %v", got.Route, w.noted())
		}
	})
	t.Run("site", func(t *testing.T) {
		_, _, o, _ := build(t)
		o.Policy = relay.Policy{Schedule: []time.Duration{time.Hour}}
		q := newQueue()
		disp, _ := start(t, q, newDirectory(t, store.Stream{ID: "outbound"}), o)
		id := q.submit("outbound", time.Now(), "b@example.test")
		q.until(t, "the attempt to end", func() bool { return len(q.timeline(id)) > 0 })
		for disp.Status().InFlight > 0 { // the schedule learns after the store
			time.Sleep(time.Millisecond)
		}
		for _, s := range disp.Sites() {
			if s.Dead || !s.Until.IsZero() || len(s.Changes) > 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
