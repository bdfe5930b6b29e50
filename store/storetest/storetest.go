// Package storetest is the conformance suite of package store: what every
// engine must pass.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mailchute/mailchute/store"
)

// Open opens the engine whose data is in dir, empty at first. It is called again for
// the same directory after Close, and for a copy of the directory that was made while
// the engine was open, which is what a crash leaves. It should register a
// cleanup that closes the engine if that is still open and checks its consistency.
type Open func(t testing.TB, dir string) store.Store

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Directory", directoryTests},
		{"Intake", intakeTests},
		{"Watch", watchTests},
		{"Queue", queueTests},
		{"Returns", returnsTests},
		{"Operation", operationTests},
		{"History", historyTests},
		{"Suppressions", suppressionTests},
		{"Bounces", bounceTests},
		{"Notifications", notificationTests},
		{"Statistics", statsTests},
		{"Interventions", interventionTests},
		{"Crash", crashTests},
		{"Concurrent", concurrentTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tc := range group.tests {
				t.Run(tc.name, func(t *testing.T) {
					dir := t.TempDir()
					tc.run(&env{TB: t, Store: open(t, dir), dir: dir, open: open})
				})
			}
		})
	}
	t.Run("Model", func(t *testing.T) { runModel(t, open) })
}

// test is one case of the suite.
type test struct {
	name string
	run  func(*env)
}

// env is an open engine and what a test needs around it.
type env struct {
	testing.TB
	store.Store
	dir  string
	open Open
}

// start is when every test begins, by the caller's clock.
var start = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// at returns a moment of the caller's clock.
func at(d time.Duration) time.Time { return start.Add(d) }

// ctx is the test's context.
func (e *env) ctx() context.Context { return e.Context() }

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// reopen closes the engine and opens it again.
func (e *env) reopen() {
	e.Helper()
	e.must(e.Close())
	e.Store = e.open(e.TB, e.dir)
}

// wantErr checks for one of the vocabulary's errors.
func (e *env) wantErr(what string, got, want error) {
	e.Helper()
	if !errors.Is(got, want) {
		e.Errorf("%s = %v, want %v", what, got, want)
	}
}

// mail returns a message that was never accepted, with one delivery to each destination.
func mail(accepted time.Time, destinations ...string) (store.Message, []store.Delivery) {
	m := store.Message{
		ID: store.NewID(), Server: 7, Stream: "outbound", Accepted: accepted, From: "app@example.com",
		Header: store.Display{Subject: "Grüße", From: "App <app@example.com>", To: []string{"rcpt@one.example", ""}, MessageID: "x@example.com", Names: []string{"Rita", ""}, Attachments: []string{"Größe.pdf", ""}},
		Tag:    "welcome", Metadata: map[string]string{"color": "blue", "": "empty"}, Credential: "server-token 3", Protocol: "ESMTPSA",
		Client: netip.MustParseAddr("2001:db8::25"), DKIMBody: sha256.Sum256([]byte("body")),
	}
	var ds []store.Delivery
	for _, to := range destinations {
		ds = append(ds, store.Delivery{
			Destination: to, Due: accepted, Expires: accepted.Add(48 * time.Hour),
			Recipients: []store.Recipient{{Address: "rcpt@" + to, State: store.Queued, Notify: "FAILURE"}},
		})
	}
	return m, ds
}

// draft makes a draft that holds body.
func (e *env) draft(body []byte) store.Draft {
	e.Helper()
	d, err := e.Begin(e.ctx())
	e.must(err)
	e.Cleanup(d.Discard)
	_, err = d.Write(body)
	e.must(err)
	return d
}

// put accepts a message as it is given and returns what Record should say.
func (e *env) put(m store.Message, ds []store.Delivery, body []byte) store.Message {
	e.Helper()
	e.must(e.draft(body).Commit(e.ctx(), m, ds))
	m.Size, m.BodyHash = int64(len(body)), sha256.Sum256(body)
	return m
}

// accept accepts a message with a small body.
func (e *env) accept(accepted time.Time, destinations ...string) store.Message {
	e.Helper()
	m, ds := mail(accepted, destinations...)
	return e.put(m, ds, bodyOf(m.ID))
}

func bodyOf(id store.ID) []byte {
	return []byte("Subject: " + id.String() + "\r\n\r\nHello\r\n")
}

func part(m store.Message, n int) store.DeliveryID { return store.DeliveryID{Message: m.ID, Part: n} }

// claim claims for a minute and fails the test when it cannot.
func (e *env) claim(id store.DeliveryID, attempt int, now time.Time) store.Claimed {
	e.Helper()
	c, err := e.Claim(e.ctx(), id, attempt, now, now.Add(time.Minute))
	e.must(err)
	return c
}

// sent is the resolution of an attempt that delivered to every recipient.
func sent(d store.Delivery, now time.Time) store.Resolution {
	reply := store.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "queued", Command: "dot", Host: "mx." + d.Destination, At: now}
	for i := range d.Recipients {
		d.Recipients[i].State, d.Recipients[i].Last = store.Sent, reply
	}
	return store.Resolution{Delivery: d, Events: []store.Event{{At: now, Kind: store.EventSent, Part: d.ID.Part, Attempt: d.Attempt, Reply: reply,
		SignedBy: []string{"r._domainkey.example.com", "e._domainkey.example.com"}}}}
}

// deferred is the resolution of an attempt that is to be repeated.
func deferred(d store.Delivery, now, due time.Time) store.Resolution {
	d.Due = due
	return store.Resolution{Delivery: d, Events: []store.Event{{At: now, Kind: store.EventDeferred, Part: d.ID.Part, Attempt: d.Attempt, Detail: "greylisted"}}}
}

// finish claims and resolves a delivery as sent.
func (e *env) finish(id store.DeliveryID, attempt int, now time.Time) {
	e.Helper()
	c := e.claim(id, attempt, now)
	e.must(e.Resolve(e.ctx(), sent(c.Delivery, now)))
}

func (e *env) record(id store.ID) store.Record {
	e.Helper()
	r, err := e.Record(e.ctx(), id)
	e.must(err)
	return r
}

// body reads a body to its end.
func (e *env) body(id store.ID) []byte {
	e.Helper()
	r, err := e.Body(e.ctx(), id)
	e.must(err)
	defer r.Close()
	b, err := io.ReadAll(r)
	e.must(err)
	return b
}

func (e *env) wantBody(id store.ID, want []byte) {
	e.Helper()
	if got := e.body(id); !bytes.Equal(got, want) {
		e.Errorf("Body(%s) = %d octets, want %d and equal", id, len(got), len(want))
	}
}

// diff compares what engines return: times by instant, and nil like empty.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}), cmp.Comparer(time.Time.Equal))
}

func (e *env) wantSame(what string, want, got any) {
	e.Helper()
	if d := diff(want, got); d != "" {
		e.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}
