package relay_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/relay/dane"
)

// TestDomainBook is what deliveries teach of domains, and for how long.
func TestDomainBook(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	dns := testdns.New(t, "null.test. 300 MX 0 .\nlong.test. 99999 MX 0 .\nzero.test. 0 MX 0 .\nempty.test. 300 TXT x\ngood.test. MX 1 mx.test.\nmx.test. A 127.0.0.1\n"+
		"alias.test. 10 CNAME null.test.\nunresolved.test. MX 1 nowhere.test.\n")
	dns.Fail("broken.test", testdns.ServFail)
	resolver, err := dane.New(dane.Options{Servers: []string{dns.Addr()}, Timeout: time.Second, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	book := relay.NewDomainBook(clock)
	w := newWorld()
	w.at["127.0.0.1:25"] = mx.Addr()
	o := w.options()
	o.DANE, o.Domains = resolver, book
	tr := transport(t, o)
	for _, c := range []struct {
		domain        string
		missing, null bool
		holds         time.Duration
	}{
		{"null.test", false, true, 300 * time.Second},
		{"alias.test", false, true, 10 * time.Second},
		{"long.test", false, true, time.Hour},
		{"zero.test", false, false, 0},
		{"none.test", true, false, 60 * time.Second}, // of the SOA record
		{"empty.test", true, false, 60 * time.Second},
		{"broken.test", false, false, 0},
		{"unresolved.test", false, false, 0},
		{"good.test", false, false, 0},
	} {
		t.Run(c.domain, func(t *testing.T) {
			tr.Send(t.Context(), job("b@"+c.domain))
			check := func(when string, missing, null bool) {
				t.Helper()
				if m, n := book.Refusing(c.domain); m != missing || n != null {
					t.Errorf("%s: missing %v, null MX %v", when, m, n)
				}
			}
			check("at once", c.missing, c.null)
			mu.Lock()
			now = now.Add(c.holds - time.Second)
			mu.Unlock()
			check("just before its time is over", c.missing, c.null)
			mu.Lock()
			now = now.Add(time.Second)
			mu.Unlock()
			check("after its time", false, false)
		})
	}
	t.Run("taken back", func(t *testing.T) {
		tr.Send(t.Context(), job("b@null.test"))
		dns.Remove("null.test")
		dns.Add("null.test. MX 1 mx.test.")
		tr.Send(t.Context(), job("b@null.test"))
		if _, null := book.Refusing("null.test"); null {
			t.Error("what DNS says now does not count")
		}
	})
}

// TestDomainBook_PlainResolver tells no times: what it says is believed for five minutes.
func TestDomainBook_PlainResolver(t *testing.T) {
	w := newWorld()
	w.mail("null.test", 0, "")
	now := time.Now()
	book := relay.NewDomainBook(func() time.Time { return now })
	o := w.options()
	o.Domains = book
	tr := transport(t, o)
	tr.Send(t.Context(), job("b@null.test"))
	tr.Send(t.Context(), job("b@none.test"))
	for _, after := range []time.Duration{0, 5 * time.Minute} {
		now = now.Add(after)
		_, null := book.Refusing("null.test")
		missing, _ := book.Refusing("none.test")
		if want := after == 0; null != want || missing != want {
			t.Errorf("after %v: null MX %v, missing %v", after, null, missing)
		}
	}
}

// TestDomainBook_IsBounded fills it with more than it keeps.
func TestDomainBook_IsBounded(t *testing.T) {
	w := newWorld()
	book := relay.NewDomainBook(nil)
	o := w.options()
	o.Domains = book
	tr := transport(t, o)
	var to []string
	for i := range 10_100 {
		to = append(to, fmt.Sprintf("b@d%d.test", i))
	}
	tr.Send(t.Context(), job(to...))
	known := 0
	for i := range to {
		if missing, _ := book.Refusing(fmt.Sprintf("d%d.test", i)); missing {
			known++
		}
	}
	if known != 10_000 {
		t.Errorf("%d domains are remembered, want 10,000", known)
	}
}
