package storetest

import (
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

var historyTests = []test{
	{"ListIsNewestFirst", historyOrder},
	{"ListFilters", historyFilters},
	{"SearchSeesEveryWrite", searchSees},
	{"SearchOfTheRerouted", searchRerouted},
	{"SearchOfNoWindow", func(e *env) {
		_, _, err := e.Search(e.ctx(), store.Filter{}, -1, 10)
		e.wantErr("Search", err, store.ErrInvalid)
	}},
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
	m.Stream, m.Tag, m.Metadata = "broadcast", "rare", map[string]string{"Order": "Nr. 1"}
	m.Header.Subject = "Grüss Gott"
	c := e.put(m, ds, nil)
	m, ds = mail(at(3), "four.example")
	m.Bounce = true
	d := e.put(m, ds, nil)
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
			{"recipient in another case", store.Filter{Recipient: "Rcpt@three.example"}, []store.ID{c.ID}},
			{"part of a recipient", store.Filter{Recipient: "rcpt@three"}, nil},
			{"reverse-path", store.Filter{Sender: "other@example.net"}, []store.ID{b.ID}},
			{"From field", store.Filter{Sender: "APP@example.com", Server: 8}, []store.ID{b.ID}},
			{"tag", store.Filter{Tag: "rare"}, []store.ID{c.ID}},
			{"tag in another case", store.Filter{Tag: "Rare"}, nil},
			{"subject", store.Filter{Subject: "RÜSS"}, []store.ID{c.ID}},
			{"subject of two letters", store.Filter{Subject: "üß"}, []store.ID{d.ID, b.ID, a.ID}},
			{"metadata", store.Filter{MetadataKey: "ORDER", Metadata: "Nr. 1"}, []store.ID{c.ID}},
			{"metadata in another case", store.Filter{MetadataKey: "order", Metadata: "nr. 1"}, nil},
			{"metadata of another key", store.Filter{MetadataKey: "color", Metadata: "Nr. 1"}, nil},
			{"two that no message has both", store.Filter{Tag: "rare", Subject: "grüße"}, nil},
			{"two that one has", store.Filter{Server: 7, Stream: "broadcast", Tag: "rare", Recipient: "rcpt@three.example"}, []store.ID{c.ID}},
			{"outbound", store.Filter{Outbound: true, Destination: "four.example"}, nil},
			{"outbound only", store.Filter{Outbound: true}, []store.ID{c.ID, b.ID, a.ID}},
			{"finished", store.Filter{Finished: true}, []store.ID{a.ID}},
			{"finished of a stream", store.Filter{Server: 7, Stream: "outbound", Finished: true}, []store.ID{a.ID}},
			{"queued of a stream", store.Filter{Server: 7, Stream: "outbound", Queued: true}, []store.ID{d.ID}},
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
			e.wantFound(tc.name, tc.f, tc.want)
		}
	}
}

// wantFound compares every window of a search.
func (e *env) wantFound(name string, f store.Filter, want []store.ID) {
	e.Helper()
	for offset := range len(want) + 2 {
		for limit := range 3 {
			records, total, err := e.Search(e.ctx(), f, offset, limit)
			e.must(err)
			var got []store.ID
			for _, r := range records {
				got = append(got, r.Message.ID)
			}
			window := want[min(offset, len(want)):min(offset+limit, len(want))]
			if total != len(want) || !slices.Equal(window, got) {
				e.Errorf("%s: Search from %d, %d of them = %v of %d, want %v of %d", name, offset, limit, got, total, window, len(want))
			}
		}
	}
}

// searchSees has messages found at once, in the state that they are in, while
// enough come in for every index.
func searchSees(e *env) {
	f := store.Filter{Server: 7, Stream: "outbound", Tag: "welcome"}
	var all []store.ID
	for i := range 60 {
		m := e.accept(at(time.Duration(i)*time.Second), "one.example")
		all = append([]store.ID{m.ID}, all...)
		if i%3 == 0 {
			e.finish(part(m, 0), 0, at(time.Minute))
		}
		e.wantFound("at once", store.Filter{Server: 7, Stream: "outbound", Since: m.Accepted}, []store.ID{m.ID})
	}
	m := e.accept(at(-time.Hour), "one.example") // older than all that were there
	all = append(all, m.ID)
	for i := range 2 {
		queued := f
		queued.Queued = true
		done := f
		done.Finished = true
		_, nq, err := e.Search(e.ctx(), queued, 0, 1)
		e.must(err)
		records, nd, err := e.Search(e.ctx(), done, 19, 10)
		e.must(err)
		if nq != 41 || nd != 20 || len(records) != 1 || records[0].Message.ID != all[59] {
			e.Errorf("%d queued, %d finished, the last %v, want 41, 20 and %s", nq, nd, records, all[59])
		}
		e.wantSame("all", all, e.list(f))
		if i == 0 {
			e.reopen()
		}
	}
	if n, err := e.Prune(e.ctx(), at(time.Hour)); n != 20 || err != nil {
		e.Errorf("Prune = %d, %v", n, err)
	}
	if _, n, err := e.Search(e.ctx(), f, 0, 1); n != 41 || err != nil {
		e.Errorf("after Prune %d are found, %v, want 41", n, err)
	}
}

// searchRerouted finds a message where it was accepted, wherever it waits.
func searchRerouted(e *env) {
	e.server(7, "outbound", "other")
	m := e.accept(start, "one.example")
	e.alter(store.Alteration{Amendment: store.Reroute, At: at(1), Stream: "other"}, 1, part(m, 0))
	for range 2 {
		e.wantFound("where it was accepted", store.Filter{Server: 7, Stream: "outbound", Queued: true}, []store.ID{m.ID})
		e.wantFound("where it waits", store.Filter{Server: 7, Stream: "other", Queued: true}, nil)
		e.reopen()
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
