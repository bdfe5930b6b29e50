package storetest

import (
	"time"

	"github.com/mailchute/mailchute/store"
)

var historyTests = []test{
	{"ListIsNewestFirst", historyOrder},
	{"ListFilters", historyFilters},
	{"CursorWalksEverythingOnce", historyCursor},
	{"MalformedCursor", func(e *env) {
		_, _, err := e.List(e.ctx(), store.Filter{}, "not a cursor", 10)
		e.wantErr("List", err, store.ErrInvalid)
	}},
	{"LanesCountTheQueue", historyLanes},
}

// list returns the IDs of a page without limit.
func (e *env) list(f store.Filter) (ids []store.ID) {
	e.Helper()
	records, next, err := e.List(e.ctx(), f, "", 1000)
	e.must(err)
	if next != "" {
		e.Errorf("cursor %q behind the last page", next)
	}
	for _, r := range records {
		ids = append(ids, r.Message.ID)
	}
	return ids
}

func historyOrder(e *env) {
	var want []store.ID
	for i := range 20 {
		m := e.accept(at(time.Duration(i)*time.Second), "one.example")
		want = append([]store.ID{m.ID}, want...)
		if i == 10 {
			e.reopen() // half of it was written by an earlier process
		}
	}
	e.wantSame("List", want, e.list(store.Filter{}))
	e.wantSame("List since 5s until 8s", want[12:15], e.list(store.Filter{Since: at(5 * time.Second), Until: at(8 * time.Second)}))
	e.wantSame("record in List", e.record(want[0]), func() store.Record {
		r, _, err := e.List(e.ctx(), store.Filter{}, "", 1)
		e.must(err)
		return r[0]
	}())
}

func historyFilters(e *env) {
	a := e.accept(at(0), "one.example")
	m, ds := mail(at(1), "two.example", "one.example")
	m.Server, m.Stream, m.From = 8, "broadcast", "Other@EXAMPLE.net"
	b := e.put(m, ds, nil)
	m, ds = mail(at(2), "three.example")
	m.Stream = "broadcast"
	c := e.put(m, ds, nil)
	d := e.accept(at(3), "four.example")
	e.finish(part(a, 0), 0, at(4))
	e.finish(part(b, 1), 0, at(4))
	e.amend(store.Hold, at(4), 1, c.ID)
	for _, reopen := range []bool{false, true} {
		if reopen {
			e.reopen()
		}
		for _, tc := range []struct {
			name string
			f    store.Filter
			want []store.ID
		}{
			{"all", store.Filter{}, []store.ID{d.ID, c.ID, b.ID, a.ID}},
			{"server", store.Filter{Server: 7}, []store.ID{d.ID, c.ID, a.ID}},
			{"stream", store.Filter{Stream: "broadcast"}, []store.ID{c.ID, b.ID}},
			{"stream of server", store.Filter{Server: 7, Stream: "broadcast"}, []store.ID{c.ID}},
			{"prefix of a stream", store.Filter{Server: 7, Stream: "broad"}, nil},
			{"destination", store.Filter{Destination: "one.example"}, []store.ID{b.ID, a.ID}},
			{"recipient", store.Filter{Recipient: "rcpt@THREE.example"}, []store.ID{c.ID}},
			{"recipient in another case", store.Filter{Recipient: "Rcpt@three.example"}, nil},
			{"sender", store.Filter{Sender: "Other@example.net"}, []store.ID{b.ID}},
			{"state sent", store.Filter{State: store.Sent}, []store.ID{b.ID, a.ID}},
			{"state queued", store.Filter{State: store.Queued}, []store.ID{d.ID, c.ID, b.ID}},
			{"held", store.Filter{Held: true}, []store.ID{c.ID}},
			{"queued", store.Filter{Queued: true}, []store.ID{d.ID, c.ID, b.ID}},
			{"queued of a server", store.Filter{Queued: true, Server: 8}, []store.ID{b.ID}},
			{"since", store.Filter{Since: at(2)}, []store.ID{d.ID, c.ID}},
			{"until", store.Filter{Until: at(2)}, []store.ID{b.ID, a.ID}},
			{"nothing", store.Filter{Server: 9}, nil},
		} {
			if d := diff(tc.want, e.list(tc.f)); d != "" {
				e.Errorf("%s, reopened %t: (-want +got)\n%s", tc.name, reopen, d)
			}
		}
	}
}

func historyCursor(e *env) {
	want := map[store.ID]bool{}
	for i := range 57 {
		m := e.accept(at(time.Duration(i/3)), "one.example", "two.example") // three of one time
		want[m.ID] = true
		if i == 30 {
			e.reopen()
		}
	}
	for _, f := range []store.Filter{{}, {Queued: true}, {Server: 7, Stream: "outbound"}} {
		seen, cursor := map[store.ID]bool{}, ""
		for pages := 1; ; pages++ {
			records, next, err := e.List(e.ctx(), f, cursor, 10)
			e.must(err)
			for _, r := range records {
				if seen[r.Message.ID] {
					e.Errorf("%+v: message %s twice", f, r.Message.ID)
				}
				seen[r.Message.ID] = true
			}
			if pages == 2 {
				e.accept(at(time.Hour), "late.example") // newer than the cursor: not for this walk
			}
			if cursor = next; next == "" {
				break
			}
			if len(records) != 10 {
				e.Errorf("%+v: a page of %d with a cursor", f, len(records))
			}
		}
		for id := range want {
			if !seen[id] {
				e.Errorf("%+v: message %s is missing", f, id)
			}
		}
	}
}

func historyLanes(e *env) {
	a := e.accept(at(0), "one.example", "two.example")
	b := e.accept(at(time.Second), "one.example")
	c := e.accept(at(2*time.Second), "one.example")
	e.amend(store.Hold, at(3*time.Second), 1, c.ID)
	claimed := e.claim(part(b, 0), 0, at(3*time.Second))
	e.must(e.Resolve(e.ctx(), deferred(claimed.Delivery, at(3*time.Second), at(time.Hour))))
	e.finish(part(a, 1), 0, at(3*time.Second))
	lane := store.Lane{Server: 7, Stream: "outbound", Destination: "one.example", Deliveries: 3, Held: 1, Oldest: at(0), NextDue: at(0)}
	e.wantLanes("at once", lane)
	e.reopen()
	e.wantLanes("after reopening", lane)
	e.finish(part(a, 0), 0, at(3*time.Second))
	lane.Deliveries, lane.Oldest, lane.NextDue = 2, at(time.Second), at(time.Hour)
	e.wantLanes("without the oldest", lane)
	e.amend(store.Cancel, at(4*time.Second), 1, b.ID)
	lane.Deliveries, lane.Oldest, lane.NextDue = 1, at(2*time.Second), time.Time{}
	e.wantLanes("with a held one only", lane)
	e.amend(store.Cancel, at(4*time.Second), 1, c.ID)
	e.wantLanes("empty")
}

func (e *env) wantLanes(when string, want ...store.Lane) {
	e.Helper()
	got, err := e.Lanes(e.ctx())
	e.must(err)
	e.wantSame("Lanes "+when, want, got)
}
