package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/mailchute/mailchute/store"
)

var suppressionTests = []test{
	{"OfAStreamAlone", suppressionsOfAStream},
	{"OutliveReopeningAndTheirStream", suppressionsOutlive},
	{"EndWithTheirServer", suppressionsEnd},
	{"AreInTheImage", func(e *env) {
		e.suppress(1, bounced("one@a.example"))
		if got := e.image().suppressed("one@a.example"); len(got) != 1 {
			e.Errorf("suppressed = %+v", got)
		}
	}},
	{"StayUnlessOutweighed", suppressionsOutweighed},
	{"ReactivateWhatMayBe", suppressionsReactivate},
	{"HistoryIsKept", suppressionsHistory},
	{"HistoryIsBounded", suppressionsHistoryBounded},
	{"InvalidChangesNothing", suppressionsInvalid},
	{"EndedContextChangesNothing", suppressionsContext},
	{"ListInPages", suppressionsPages},
	{"ListByFilter", suppressionsFilter},
	{"Concurrent", suppressionsConcurrent},
	{"ClosedStoreRefuses", func(e *env) {
		e.must(e.Close())
		_, err := e.Suppress(e.ctx(), bounced("one@a.example"))
		e.wantErr("Suppress", err, store.ErrClosed)
		_, err = e.Suppressed(e.ctx(), 7, "outbound", "one@a.example")
		e.wantErr("Suppressed", err, store.ErrClosed)
	}},
	{"Model", suppressionsModel},
}

// bounced is a hard bounce on the stream of the other tests.
func bounced(address string) store.Suppression {
	return store.Suppression{Server: 7, Stream: "outbound", Address: address, Reason: store.SuppressedHardBounce,
		Origin: store.OriginRecipient, Created: start, By: "550 5.1.1 no such user", Message: store.NewID()}
}

func complained(address string) store.Suppression {
	s := bounced(address)
	s.Reason, s.Created, s.By = store.SuppressedSpamComplaint, at(time.Hour), "a report"
	return s
}

func manual(address string, by store.SuppressionOrigin) store.Suppression {
	s := bounced(address)
	s.Reason, s.Origin, s.Created, s.By, s.Message = store.SuppressedManually, by, at(time.Minute), "", store.ID{}
	return s
}

func (e *env) suppress(want int, all ...store.Suppression) {
	e.Helper()
	n, err := e.Suppress(e.ctx(), all...)
	e.must(err)
	if n != want {
		e.Errorf("Suppress added %d, want %d", n, want)
	}
}

func (e *env) suppressed(addresses ...string) []store.Suppression {
	e.Helper()
	got, err := e.Suppressed(e.ctx(), 7, "outbound", addresses...)
	e.must(err)
	return got
}

// reactivate returns how many were taken off and how many were kept.
func (e *env) reactivate(binding bool, addresses ...string) (int, int) {
	e.Helper()
	n, kept, err := e.Reactivate(e.ctx(), store.Reactivation{
		Server: 7, Stream: "outbound", Addresses: addresses, Binding: binding, By: "ada", At: at(2 * time.Hour),
	})
	e.must(err)
	return n, len(kept)
}

func suppressionsOfAStream(e *env) {
	here, there, elsewhere := bounced("one@a.example"), bounced("two@a.example"), bounced("three@a.example")
	there.Stream, elsewhere.Server = "outbound-2", 8
	e.suppress(3, here, there, elsewhere)
	e.wantSame("suppressed", []store.Suppression{here}, e.suppressed("four@a.example", "three@a.example", "two@a.example", "one@a.example"))
	e.wantSame("none", []store.Suppression{}, e.suppressed())
	e.wantSame("part of an address", []store.Suppression{}, e.suppressed("one@a.exampl", "one@a.example2", ""))
}

func suppressionsOutlive(e *env) {
	snap, err := e.Change(e.ctx(), 0, oneOfEach()...)
	e.must(err)
	s := bounced("one@a.example")
	s.Server = 1
	e.suppress(1, s)
	e.suppress(0, s)
	_, err = e.Change(e.ctx(), snap.Revision, store.Change{Delete: true, Stream: &store.Stream{Server: 1, ID: "outbound"}})
	e.must(err)
	e.reopen()
	got, err := e.Suppressed(e.ctx(), 1, "outbound", "one@a.example")
	e.must(err)
	e.wantSame("suppressed", []store.Suppression{s}, got)
}

func suppressionsEnd(e *env) {
	snap, err := e.Change(e.ctx(), 0, append(oneOfEach(), store.Change{Server: &store.Server{ID: 2, Name: "other", DeliveryType: store.Live}})...)
	e.must(err)
	var all, want []store.Suppression
	for i := range 700 { // many pages of an engine
		s, other := bounced(fmt.Sprintf("%03d@a.example", i)), bounced(fmt.Sprintf("%03d@a.example", i))
		s.Server, other.Server = 1, 2
		all, want = append(all, s, other), append(want, other)
	}
	e.suppress(len(all), all...)
	_, err = e.Change(e.ctx(), snap.Revision, store.Change{Delete: true, User: &store.User{ID: 2}}, store.Change{Delete: true, Server: &store.Server{ID: 1}})
	e.must(err)
	e.wantSame("lists of all servers", want, e.listSuppressions(store.SuppressionFilter{}, 1000))
	history, err := e.SuppressionHistory(e.ctx(), 1, "outbound", "000@a.example")
	e.must(err)
	e.wantSame("history", []store.SuppressionChange{}, history)
}

func suppressionsOutweighed(e *env) {
	const who = "one@a.example"
	left := manual(who, store.OriginRecipient)
	for _, tc := range []struct {
		then, want store.Suppression
	}{
		{manual(who, store.OriginCustomer), manual(who, store.OriginCustomer)},
		{bounced(who), manual(who, store.OriginCustomer)},
		{left, left},
		{bounced(who), left},
		{manual(who, store.OriginAdmin), left},
		{complained(who), complained(who)},
		{left, complained(who)},
	} {
		tc.then.Message, tc.want.Message = store.ID{}, store.ID{}
		_, err := e.Suppress(e.ctx(), tc.then)
		e.must(err)
		e.wantSame(fmt.Sprintf("after %s by %s", tc.then.Reason, tc.then.Origin), []store.Suppression{tc.want}, e.suppressed(who))
	}
	history, err := e.SuppressionHistory(e.ctx(), 7, "outbound", who)
	e.must(err)
	if len(history) != 3 || history[0].Removed.IsZero() || history[1].Removed.IsZero() || !history[2].Removed.IsZero() {
		e.Errorf("history = %+v", history)
	}
}

func suppressionsReactivate(e *env) {
	e.suppress(4, bounced("bounced@a.example"), complained("complained@a.example"),
		manual("left@a.example", store.OriginRecipient), manual("set@a.example", store.OriginCustomer))
	all := []string{"bounced@a.example", "complained@a.example", "left@a.example", "set@a.example", "unknown@a.example", "set@a.example"}
	if n, kept := e.reactivate(false, all...); n != 2 || kept != 2 {
		e.Errorf("Reactivate = %d removed, %d kept", n, kept)
	}
	if got := e.suppressed(all[:4]...); len(got) != 2 || got[0].Address != "complained@a.example" || got[1].Address != "left@a.example" {
		e.Errorf("still suppressed: %+v", got)
	}
	if n, kept := e.reactivate(true, all...); n != 2 || kept != 0 {
		e.Errorf("Reactivate of binding ones = %d removed, %d kept", n, kept)
	}
	e.reopen()
	if got := e.suppressed(all...); len(got) != 0 {
		e.Errorf("still suppressed: %+v", got)
	}
	e.suppress(1, bounced("bounced@a.example"))
}

func suppressionsHistory(e *env) {
	const who = "one@a.example"
	first, second := bounced(who), manual(who, store.OriginAdmin)
	e.suppress(1, first)
	e.reactivate(false, who)
	e.suppress(1, second)
	e.reopen()
	history, err := e.SuppressionHistory(e.ctx(), 7, "outbound", who)
	e.must(err)
	e.wantSame("history", []store.SuppressionChange{
		{Suppression: first, Removed: at(2 * time.Hour), RemovedBy: "ada"}, {Suppression: second},
	}, history)
	history, err = e.SuppressionHistory(e.ctx(), 7, "outbound", "never@a.example")
	e.must(err)
	e.wantSame("history of one that was never there", []store.SuppressionChange{}, history)
}

func suppressionsHistoryBounded(e *env) {
	const who = "one@a.example"
	for i := range store.MaxSuppressionHistory + 3 {
		s := bounced(who)
		s.By = fmt.Sprint(i)
		e.suppress(1, s)
		e.reactivate(false, who)
	}
	history, err := e.SuppressionHistory(e.ctx(), 7, "outbound", who)
	e.must(err)
	if len(history) != store.MaxSuppressionHistory || history[0].By != "3" {
		e.Errorf("%d entries, the oldest %+v", len(history), history[0])
	}
}

func suppressionsInvalid(e *env) {
	for name, spoil := range map[string]func(*store.Suppression){
		"address without domain":  func(s *store.Suppression) { s.Address = "one@" },
		"address in upper case":   func(s *store.Suppression) { s.Address = "One@a.example" },
		"address with NUL":        func(s *store.Suppression) { s.Address = "o\x00ne@a.example" },
		"server 0":                func(s *store.Suppression) { s.Server = 0 },
		"a stream that cannot be": func(s *store.Suppression) { s.Stream = "Out" },
		"unknown reason":          func(s *store.Suppression) { s.Reason = "" },
		"unknown origin":          func(s *store.Suppression) { s.Origin = "" },
	} {
		bad := bounced("two@a.example")
		spoil(&bad)
		_, err := e.Suppress(e.ctx(), bounced("one@a.example"), bad)
		e.wantErr(name, err, store.ErrInvalid)
	}
	if got := e.suppressed("one@a.example"); len(got) != 0 {
		e.Errorf("half of it happened: %+v", got)
	}
	_, _, err := e.ListSuppressions(e.ctx(), store.SuppressionFilter{}, "not a cursor", 1)
	e.wantErr("ListSuppressions with a bad cursor", err, store.ErrInvalid)
	_, _, err = e.ListSuppressions(e.ctx(), store.SuppressionFilter{Stream: "outbound"}, "", 1)
	e.wantErr("ListSuppressions of a stream of no server", err, store.ErrInvalid)
}

func suppressionsContext(e *env) {
	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	_, err := e.Suppress(ctx, bounced("one@a.example"))
	e.wantErr("Suppress", err, context.Canceled)
	if got := e.suppressed("one@a.example"); len(got) != 0 {
		e.Errorf("it happened: %+v", got)
	}
}

// listSuppressions returns every page of a filter.
func (e *env) listSuppressions(f store.SuppressionFilter, limit int) (all []store.Suppression) {
	e.Helper()
	for cursor := ""; ; {
		page, next, err := e.ListSuppressions(e.ctx(), f, cursor, limit)
		e.must(err)
		if len(page) > limit {
			e.Fatalf("a page of %d, want at most %d", len(page), limit)
		}
		all = append(all, page...)
		if cursor = next; cursor == "" {
			return all
		}
	}
}

func suppressionsPages(e *env) {
	var want []store.Suppression
	for i := range 1300 { // more than an engine may want to read at once
		want = append(want, bounced(fmt.Sprintf("%04d@a.example", i)))
	}
	e.suppress(len(want), want...)
	e.reactivate(false, "0001@a.example", "0700@a.example")
	want = append(append(want[:1:1], want[2:700]...), want[701:]...)
	for _, limit := range []int{1, 7, 400, 1000} {
		f := store.SuppressionFilter{Server: 7, Stream: "outbound"}
		if limit == 1 { // two thousand pages would take long and tell no more
			f.Address = "0800@a.example"
			e.wantSame("one", want[798:799], e.listSuppressions(f, 1))
			continue
		}
		e.wantSame(fmt.Sprintf("in pages of %d", limit), want, e.listSuppressions(f, limit))
	}
}

func suppressionsFilter(e *env) {
	other, foreign := bounced("b@a.example"), bounced("c@a.example")
	other.Stream, foreign.Server = "outbound2", 8
	b, c, m, u := bounced("a@a.example"), complained("e@a.example"), manual("d@a.example", store.OriginAdmin), manual("f@a.example", store.OriginRecipient)
	e.suppress(6, foreign, other, u, c, m, b)
	for name, tc := range map[string]struct {
		f    store.SuppressionFilter
		want []store.Suppression
	}{
		"all":                  {store.SuppressionFilter{}, []store.Suppression{b, m, c, u, other, foreign}},
		"of a server":          {store.SuppressionFilter{Server: 7}, []store.Suppression{b, m, c, u, other}},
		"of a stream":          {store.SuppressionFilter{Server: 7, Stream: "outbound"}, []store.Suppression{b, m, c, u}},
		"of an address":        {store.SuppressionFilter{Server: 7, Stream: "outbound", Address: "d@a.example"}, []store.Suppression{m}},
		"of an address, all":   {store.SuppressionFilter{Address: "c@a.example"}, []store.Suppression{foreign}},
		"by reason":            {store.SuppressionFilter{Server: 7, Reason: store.SuppressedManually}, []store.Suppression{m, u}},
		"by origin":            {store.SuppressionFilter{Reason: store.SuppressedManually, Origin: store.OriginAdmin}, []store.Suppression{m}},
		"since":                {store.SuppressionFilter{Since: at(time.Minute)}, []store.Suppression{m, c, u}},
		"until":                {store.SuppressionFilter{Server: 7, Until: at(time.Minute)}, []store.Suppression{b, other}},
		"of an unknown stream": {store.SuppressionFilter{Server: 7, Stream: "out"}, nil},
	} {
		e.wantSame(name, tc.want, e.listSuppressions(tc.f, 2))
	}
}

func suppressionsConcurrent(e *env) {
	const writers, each = 6, 30
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				own := fmt.Sprintf("%d-%d@a.example", w, i)
				if n, err := e.Suppress(e.ctx(), bounced(own), bounced("shared@a.example")); err != nil || n < 1 {
					e.Errorf("Suppress = %d, %v", n, err)
				}
				bad := bounced(own)
				bad.Reason = ""
				if _, err := e.Suppress(e.ctx(), bad); err == nil {
					e.Error("Suppress without a reason succeeded")
				}
				if got, err := e.Suppressed(e.ctx(), 7, "outbound", own); err != nil || len(got) != 1 {
					e.Errorf("Suppressed right after = %+v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if got := e.listSuppressions(store.SuppressionFilter{Server: 7}, 1000); len(got) != writers*each+1 {
		e.Errorf("%d are suppressed, want %d", len(got), writers*each+1)
	}
	history, err := e.SuppressionHistory(e.ctx(), 7, "outbound", "shared@a.example")
	e.must(err)
	if len(history) != 1 {
		e.Errorf("history = %+v", history)
	}
}

// suppressionsModel compares random calls with a map.
func suppressionsModel(e *env) {
	server := int64(100)
	rapid.Check(e, func(rt *rapid.T) {
		server++ // a list of its own
		model := map[string]store.Suppression{}
		address := rapid.Custom(func(rt *rapid.T) string {
			return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "who") + "@a.example"
		})
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			who := address.Draw(rt, "address")
			old, there := model[who]
			if rapid.Bool().Draw(rt, "suppress") {
				s := rapid.SampledFrom([]store.Suppression{bounced(who), complained(who), manual(who, store.OriginRecipient), manual(who, store.OriginAdmin)}).Draw(rt, "what")
				s.Server = server
				n, err := e.Suppress(e.ctx(), s)
				e.must(err)
				if (n == 1) == there {
					rt.Fatalf("Suppress = %d, there before: %t", n, there)
				}
				if !there || s.Outweighs(old) {
					model[who] = s
				}
			} else {
				binding := rapid.Bool().Draw(rt, "binding")
				n, kept, err := e.Reactivate(e.ctx(), store.Reactivation{Server: server, Stream: "outbound", Addresses: []string{who}, Binding: binding, At: start})
				e.must(err)
				if may := there && (binding || !old.Binding()); may != (n == 1) || (len(kept) == 1) != (there && !may) {
					rt.Fatalf("Reactivate = %d, %+v of %+v, binding: %t", n, kept, old, binding)
				}
				if n == 1 {
					delete(model, who)
				}
			}
			got, err := e.Suppressed(e.ctx(), server, "outbound", who)
			e.must(err)
			want, there := model[who]
			if len(got) != 0 != there || there && diff(want, got[0]) != "" {
				rt.Fatalf("Suppressed = %+v, want %+v", got, want)
			}
		}
		if got := e.listSuppressions(store.SuppressionFilter{Server: server}, 2); len(got) != len(model) {
			rt.Fatalf("list = %+v, want %+v", got, model)
		}
	})
}

// intakeSuppressed: one recipient of a delivery, and all of another, are on the list.
func intakeSuppressed(e *env) {
	m, ds := mail(start, "one.example", "two.example")
	off := store.Recipient{Address: "off@one.example", State: store.Suppressed, Last: store.Reply{Text: "on the list", At: start}}
	ds[0].Recipients = append(ds[0].Recipients, off)
	ds[1].Recipients[0].State = store.Suppressed
	m = e.put(m, ds, bodyOf(m.ID))
	check := func() {
		r := e.record(m.ID)
		want := []store.Event{
			{At: start, Kind: store.EventAccepted, Detail: m.Protocol},
			{At: start, Kind: store.EventSuppressed, Recipient: "off@one.example", Detail: "on the list"},
			{At: start, Kind: store.EventSuppressed, Part: 1, Recipient: "rcpt@two.example"},
		}
		e.wantSame("events", want, r.Events)
		e.wantSame("recipient", off, r.Deliveries[0].Recipients[1])
	}
	check()
	e.reopen()
	check()
	_, err := e.Claim(e.ctx(), part(m, 1), 0, start, at(time.Minute))
	e.wantErr("Claim of a delivery without anybody", err, store.ErrNotDue)
	lanes, err := e.Lanes(e.ctx())
	e.must(err)
	if len(lanes) != 1 || lanes[0].Destination != "one.example" {
		e.Errorf("lanes = %+v", lanes)
	}
	c := e.claim(part(m, 0), 0, start)
	e.wantSame("recipient in the claim", off, c.Delivery.Recipients[1])
	if ids := e.list(store.Filter{State: store.Suppressed}); len(ids) != 1 {
		e.Errorf("listed by state: %v", ids)
	}
}
