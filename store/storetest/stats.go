package storetest

import (
	"fmt"
	"time"

	"github.com/mailchute/mailchute/store"
)

var statsTests = []test{
	{"CountWhatBecameOfRecipients", statsCount},
	{"Filters", statsFilters},
	{"OutliveTheirMessages", statsOutlive},
	{"ManyTagsOfADay", statsManyTags},
	{"ClosedStoreRefuses", func(e *env) {
		e.must(e.Close())
		_, err := e.Stats(e.ctx(), store.StatsFilter{Server: 7})
		e.wantErr("Stats", err, store.ErrClosed)
	}},
}

const oneDay = 24 * time.Hour

// day is the beginning of a day of the caller's clock.
func day(n int) time.Time { return at(time.Duration(n) * oneDay).Truncate(oneDay) }

func (e *env) wantStats(when string, f store.StatsFilter, want ...store.Day) {
	e.Helper()
	f.Server = 7
	got, err := e.Stats(e.ctx(), f)
	e.must(err)
	e.wantSame("statistics "+when, want, got)
}

// everywhere checks the same now, of a copy as a crash leaves it, and after reopening.
func (e *env) everywhere(fn func(*env)) {
	e.Helper()
	fn(e)
	crashed := e.image()
	fn(crashed)
	e.must(crashed.Close())
	e.reopen()
	fn(e)
}

func counts(sent int64, bounces ...string) store.Counts {
	c := store.Counts{Sent: sent}
	for _, kind := range bounces {
		c.Add(store.Counts{Bounces: map[string]int64{kind: 1}})
	}
	return c
}

func statsCount(e *env) {
	e.wantStats("of nothing", store.StatsFilter{})
	a := e.accept(start, "one.example", "two.example")
	e.wantStats("of what waits", store.StatsFilter{})
	e.finish(part(a, 0), 0, start)
	e.everywhere(func(e *env) {
		e.wantStats("of one sent", store.StatsFilter{}, store.Day{Date: day(0), Counts: counts(1)})
	})
	c := e.claim(part(a, 1), 0, at(oneDay))
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, at(oneDay), at(oneDay))))
	c = e.claim(part(a, 1), 1, at(oneDay))
	e.must(e.Resolve(e.ctx(), refused(c.Delivery, at(oneDay))))
	late := returned(a, 0, store.Sent, at(2*oneDay)) // sent on the first day, came back on the third
	late.Submissions = []store.Submission{kept(a, at(2*oneDay)), notice(a, store.NewID(), at(2*oneDay))}
	e.must(e.Return(e.ctx(), late))
	complaint := store.Event{At: at(2 * oneDay), Kind: store.EventComplaint, Bounce: "SpamComplaint"}
	e.must(e.Return(e.ctx(), store.Return{Message: a.ID, Number: 0, Was: store.Bounced, State: store.Bounced, Events: []store.Event{complaint}}))
	b := e.accept(start, "one.example")
	e.amend(store.Cancel, start, 1, b.ID)
	m, ds := mail(start, "one.example")
	ds[0].Recipients[0].State = store.Suppressed
	e.put(m, ds, nil)
	e.everywhere(func(e *env) {
		e.wantStats("in the end", store.StatsFilter{},
			store.Day{Date: day(0), Counts: counts(1)},
			store.Day{Date: day(1), Counts: counts(1, "HardBounce")},
			store.Day{Date: day(2), Counts: counts(0, "HardBounce", "SpamComplaint")})
	})
}

// refused is the resolution of an attempt that every recipient was refused in.
func refused(d store.Delivery, now time.Time) store.Resolution {
	reply := store.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user", At: now}
	r := store.Resolution{Delivery: d}
	for i := range d.Recipients {
		d.Recipients[i].State, d.Recipients[i].Last = store.Bounced, reply
		r.Events = append(r.Events, store.Event{At: now, Kind: store.EventBounced, Part: d.ID.Part, Attempt: d.Attempt, Recipient: d.Recipients[i].Address,
			Reply: reply, Bounce: "HardBounce"})
	}
	return r
}

func statsFilters(e *env) {
	for i, tc := range []struct {
		server      int64
		stream, tag string
	}{{7, "outbound", "a"}, {7, "outbound", "b"}, {7, "outbound", ""}, {7, "broadcast", "a"}, {8, "outbound", "a"}} {
		m, ds := mail(at(time.Duration(i)*oneDay), "one.example")
		m.Server, m.Stream, m.Tag = tc.server, tc.stream, tc.tag
		e.finish(part(e.put(m, ds, nil), 0), 0, m.Accepted)
	}
	one := func(n int) store.Day { return store.Day{Date: day(n), Counts: counts(1)} }
	e.everywhere(func(e *env) {
		e.wantStats("of all", store.StatsFilter{}, one(0), one(1), one(2), one(3))
		e.wantStats("of a stream", store.StatsFilter{Stream: "outbound"}, one(0), one(1), one(2))
		e.wantStats("of a tag", store.StatsFilter{Tag: "a"}, one(0), one(3))
		e.wantStats("of a tag in another case", store.StatsFilter{Tag: "A"})
		e.wantStats("of a tag of a stream", store.StatsFilter{Tag: "a", Stream: "broadcast"}, one(3))
		e.wantStats("of days", store.StatsFilter{Since: at(oneDay), Until: day(2)}, one(1), one(2))
		e.wantStats("of a stream that begins alike", store.StatsFilter{Stream: "out"})
	})
}

func statsOutlive(e *env) {
	for range 20 {
		m := e.accept(start, "one.example")
		e.finish(part(m, 0), 0, start)
	}
	e.prune(at(time.Hour), 20)
	e.everywhere(func(e *env) {
		e.wantStats("of the forgotten", store.StatsFilter{}, store.Day{Date: day(0), Counts: counts(20)})
	})
}

func statsManyTags(e *env) {
	for i := range store.MaxDayTags + 5 {
		m, ds := mail(start, "one.example")
		m.Tag = fmt.Sprintf("tag %04d", i)
		ds[0].Recipients[0].State = store.Captured
		e.put(m, ds, nil)
	}
	e.reopen()
	e.wantStats("of all", store.StatsFilter{}, store.Day{Date: day(0), Counts: counts(store.MaxDayTags + 5)})
	kept := 0
	for i := range store.MaxDayTags + 5 {
		days, err := e.Stats(e.ctx(), store.StatsFilter{Server: 7, Tag: fmt.Sprintf("tag %04d", i)})
		e.must(err)
		kept += len(days)
	}
	if kept != store.MaxDayTags {
		e.Errorf("%d tags are counted by themselves, want %d", kept, store.MaxDayTags)
	}
}
