package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// world is a small internet on loopback: a resolver without DNS, and a dialler that leads made-up addresses to servers.
type world struct {
	mu    sync.Mutex
	mx    map[string][]relay.MX
	hosts map[string][]netip.Addr
	fail  map[string]error // by name
	at    map[string]string
	dials []string
	notes []string
}

func newWorld() *world {
	return &world{mx: map[string][]relay.MX{}, hosts: map[string][]netip.Addr{}, fail: map[string]error{}, at: map[string]string{}}
}

// host gives a name the address 127.0.0.n and puts a server there; nil means that nobody listens.
func (w *world) host(name string, n int, mx *testmx.Server) {
	addr := netip.AddrFrom4([4]byte{127, 0, 0, byte(n)})
	w.hosts[name] = append(w.hosts[name], addr)
	if mx != nil {
		w.at[addr.String()+":25"] = mx.Addr()
	}
}

// mail makes a host the exchanger of a domain.
func (w *world) mail(domain string, preference uint16, host string) {
	w.mx[domain] = append(w.mx[domain], relay.MX{Host: host + ".", Preference: preference})
}

func (w *world) LookupMX(_ context.Context, domain string) ([]relay.MX, error) {
	if err := w.fail["mx "+domain]; err != nil {
		return nil, err
	}
	if records := w.mx[domain]; len(records) > 0 {
		return records, nil
	}
	return nil, relay.ErrNoRecords
}

func (w *world) LookupIP(_ context.Context, host string) ([]netip.Addr, error) {
	if err := w.fail["ip "+host]; err != nil {
		return nil, err
	}
	if addrs := w.hosts[host]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, relay.ErrNoRecords
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, address)
	w.mu.Unlock()
	real, ok := w.at[address]
	if !ok {
		return nil, errors.New("connection refused")
	}
	return (&net.Dialer{}).DialContext(ctx, network, real)
}

func (w *world) dialled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.dials...)
}

// quick is for phases that are meant to time out; everything else is far above.
const quick = 150 * time.Millisecond

func (w *world) options() relay.Options {
	return relay.Options{
		Hostname: "relay.test", Resolver: w, Dial: w.dial, AllowPrivate: true,
		Timeouts: relay.Timeouts{Connect: 5 * time.Second, Banner: 5 * time.Second, Hello: 5 * time.Second, TLS: 5 * time.Second, Mail: 5 * time.Second,
			Rcpt: 5 * time.Second, Data: 5 * time.Second, Block: 5 * time.Second, Dot: 5 * time.Second, DNS: 5 * time.Second},
		Rand: func() float64 { return 0.5 },
	}
}

// single is a world in which example.test has one exchanger.
func single(t *testing.T, script testmx.Script) (*world, *testmx.Server) {
	t.Helper()
	mx := testmx.New(t, script)
	w := newWorld()
	w.mail("example.test", 10, "mx1.example.test")
	w.host("mx1.example.test", 1, mx)
	return w, mx
}

func transport(t testing.TB, o relay.Options) relay.Transport {
	t.Helper()
	tr := relay.NewTransport(o)
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("closing the transport: %v", err)
		}
	})
	return tr
}

const body = "From: a@sender.test\r\nTo: b@example.test\r\nSubject: x\r\n\r\nHello\r\n.dot\r\n..\r\n"

func job(recipients ...string) relay.Job {
	if len(recipients) == 0 {
		recipients = []string{"b@example.test"}
	}
	j := relay.Job{Message: store.Message{ID: store.NewID(), From: "a@sender.test", Size: int64(len(body))}, Open: open(body)}
	for _, r := range recipients {
		j.Recipients = append(j.Recipients, relay.Rcpt{Address: r})
	}
	return j
}

func open(s string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

// fate is a Result in short: verdict, code and phase.
func fate(r relay.Result) string {
	return fmt.Sprintf("%v %d %s", r.Verdict(), r.Reply.Code, r.Reply.Command)
}

func fates(rs []relay.Result) string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = fate(r)
	}
	return strings.Join(out, ", ")
}

// note writes down what a test's own dialler was asked for.
func (w *world) note(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, address)
}

func (w *world) noted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.notes...)
}
