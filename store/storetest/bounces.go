package storetest

import (
	"fmt"
	"time"

	"github.com/mailchute/mailchute/store"
)

var bounceTests = []test{
	{"AreFoundAtOnceAndForGood", bouncesFound},
	{"ListFilters", bouncesFilter},
	{"ListInPages", bouncesPages},
	{"EndWithTheirMessage", bouncesEnd},
	{"AreNotThoseOfNotices", bouncesOfNotices},
	{"ClosedStoreRefuses", func(e *env) {
		e.must(e.Close())
		_, err := e.Bounce(e.ctx(), 7, 1)
		e.wantErr("Bounce", err, store.ErrClosed)
		_, _, err = e.ListBounces(e.ctx(), store.BounceFilter{Server: 7, Stream: "outbound"}, "", 1)
		e.wantErr("ListBounces", err, store.ErrClosed)
		_, err = e.CountBounces(e.ctx(), 7)
		e.wantErr("CountBounces", err, store.ErrClosed)
	}},
}

// bounce accepts a message and has its one recipient refused.
func (e *env) bounce(m store.Message, ds []store.Delivery, kind string, now time.Time) store.Bounce {
	e.Helper()
	e.put(m, ds, nil)
	c := e.claim(part(m, 0), 0, now)
	d := c.Delivery
	d.Recipients[0].State = store.Bounced
	event := store.Event{At: now, Kind: store.EventBounced, Attempt: 1, Recipient: d.Recipients[0].Address, Bounce: kind}
	e.must(e.Resolve(e.ctx(), store.Resolution{Delivery: d, Events: []store.Event{event}}))
	return store.Bounce{ID: event.BounceID(m.ID), Server: m.Server, Stream: m.Stream, Message: m.ID, At: now, Type: kind, Recipient: event.Recipient, Tag: m.Tag}
}

func (e *env) bounceOf(accepted time.Time, destination, kind string, now time.Time) store.Bounce {
	e.Helper()
	m, ds := mail(accepted, destination)
	return e.bounce(m, ds, kind, now)
}

// bounces returns a page without limit.
func (e *env) bounces(f store.BounceFilter) []store.Bounce {
	e.Helper()
	got, next, err := e.ListBounces(e.ctx(), f, "", 1000)
	e.must(err)
	if next != "" {
		e.Errorf("cursor %q behind the last page", next)
	}
	return got
}

func bouncesFound(e *env) {
	a := e.bounceOf(at(0), "one.example", "HardBounce", at(time.Hour))
	b := e.bounceOf(at(1), "two.example", "SoftBounce", at(time.Minute))
	m := e.accept(at(2), "three.example")
	e.finish(part(m, 0), 0, at(3))
	back := returned(m, 0, store.Sent, at(2*time.Hour))
	e.must(e.Return(e.ctx(), back))
	back.Events[0].Recipient = "rcpt@three.example"
	c := store.Bounce{ID: back.Events[0].BounceID(m.ID), Server: 7, Stream: "outbound", Message: m.ID, At: at(2 * time.Hour), Type: "HardBounce",
		Recipient: "rcpt@three.example", Tag: m.Tag}
	for _, reopen := range []bool{false, true} {
		if reopen {
			e.reopen()
		}
		e.wantSame("ListBounces", []store.Bounce{c, a, b}, e.bounces(store.BounceFilter{Server: 7, Stream: "outbound"}))
		for _, want := range []store.Bounce{a, b, c} {
			got, err := e.Bounce(e.ctx(), 7, want.ID)
			e.must(err)
			e.wantSame("Bounce", want, got)
			_, err = e.Bounce(e.ctx(), 8, want.ID)
			e.wantErr("Bounce of another server", err, store.ErrNotFound)
		}
		_, err := e.Bounce(e.ctx(), 7, 1)
		e.wantErr("Bounce", err, store.ErrNotFound)
		n, err := e.CountBounces(e.ctx(), 7)
		e.must(err)
		e.wantSame("CountBounces", map[string]int{"HardBounce": 2, "SoftBounce": 1}, n)
		n, err = e.CountBounces(e.ctx(), 8)
		e.must(err)
		e.wantSame("CountBounces of another server", map[string]int{}, n)
	}
}

func bouncesFilter(e *env) {
	a := e.bounceOf(at(0), "one.example", "HardBounce", at(10))
	m, ds := mail(at(0), "two.example")
	m.Tag = "other"
	b := e.bounce(m, ds, "SoftBounce", at(20))
	m, ds = mail(at(0), "Three.example")
	m.Stream = "broadcast"
	c := e.bounce(m, ds, "HardBounce", at(30))
	m, ds = mail(at(0), "four.example")
	m.Server = 8
	d := e.bounce(m, ds, "HardBounce", at(40))
	out := store.BounceFilter{Server: 7, Stream: "outbound"}
	with := func(change func(*store.BounceFilter)) store.BounceFilter { f := out; change(&f); return f }
	for _, reopen := range []bool{false, true} {
		if reopen {
			e.reopen()
		}
		for _, tc := range []struct {
			name string
			f    store.BounceFilter
			want []store.Bounce
		}{
			{"stream", out, []store.Bounce{b, a}},
			{"another stream", store.BounceFilter{Server: 7, Stream: "broadcast"}, []store.Bounce{c}},
			{"another server", store.BounceFilter{Server: 8, Stream: "outbound"}, []store.Bounce{d}},
			{"prefix of a stream", store.BounceFilter{Server: 7, Stream: "out"}, nil},
			{"types", with(func(f *store.BounceFilter) { f.Types = []string{"HardBounce", "Transient"} }), []store.Bounce{a}},
			{"tag", with(func(f *store.BounceFilter) { f.Tag = "other" }), []store.Bounce{b}},
			{"message", with(func(f *store.BounceFilter) { f.Message = a.Message }), []store.Bounce{a}},
			{"message of another stream", with(func(f *store.BounceFilter) { f.Message = c.Message }), nil},
			{"recipient", with(func(f *store.BounceFilter) { f.Recipient = "@TWO" }), []store.Bounce{b}},
			{"no such recipient", with(func(f *store.BounceFilter) { f.Recipient = "three" }), nil},
			{"since", with(func(f *store.BounceFilter) { f.Since = at(20) }), []store.Bounce{b}},
			{"until", with(func(f *store.BounceFilter) { f.Until = at(20) }), []store.Bounce{a}},
		} {
			if d := diff(tc.want, e.bounces(tc.f)); d != "" {
				e.Errorf("%s, reopened %t: (-want +got)\n%s", tc.name, reopen, d)
			}
		}
	}
	_, _, err := e.ListBounces(e.ctx(), store.BounceFilter{Server: 7}, "", 1)
	e.wantErr("ListBounces without a stream", err, store.ErrInvalid)
	_, _, err = e.ListBounces(e.ctx(), out, "no cursor", 1)
	e.wantErr("ListBounces with a malformed cursor", err, store.ErrInvalid)
}

func bouncesPages(e *env) {
	want := map[int64]bool{}
	for i := range 25 {
		want[e.bounceOf(at(0), fmt.Sprintf("d%d.example", i), "HardBounce", at(time.Duration(i/3))).ID] = true // three of one time
		if i == 12 {
			e.reopen()
		}
	}
	var last time.Time
	for cursor, pages := "", 1; ; pages++ {
		page, next, err := e.ListBounces(e.ctx(), store.BounceFilter{Server: 7, Stream: "outbound"}, cursor, 4)
		e.must(err)
		for _, b := range page {
			if !want[b.ID] {
				e.Errorf("bounce %d twice or unknown", b.ID)
			}
			if delete(want, b.ID); !last.IsZero() && b.At.After(last) {
				e.Errorf("bounce of %v behind one of %v", b.At, last)
			}
			last = b.At
		}
		if pages == 2 {
			e.bounceOf(at(0), "late.example", "HardBounce", at(time.Hour)) // newer than the cursor: not for this walk
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(want) > 0 {
		e.Errorf("%d bounces are missing", len(want))
	}
}

// bouncesEnd prunes what the engine has on disk, and what it has not.
func bouncesEnd(e *env) {
	a := e.bounceOf(at(0), "one.example", "HardBounce", at(1))
	e.reopen()
	b := e.bounceOf(at(0), "two.example", "HardBounce", at(1))
	c := e.bounceOf(at(time.Hour), "three.example", "HardBounce", at(time.Hour))
	e.prune(at(time.Minute), 2)
	for _, reopen := range []bool{false, true} {
		if reopen {
			e.reopen()
		}
		e.wantSame("ListBounces", []store.Bounce{c}, e.bounces(store.BounceFilter{Server: 7, Stream: "outbound"}))
		for _, gone := range []store.Bounce{a, b} {
			_, err := e.Bounce(e.ctx(), 7, gone.ID)
			e.wantErr("Bounce", err, store.ErrNotFound)
		}
	}
}

func bouncesOfNotices(e *env) {
	m, ds := mail(at(0), "one.example")
	m.Bounce = true
	b := e.bounce(m, ds, "HardBounce", at(1))
	if got := e.bounces(store.BounceFilter{Server: 7, Stream: "outbound"}); len(got) != 0 {
		e.Errorf("listed %+v", got)
	}
	_, err := e.Bounce(e.ctx(), 7, b.ID)
	e.wantErr("Bounce", err, store.ErrNotFound)
}
