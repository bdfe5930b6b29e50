package storetest

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mailchute/mailchute/store"
)

// model is the contract in its plainest form: a map of records.
type model struct {
	e    *env
	now  time.Time
	mail map[store.ID]*store.Record
	ids  []store.ID // in the order of acceptance, also those forgotten
	sent int64      // recipients, also of those
}

// histories is how many random histories are tried where the flag
// -rapid.checks does not say.
const histories = "25"

// runModel compares the engine with the model over random histories.
func runModel(t *testing.T, open Open) {
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := f.Value.Set(histories); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "model")
		if err != nil {
			rt.Fatal(err)
		}
		m := &model{now: start, mail: map[store.ID]*store.Record{}}
		m.e = &env{TB: modelTB{t, rt}, dir: dir, open: open}
		m.e.Store = open(m.e.TB, dir)
		rt.Repeat(map[string]func(*rapid.T){
			"accept":  m.accept,
			"claim":   m.claim,
			"resolve": m.resolve,
			"return":  m.takeBack,
			"amend":   m.amend,
			"prune":   m.prune,
			"time": func(rt *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "seconds")) * time.Second)
			},
			"reopen": m.reopen,
			"record": m.record,
			"list":   m.list,
			"search": m.search,
			"stats":  m.stats,
			"lanes":  m.lanes,
		})
		m.all()
		m.e.must(m.e.Close())
	})
}

// modelTB is the whole test for what outlives one history, and the history for
// its failures, so that rapid can make it smaller.
type modelTB struct {
	testing.TB
	rt *rapid.T
}

func (m modelTB) Errorf(format string, args ...any) { m.rt.Errorf(format, args...) }
func (m modelTB) Error(args ...any)                 { m.rt.Error(args...) }
func (m modelTB) Fatal(args ...any)                 { m.rt.Fatal(args...) }
func (m modelTB) Fatalf(format string, args ...any) { m.rt.Fatalf(format, args...) }
func (m modelTB) Helper()                           { m.rt.Helper() }
func (m modelTB) Cleanup(fn func())                 { m.rt.Cleanup(fn) }
func (m modelTB) Context() context.Context          { return m.rt.Context() }

// pick draws a message that was accepted at some time.
func (m *model) pick(rt *rapid.T) store.ID {
	if len(m.ids) == 0 {
		rt.Skip("no message yet")
	}
	return m.ids[rapid.IntRange(0, len(m.ids)-1).Draw(rt, "message")]
}

func (m *model) accept(rt *rapid.T) {
	destinations := []string{"one.example", "two.example", "three.example"}[:rapid.IntRange(1, 3).Draw(rt, "parts")]
	msg, ds := mail(m.now, destinations...)
	msg.Stream = rapid.SampledFrom([]string{"outbound", "broadcast"}).Draw(rt, "stream")
	msg.Tag = rapid.SampledFrom([]string{"", "welcome", "reset"}).Draw(rt, "tag")
	msg.Header.Subject = rapid.SampledFrom([]string{"", "Your order 4711", "Your ORDER 4712", "Grüße"}).Draw(rt, "subject")
	msg.Metadata = rapid.SampledFrom([]map[string]string{nil, {"Color": "blue"}, {"color": "Blue", "": "empty"}}).Draw(rt, "metadata")
	msg.Bounce = rapid.IntRange(0, 5).Draw(rt, "notice") == 0
	if rapid.IntRange(0, 9).Draw(rt, "large") == 0 {
		msg = m.e.put(msg, ds, make([]byte, 300<<10))
	} else {
		msg = m.e.put(msg, ds, bodyOf(msg.ID))
	}
	m.add(msg, ds)
}

func (m *model) add(msg store.Message, ds []store.Delivery) {
	r := &store.Record{Message: msg, Events: []store.Event{{At: msg.Accepted, Kind: store.EventAccepted, Detail: msg.Protocol}}}
	for i, d := range ds {
		d.ID, d.Server, d.Stream = part(msg, i), msg.Server, msg.Stream
		r.Deliveries = append(r.Deliveries, d)
	}
	m.mail[msg.ID], m.ids = r, append(m.ids, msg.ID)
}

func (m *model) claim(rt *rapid.T) {
	id := m.pick(rt)
	r := m.mail[id]
	n := rapid.IntRange(0, 2).Draw(rt, "part")
	attempt := rapid.IntRange(0, 3).Draw(rt, "attempt")
	if r != nil && n < len(r.Deliveries) && rapid.Bool().Draw(rt, "right attempt") {
		attempt = r.Deliveries[n].Attempt
	}
	lease := m.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(rt, "lease")) * time.Second)
	c, err := m.e.Claim(m.e.ctx(), store.DeliveryID{Message: id, Part: n}, attempt, m.now, lease)
	var want error
	switch {
	case r == nil || n >= len(r.Deliveries):
		want = store.ErrNotFound
	case r.Deliveries[n].Attempt != attempt:
		want = store.ErrStale
	case r.Deliveries[n].Done() || !r.Deliveries[n].Held.IsZero() || r.Deliveries[n].Lease.After(m.now) || r.Deliveries[n].Due.After(m.now):
		want = store.ErrNotDue
	default:
		r.Deliveries[n].Attempt++
		r.Deliveries[n].Lease = lease
	}
	if !errors.Is(err, want) {
		rt.Fatalf("Claim = %v, want %v", err, want)
	}
	if err == nil {
		m.e.wantSame("claimed", store.Claimed{Message: r.Message, Delivery: r.Deliveries[n], First: n}, c)
	}
}

func (m *model) resolve(rt *rapid.T) {
	id := m.pick(rt)
	r := m.mail[id]
	if r == nil {
		rt.Skip("forgotten")
	}
	n := rapid.IntRange(0, len(r.Deliveries)-1).Draw(rt, "part")
	stored := &r.Deliveries[n]
	d := *stored
	d.Recipients = slices.Clone(d.Recipients)
	d.Attempt += rapid.SampledFrom([]int{0, 0, 0, 0, -1, 1}).Draw(rt, "attempt")
	res := deferred(d, m.now, m.now.Add(time.Duration(rapid.IntRange(0, 50).Draw(rt, "due"))*time.Second))
	res.Delivery.Uncertain = rapid.Bool().Draw(rt, "uncertain")
	if rapid.IntRange(0, 3).Draw(rt, "held") == 0 {
		res.Held = m.now
	}
	if rapid.Bool().Draw(rt, "sent") {
		res = sent(d, m.now)
	}
	if rapid.IntRange(0, 3).Draw(rt, "notice") == 0 {
		res.Notices = []store.Submission{notice(r.Message, store.NewID(), m.now)}
	}
	err := m.e.Resolve(m.e.ctx(), res)
	if d.Attempt != stored.Attempt || stored.Lease.IsZero() {
		m.e.wantErr("Resolve", err, store.ErrStale)
		return
	}
	m.e.must(err)
	if res.Delivery.Done() && !stored.Done() && !r.Message.Bounce {
		m.sent += int64(len(stored.Recipients))
	}
	res.Delivery.Lease, res.Delivery.Held, res.Delivery.HeldUncertain = time.Time{}, stored.Held, false
	if !res.Held.IsZero() {
		res.Delivery.Held, res.Delivery.HeldUncertain = cmp.Or(stored.Held, res.Held), res.Delivery.Uncertain
	}
	if res.Delivery.Done() {
		res.Delivery.Held = time.Time{}
	}
	*stored = res.Delivery
	r.Events = append(r.Events, res.Events...)
	for _, sub := range res.Notices {
		m.add(m.e.record(sub.Message.ID).Message, sub.Deliveries)
	}
}

func (m *model) amend(rt *rapid.T) {
	a := rapid.SampledFrom([]store.Amendment{store.Hold, store.Release, store.Retry, store.Cancel}).Draw(rt, "amendment")
	ids := []store.ID{m.pick(rt), m.pick(rt)}
	got, err := m.e.Amend(m.e.ctx(), a, "ada", m.now, ids...)
	next := map[store.ID]store.Record{}
	want := 0
	for _, id := range ids {
		r := m.mail[id]
		if r == nil {
			m.e.wantErr("Amend", err, store.ErrNotFound)
			return
		}
		if _, done := next[id]; done {
			continue
		}
		changed, n, ok := amended(*r, a, m.now)
		if !ok { // unless a later one is not there at all
			if !errors.Is(err, store.ErrNotDue) && !errors.Is(err, store.ErrNotFound) {
				rt.Fatalf("Amend = %v, want %v", err, store.ErrNotDue)
			}
			return
		}
		next[id], want = changed, want+n
	}
	if err != nil || got != want {
		rt.Fatalf("%s = %d, %v, want %d", a, got, err, want)
	}
	for id, r := range next {
		*m.mail[id] = r
	}
}

// amended is what an amendment makes of a record, and false where it cannot.
func amended(r store.Record, a store.Amendment, now time.Time) (_ store.Record, n int, ok bool) {
	kinds := map[store.Amendment]store.EventKind{store.Hold: store.EventHeld, store.Release: store.EventReleased, store.Retry: store.EventRetried, store.Cancel: store.EventCancelled}
	r.Deliveries, r.Events = slices.Clone(r.Deliveries), slices.Clone(r.Events)
	for i := range r.Deliveries {
		d := &r.Deliveries[i]
		underWay := d.Lease.After(now)
		if a == store.Cancel && underWay && !d.Done() {
			return r, 0, false
		}
		if d.Done() || (a == store.Hold) && !d.Held.IsZero() || (a == store.Release) && d.Held.IsZero() && (!d.Uncertain || underWay) || (a == store.Retry) && underWay {
			continue
		}
		detail := "by ada"
		switch a {
		case store.Hold:
			d.Held = now
		case store.Release:
			if d.Uncertain && (d.HeldUncertain || d.Held.IsZero()) {
				d.Uncertain, detail = false, "by ada, although it may have arrived"
			}
			d.Held, d.HeldUncertain = time.Time{}, false
			if end := now.Add(store.ReleasedFor); d.Expires.Before(end) {
				d.Expires = end
			}
		case store.Retry:
			d.Due, d.DueWhy = now, "asked for by ada"
		case store.Cancel:
			d.Held, d.HeldUncertain, d.Lease = time.Time{}, false, time.Time{}
			d.Recipients = slices.Clone(d.Recipients)
			for j := range d.Recipients {
				d.Recipients[j].State, d.Recipients[j].Last = store.Cancelled, store.Reply{Text: "cancelled by ada", At: now}
			}
		}
		n++
		r.Events = append(r.Events, store.Event{At: now, Kind: kinds[a], Part: i, Attempt: d.Attempt, Detail: detail})
	}
	return r, n, true
}

func (m *model) prune(rt *rapid.T) {
	before := m.now.Add(-time.Duration(rapid.IntRange(0, 300).Draw(rt, "age")) * time.Second)
	want := 0
	for id, r := range m.mail {
		if r.Message.Accepted.Before(before) && !slices.ContainsFunc(r.Deliveries, func(d store.Delivery) bool { return !d.Done() }) {
			delete(m.mail, id)
			want++
		}
	}
	m.e.prune(before, want)
}

// reopen ends the leases: the suite's engine has one process.
func (m *model) reopen(*rapid.T) {
	m.e.reopen()
	for _, r := range m.mail {
		for i := range r.Deliveries {
			r.Deliveries[i].Lease = time.Time{}
		}
	}
}

func (m *model) record(rt *rapid.T) {
	id := m.pick(rt)
	got, err := m.e.Record(m.e.ctx(), id)
	if m.mail[id] == nil {
		m.e.wantErr("Record of the forgotten", err, store.ErrNotFound)
		return
	}
	m.e.must(err)
	m.e.wantSame("record", *m.mail[id], got)
	if int64(len(m.e.body(id))) != got.Message.Size {
		rt.Fatalf("body of %d octets, want %d", len(m.e.body(id)), got.Message.Size)
	}
}

// filter draws one that names few or many things.
func (m *model) filter(rt *rapid.T) (f store.Filter) {
	maybe := func(name string, set func()) {
		if rapid.IntRange(0, 3).Draw(rt, name) == 0 {
			set()
		}
	}
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, name) }
	switch rapid.IntRange(0, 8).Draw(rt, "filter") {
	case 1:
		f.Queued = true
	case 2:
		f.Held = true
	case 3:
		f.Server, f.Stream = 7, "broadcast"
	case 4:
		f.State, f.Destination = store.Sent, "two.example"
	case 5:
		f.Bounce = true
	case 6, 7, 8:
		maybe("server", func() { f.Server = 7 })
		maybe("stream", func() { f.Stream = "outbound" })
		maybe("tag", func() { f.Tag = pick("the tag", "welcome", "none") })
		maybe("recipient", func() { f.Recipient = pick("the recipient", "RCPT@one.example", "rcpt@two.example") })
		maybe("sender", func() { f.Sender = pick("the sender", "app@EXAMPLE.com", "other@example.com") })
		maybe("subject", func() { f.Subject = pick("the subject", "order 47", "2", "GRÜ", "order 4711 ") })
		maybe("metadata", func() { f.MetadataKey, f.Metadata = "color", pick("the value", "blue", "Blue") })
		maybe("finished", func() { f.Finished = true })
		maybe("queued", func() { f.Queued = true })
		maybe("outbound", func() { f.Outbound = true })
		maybe("since", func() { f.Since = m.now.Add(-20 * time.Second) })
		maybe("until", func() { f.Until = m.now.Add(-10 * time.Second) })
	}
	return f
}

// selected returns what a filter selects, newest first.
func (m *model) selected(f store.Filter) (want []store.Record) {
	for _, r := range m.mail {
		if selects(f, r) && finds(f, r) {
			want = append(want, *r)
		}
	}
	slices.SortFunc(want, func(a, b store.Record) int {
		if c := b.Message.Accepted.Compare(a.Message.Accepted); c != 0 {
			return c
		}
		return strings.Compare(b.Message.ID.String(), a.Message.ID.String())
	})
	return want
}

// list compares every page of a drawn filter.
func (m *model) list(rt *rapid.T) {
	f := m.filter(rt)
	var got []store.Record
	limit := rapid.IntRange(1, 7).Draw(rt, "limit")
	for cursor := ""; ; {
		page, next, err := m.e.List(m.e.ctx(), f, cursor, limit)
		m.e.must(err)
		got = append(got, page...)
		if cursor = next; next == "" {
			break
		}
	}
	m.e.wantSame("list", m.selected(f), got)
}

// search compares a window of a drawn filter.
func (m *model) search(rt *rapid.T) {
	f := m.filter(rt)
	want := m.selected(f)
	offset, limit := rapid.IntRange(0, 9).Draw(rt, "offset"), rapid.IntRange(0, 9).Draw(rt, "limit")
	got, total, err := m.e.Search(m.e.ctx(), f, offset, limit)
	m.e.must(err)
	m.e.wantSame("total", len(want), total)
	want = want[min(offset, len(want)):min(offset+limit, len(want))]
	m.e.wantSame("search", len(want), len(got))
	for i := range want {
		m.e.wantSame("search", want[i], got[i])
	}
}

// stats compares the sum of all days.
func (m *model) stats(*rapid.T) {
	days, err := m.e.Stats(m.e.ctx(), store.StatsFilter{Server: 7})
	m.e.must(err)
	var sent int64
	for _, d := range days {
		sent += d.Sent
	}
	m.e.wantSame("sent", m.sent, sent)
}

// finds is the part of a filter that searches have.
func finds(f store.Filter, r *store.Record) bool {
	m := r.Message
	to := func(d store.Delivery) bool { return strings.EqualFold(d.Recipients[0].Address, f.Recipient) }
	value, ok := m.Metadata["Color"]
	if !ok {
		value, ok = m.Metadata["color"]
	}
	return (f.Server == 0 || m.Server == f.Server) && (f.Tag == "" || m.Tag == f.Tag) &&
		(f.Recipient == "" || slices.ContainsFunc(r.Deliveries, to)) &&
		(f.Sender == "" || strings.EqualFold(m.From, f.Sender) || strings.EqualFold(m.Header.From, "App <"+f.Sender+">")) &&
		(f.Subject == "" || strings.Contains(strings.ToLower(m.Header.Subject), strings.ToLower(f.Subject))) &&
		(f.MetadataKey == "" || ok && value == f.Metadata) &&
		(!f.Finished || !slices.ContainsFunc(r.Deliveries, func(d store.Delivery) bool { return !d.Done() })) &&
		(!f.Outbound || !m.Bounce && !m.Returned) &&
		(f.Since.IsZero() || !m.Accepted.Before(f.Since)) && (f.Until.IsZero() || m.Accepted.Before(f.Until))
}

func selects(f store.Filter, r *store.Record) bool {
	any := func(is func(store.Delivery) bool) bool { return slices.ContainsFunc(r.Deliveries, is) }
	return (!f.Queued || any(func(d store.Delivery) bool { return !d.Done() })) &&
		(!f.Bounce || slices.ContainsFunc(r.Events, func(e store.Event) bool { return e.Bounce != "" })) &&
		(!f.Held || any(func(d store.Delivery) bool { return !d.Held.IsZero() && !d.Done() })) &&
		(f.Stream == "" || r.Message.Stream == f.Stream) &&
		(f.Destination == "" || any(func(d store.Delivery) bool { return d.Destination == f.Destination })) &&
		(f.State == "" || any(func(d store.Delivery) bool { return d.Recipients[0].State == f.State }))
}

// lanes compares all but NextDue, which leases make the engine's own.
func (m *model) lanes(*rapid.T) {
	type key struct{ stream, destination string }
	want := map[key]store.Lane{}
	for _, r := range m.mail {
		for _, d := range r.Deliveries {
			if d.Done() {
				continue
			}
			k := key{d.Stream, d.Destination}
			l, ok := want[k]
			if !ok || r.Message.Accepted.Before(l.Oldest) {
				l.Oldest = r.Message.Accepted
			}
			l.Deliveries++
			if !d.Held.IsZero() {
				l.Held++
			}
			l.Server, l.Stream, l.Destination = d.Server, d.Stream, d.Destination
			want[k] = l
		}
	}
	got, err := m.e.Lanes(m.e.ctx())
	m.e.must(err)
	counted := map[key]store.Lane{}
	for _, l := range got {
		l.NextDue = time.Time{}
		counted[key{l.Stream, l.Destination}] = l
	}
	m.e.wantSame("lanes", want, counted)
}

// all compares every record, before and after reopening.
func (m *model) all() {
	for range 2 {
		for id, r := range m.mail {
			m.e.wantSame("record at the end", *r, m.e.record(id))
		}
		m.reopen(nil)
	}
}
