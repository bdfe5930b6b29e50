package domains_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api/unsubscribe"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// chain is everything between a submission and a receiving host, with a DNS of
// its own.
type chain struct {
	*world
	store  *local.Store
	intake *intake.Intake
	mx     *testmx.Server
}

func (c *chain) LookupMX(context.Context, string) ([]relay.MX, error) {
	return []relay.MX{{Host: "mx.test.", Preference: 10}}, nil
}

func (c *chain) LookupIP(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func newChain(t *testing.T, script testmx.Script) *chain {
	t.Helper()
	c := &chain{world: &world{t: t, zone: newZone()}, mx: testmx.New(t, script)}
	var err error
	if c.store, err = local.Open(filepath.Join(t.TempDir(), "data"), local.Options{MinFree: 1}); err != nil {
		t.Fatal(err)
	}
	if c.keyring, err = auth.OpenKeyring(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}}}
	for _, s := range store.DefaultStreams(1, store.ModeLive, time.Now()) {
		changes = append(changes, store.Change{Stream: &s})
	}
	if _, err := c.store.Change(t.Context(), 0, changes...); err != nil {
		t.Fatal(err)
	}
	c.keeper = domains.NewKeeper(c.store, c.keyring, domains.Options{Resolver: c.zone})
	c.intake = intake.New(c.store, c.store, intake.Options{Hostname: "mail.example.com", UnsubscribeURL: "https://mail.example.com/u/"})
	c.deliver()
	return c
}

// deliver runs a dispatcher until the test ends.
func (c *chain) deliver() {
	disp, err := relay.New(c.store, c.store, relay.Options{
		Hostname: "mail.example.com", Resolver: c, AllowPrivate: true,
		Signer:      domains.NewSigner(c.store, c.keyring, domains.SignerOptions{}),
		Unsubscribe: unsubscribe.Links{Keys: c.keyring}.Fields,
		Policy:      relay.Policy{Schedule: []time.Duration{50 * time.Millisecond}},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, c.mx.Addr())
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- disp.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
		if err := c.store.Close(); err != nil {
			c.t.Error(err)
		}
	})
}

func (c *chain) submit(content string, to ...string) store.ID {
	c.t.Helper()
	e := intake.Envelope{
		Principal: auth.Principal{Kind: auth.KindServerToken, Token: 1, Server: 1}, From: "bounces@example.com", UTF8: true,
		Client: netip.MustParseAddr("127.0.0.1"), Hello: "app", Protocol: "ESMTPSA",
	}
	for _, r := range to {
		e.Recipients = append(e.Recipients, intake.Recipient{Address: r})
	}
	id, err := c.intake.Submit(c.t.Context(), e, strings.NewReader(content))
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// sentEvents waits until everything of a message is handed over.
func (c *chain) sentEvents(id store.ID, n int) (out []store.Event) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		r, err := c.store.Record(c.t.Context(), id)
		if err != nil {
			c.t.Fatal(err)
		}
		out = out[:0]
		for _, e := range r.Events {
			if e.Kind == store.EventSent {
				out = append(out, e)
			}
		}
		if len(out) == n {
			return out
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d of %d handed over: %+v", len(out), n, r.Events)
		}
	}
}

// The contents are those that DKIM implementations get wrong.
var contents = map[string]string{
	"plain":           "From: a@example.com\nTo: b@dest.test\nSubject: hi\n\nHello\n",
	"no body":         "From: a@example.com\nSubject: hi\n",
	"empty body":      "From: a@example.com\nSubject: hi\n\n",
	"blank lines":     "From: a@example.com\n\n\n\n\n",
	"white space":     "From: a@example.com\nSubject:   wide   open\t\n\nwords  and\t tabs \t\n \n\n",
	"folded":          "From: A <a@example.com>,\n b@example.com\nSubject: long\n\tand\n longer\n\nx\n",
	"dots":            "From: a@example.com\n\n.\n..\n.x\nend\n",
	"no final line":   "From: a@example.com\n\nno line end",
	"eight bit":       "From: a@example.com\nContent-Type: text/plain; charset=utf-8\nMIME-Version: 1.0\n\nGrüße\n",
	"utf-8 header":    "From: Jürgen <a@example.com>\nSubject: Grüße\n\nx\n",
	"subdomain":       "From: a@news.example.com\n\nx\n",
	"signed already":  "DKIM-Signature: v=1; a=rsa-sha256; d=other.test; s=x; h=from; bh=x; b=x\nFrom: a@example.com\n\nx\n",
	"large":           "From: a@example.com\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 9000),
	"control headers": "X-PM-Tag: t\nBcc: c@dest.test\nFrom: a@example.com\nX-PM-Metadata-a: b\n\nx\n",
}

func TestDelivery_SignaturesVerify(t *testing.T) {
	c := newChain(t, testmx.Script{})
	c.live("example.com")
	for name, content := range contents {
		before := len(c.mx.Messages())
		id := c.submit(strings.ReplaceAll(content, "\n", "\r\n"), "b@dest.test")
		got := c.mx.Wait(before + 1)[before].Body
		valid := 0
		for _, v := range c.verdicts(got) {
			if v.Err == nil && v.Domain == "example.com" {
				valid++
			}
		}
		if valid != 2 {
			t.Errorf("%s: %d valid signatures of %+v, want 2:\n%.2000s", name, valid, c.verdicts(got), got)
		}
		c.wantStoredBelow(name, got, id)
	}
}

// wantStoredBelow demands that what was sent is the signatures and then what is
// stored, and that the signatures can be made again.
func (c *chain) wantStoredBelow(name string, sent []byte, id store.ID) {
	c.t.Helper()
	open := func(ctx context.Context) (io.ReadCloser, error) { return c.store.Body(ctx, id) }
	r, err := open(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	stored, err := io.ReadAll(r)
	if err != nil {
		c.t.Fatal(err)
	}
	record, err := c.store.Record(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	names := c.sentEvents(id, 1)[0].SignedBy
	again, err := domains.NewSigner(c.store, c.keyring, domains.SignerOptions{}).Again(c.t.Context(), record.Message, open, names)
	if err != nil || len(names) != 2 {
		c.t.Errorf("%s: signing again for %v: %v", name, names, err)
	}
	// A last line without an end gets one on the way.
	if want := append(again, stored...); !bytes.Equal(sent, want) && !bytes.Equal(sent, append(want, "\r\n"...)) {
		c.t.Errorf("%s: sent\n%.1500q\nwant\n%.1500q", name, sent, want)
	}
}

func TestDelivery_RetryAndOtherDestinationsHaveTheSameSignatures(t *testing.T) {
	c := newChain(t, testmx.Script{Steps: map[testmx.Phase][]testmx.Step{testmx.Rcpt: {{Reply: "451 4.7.1 later"}, {Reply: "451 4.7.1 later"}}}})
	c.live("example.com")
	id := c.submit(strings.ReplaceAll(contents["plain"], "\n", "\r\n"), "b@one.test", "b@two.test", "b@three.test")
	got := c.mx.Wait(3)
	for _, m := range got {
		if !bytes.Equal(m.Body, got[0].Body) {
			t.Errorf("differ:\n%s\n%s", m.Body, got[0].Body)
		}
	}
	c.wantSigned(got[0].Body, "example.com", 2)
	c.sentEvents(id, 3)
}

// Our own notices are signed too, by the domain of our name.
func TestDelivery_BouncesAreSigned(t *testing.T) {
	c := newChain(t, testmx.Script{Rcpt: map[string][]testmx.Step{"b@dest.test": {{Reply: "550 5.1.1 no"}}}})
	c.live("example.com")
	c.submit(strings.ReplaceAll(contents["plain"], "\n", "\r\n"), "b@dest.test")
	bounce := c.mx.Wait(1)[0]
	if bounce.From != "" || !bytes.Contains(bounce.Body, []byte("mailer-daemon@mail.example.com")) {
		t.Fatalf("got from %q:\n%s", bounce.From, bounce.Body)
	}
	c.wantSigned(bounce.Body, "example.com", 2)
}

// Rotation in the midst of traffic: everything verifies, before and after.
func TestDelivery_OverARotation(t *testing.T) {
	c := newChain(t, testmx.Script{})
	d := c.live("example.com")
	send := func(n int) {
		for i := range n {
			c.submit(fmt.Sprintf("From: a@example.com\r\nSubject: %d\r\n\r\nx\r\n", i), "b@dest.test")
		}
	}
	send(10)
	d, err := c.keeper.Rotate(t.Context(), d.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	send(5)
	c.zone.publish(d)
	c.verify(d)
	send(10)
	selectors := map[string]int{}
	for _, m := range c.mx.Wait(25) {
		c.wantSigned(m.Body, "example.com", 2)
		for _, k := range d.Keys {
			if bytes.Contains(m.Body, []byte("s="+k.Selector+";")) {
				selectors[k.Selector]++
			}
		}
	}
	if len(selectors) != 4 {
		t.Errorf("selectors used: %v, want both pairs", selectors)
	}
}
