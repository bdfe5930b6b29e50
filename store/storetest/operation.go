package storetest

import (
	"io"
	"time"

	"github.com/mailchute/mailchute/store"
)

var operationTests = []test{
	{"HoldAndRelease", operationHold},
	{"RetryMakesDue", operationRetry},
	{"CancelEndsTheQueuedRecipients", operationCancel},
	{"AllOrNone", operationAllOrNone},
	{"UnknownAmendment", func(e *env) {
		m := e.accept(start, "one.example")
		_, err := e.Amend(e.ctx(), "explode", "me", start, m.ID)
		e.wantErr("Amend", err, store.ErrInvalid)
	}},
	{"AlterSingleDeliveries", operationAlter},
	{"Reroute", operationReroute},
	{"PruneForgetsTheFinished", operationPrune},
	{"PruneLeavesOpenBodies", operationPruneBody},
}

func (e *env) amend(a store.Amendment, now time.Time, want int, ids ...store.ID) {
	e.Helper()
	n, err := e.Amend(e.ctx(), a, "ada", now, ids...)
	if err != nil || n != want {
		e.Errorf("%s = %d, %v, want %d", a, n, err, want)
	}
}

// lastEvent checks the newest event of a message.
func (e *env) lastEvent(id store.ID, kind store.EventKind, now time.Time) {
	e.Helper()
	ev := e.record(id).Events
	if got := ev[len(ev)-1]; got.Kind != kind || !got.At.Equal(now) || got.Detail != "by ada" {
		e.Errorf("newest event = %+v, want %s by ada at %s", got, kind, now)
	}
}

func operationHold(e *env) {
	m := e.accept(start, "one.example", "two.example")
	e.finish(part(m, 0), 0, start)
	e.amend(store.Hold, at(1), 1, m.ID, m.ID)
	e.lastEvent(m.ID, store.EventHeld, at(1))
	e.amend(store.Hold, at(2), 0, m.ID)
	e.reopen()
	ds := e.record(m.ID).Deliveries
	if !ds[0].Held.IsZero() || !ds[1].Held.Equal(at(1)) {
		e.Errorf("held = %s and %s, want never and %s", ds[0].Held, ds[1].Held, at(1))
	}
	e.amend(store.Release, at(3), 1, m.ID)
	e.lastEvent(m.ID, store.EventReleased, at(3))
	e.amend(store.Release, at(4), 0, m.ID)
	e.finish(part(m, 1), 0, at(5))
	e.amend(store.Hold, at(6), 0, m.ID)
}

func operationRetry(e *env) {
	m := e.accept(start, "one.example")
	c := e.claim(part(m, 0), 0, start)
	e.must(e.Resolve(e.ctx(), deferred(c.Delivery, start, at(time.Hour))))
	e.amend(store.Retry, at(time.Second), 1, m.ID)
	e.lastEvent(m.ID, store.EventRetried, at(time.Second))
	e.finish(part(m, 0), 1, at(time.Second))
	e.amend(store.Retry, at(time.Second), 0, m.ID)
}

func operationCancel(e *env) {
	m, ds := mail(start, "one.example", "two.example")
	ds[1].Recipients = append(ds[1].Recipients, store.Recipient{Address: "gone@two.example", State: store.Suppressed})
	e.put(m, ds, nil)
	c := e.claim(part(m, 1), 0, start)
	_, err := e.Amend(e.ctx(), store.Cancel, "ada", at(1), m.ID)
	e.wantErr("Cancel during an attempt", err, store.ErrNotDue)
	if e.record(m.ID).Deliveries[0].Done() {
		e.Error("Cancel that failed ended the other delivery")
	}
	e.amend(store.Cancel, at(time.Minute), 2, m.ID) // the lease is over
	e.lastEvent(m.ID, store.EventCancelled, at(time.Minute))
	e.wantErr("Resolve after Cancel", e.Resolve(e.ctx(), sent(c.Delivery, at(time.Hour))), store.ErrStale)
	e.reopen()
	got := e.record(m.ID).Deliveries
	if got[0].Recipients[0].State != store.Cancelled || got[1].Recipients[0].State != store.Cancelled || got[1].Recipients[1].State != store.Suppressed {
		e.Errorf("recipients = %+v", got)
	}
	e.amend(store.Cancel, at(time.Hour), 0, m.ID)
}

func operationAllOrNone(e *env) {
	a, b := e.accept(start, "one.example"), e.accept(start, "one.example")
	_, err := e.Amend(e.ctx(), store.Hold, "ada", start, a.ID, store.NewID(), b.ID)
	e.wantErr("Amend with an unknown message", err, store.ErrNotFound)
	for _, m := range []store.Message{a, b} {
		if r := e.record(m.ID); !r.Deliveries[0].Held.IsZero() || len(r.Events) != 1 {
			e.Errorf("record = %+v, want it untouched", r)
		}
	}
	e.amend(store.Hold, start, 2, a.ID, b.ID)
}

func (e *env) prune(before time.Time, want int) {
	e.Helper()
	n, err := e.Prune(e.ctx(), before)
	if err != nil || n != want {
		e.Errorf("Prune = %d, %v, want %d", n, err, want)
	}
}

func operationPrune(e *env) {
	old, young := e.accept(start, "one.example"), e.accept(at(time.Hour), "one.example")
	waiting := e.accept(start, "one.example", "two.example")
	for _, m := range []store.Message{old, young, waiting} {
		e.finish(part(m, 0), 0, at(time.Hour))
	}
	e.prune(start, 0)
	e.prune(at(time.Hour), 1)
	e.prune(at(time.Hour), 0)
	check := func() {
		_, err := e.Record(e.ctx(), old.ID)
		e.wantErr("Record of the pruned", err, store.ErrNotFound)
		_, err = e.Body(e.ctx(), old.ID)
		e.wantErr("Body of the pruned", err, store.ErrNotFound)
		e.wantBody(young.ID, bodyOf(young.ID))
		e.wantBody(waiting.ID, bodyOf(waiting.ID))
		list, _, err := e.List(e.ctx(), store.Filter{}, "", 10)
		if err != nil || len(list) != 2 {
			e.Errorf("List = %d records, %v, want 2", len(list), err)
		}
	}
	check()
	e.reopen()
	check()
	e.finish(part(waiting, 1), 0, at(time.Hour))
	e.prune(at(2*time.Hour), 2)
	e.wantEmpty()
}

func operationPruneBody(e *env) {
	m, ds := mail(start, "one.example")
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i >> 8)
	}
	e.put(m, ds, body)
	e.finish(part(m, 0), 0, start)
	r, err := e.Body(e.ctx(), m.ID)
	e.must(err)
	defer r.Close()
	e.prune(at(time.Hour), 1)
	got, err := io.ReadAll(r)
	if err != nil || string(got) != string(body) {
		e.Errorf("reading on after Prune = %d octets, %v", len(got), err)
	}
}

func (e *env) alter(a store.Alteration, want int, ids ...store.DeliveryID) {
	e.Helper()
	a.By = "ada"
	n, err := e.Alter(e.ctx(), a, ids...)
	if err != nil || n != want {
		e.Errorf("%+v = %d, %v, want %d", a, n, err, want)
	}
}

func operationAlter(e *env) {
	m := e.accept(start, "one.example", "two.example")
	e.alter(store.Alteration{Amendment: store.Cancel, At: at(1)}, 1, part(m, 1), part(m, 1))
	e.reopen()
	if ds := e.record(m.ID).Deliveries; ds[0].Done() || !ds[1].Done() {
		e.Errorf("deliveries = %+v, want the second alone cancelled", ds)
	}
	e.alter(store.Alteration{Amendment: store.Hold, At: at(2)}, 0, part(m, 1))
	two, ds := mail(start, "one.example")
	ds[0].Recipients = append(ds[0].Recipients, store.Recipient{Address: "other@one.example", State: store.Queued})
	e.put(two, ds, nil)
	e.alter(store.Alteration{Amendment: store.Hold, At: at(1)}, 1, part(two, 0))
	e.alter(store.Alteration{Amendment: store.Cancel, At: at(1), Recipient: "Other@one.example"}, 1, part(two, 0))
	if d := e.record(two.ID).Deliveries[0]; d.Recipients[0].State != store.Queued || d.Recipients[1].State != store.Cancelled || d.Held.IsZero() {
		e.Errorf("delivery = %+v, want the second recipient alone cancelled, and the other still held", d)
	}
	_, err := e.Alter(e.ctx(), store.Alteration{Amendment: "explode"}, part(m, 0))
	e.wantErr("Alter", err, store.ErrInvalid)
	_, err = e.Alter(e.ctx(), store.Alteration{Amendment: store.Hold, At: at(2)}, part(m, 0), store.DeliveryID{Message: store.NewID()})
	e.wantErr("Alter with a message that is not known", err, store.ErrNotFound)
	if d := e.record(m.ID).Deliveries[0]; !d.Held.IsZero() {
		e.Error("Alter that failed held a delivery")
	}
}

func operationReroute(e *env) {
	e.server(7, "outbound", "other")
	m := e.accept(start, "one.example", "two.example", "three.example")
	c := e.claim(part(m, 0), 0, start)
	d := deferred(c.Delivery, start, at(time.Hour))
	e.must(e.Resolve(e.ctx(), d))
	move := store.Alteration{Amendment: store.Reroute, At: at(time.Second), Stream: "other", Route: "a.example:25"}
	_, err := e.Alter(e.ctx(), store.Alteration{Amendment: store.Reroute, At: at(1), Stream: "nowhere"}, part(m, 0))
	e.wantErr("Reroute to a stream that is not there", err, store.ErrNotFound)
	e.alter(move, 1, part(m, 0))
	e.lastEventAt(m.ID, store.EventRerouted, "from stream outbound to stream other, route a.example:25 by ada")
	for range 2 {
		got := e.record(m.ID)
		if d := got.Deliveries[0]; d.Stream != "other" || d.Route != "a.example:25" || !d.Due.Equal(at(time.Second)) || d.Attempt != 1 || got.Message.Stream != "outbound" || got.Deliveries[1].Stream != "outbound" {
			e.Errorf("record = %+v, want the first delivery alone in stream other", got)
		}
		e.reopen()
	}
	lanes := map[string]int{}
	all, err := e.Lanes(e.ctx())
	e.must(err)
	for _, l := range all {
		lanes[l.Stream] += l.Deliveries
	}
	if lanes["other"] != 1 || lanes["outbound"] != 2 {
		e.Errorf("lanes = %v", lanes)
	}
	for stream, n := range map[string]int{"other": 1, "outbound": 1, "third": 0} {
		if got, _, err := e.List(e.ctx(), store.Filter{Server: 7, Stream: stream, Queued: true}, "", 10); err != nil || len(got) != n {
			e.Errorf("queued messages of stream %s: %d, %v, want %d", stream, len(got), err, n)
		}
	}
	c = e.claim(part(m, 0), 1, at(time.Minute))
	_, err = e.Alter(e.ctx(), move, part(m, 0))
	e.wantErr("Reroute during an attempt", err, store.ErrNotDue)
	if c.Delivery.Stream != "other" {
		e.Errorf("claimed in stream %s", c.Delivery.Stream)
	}
	r := deferred(c.Delivery, at(time.Minute), at(time.Hour))
	r.Delivery.Uncertain = true
	e.must(e.Resolve(e.ctx(), r))
	e.alter(store.Alteration{Amendment: store.Reroute, At: at(time.Hour), Stream: "outbound"}, 0, part(m, 0))
	e.reopen()
	if d := e.record(m.ID).Deliveries[0]; d.Stream != "other" || !d.Uncertain {
		e.Errorf("delivery = %+v, want what is uncertain to stay", d)
	}
	e.alter(store.Alteration{Amendment: store.Reroute, At: at(time.Hour)}, 1, part(m, 1))
	e.lastEventAt(m.ID, store.EventRerouted, "to any route by ada")
}

// lastEventAt checks kind and words of the newest event of a message.
func (e *env) lastEventAt(id store.ID, kind store.EventKind, detail string) {
	e.Helper()
	ev := e.record(id).Events
	if got := ev[len(ev)-1]; got.Kind != kind || got.Detail != detail {
		e.Errorf("newest event = %+v, want %s %q", got, kind, detail)
	}
}

// server makes a server with outbound streams.
func (e *env) server(id int64, streams ...string) {
	e.Helper()
	changes := []store.Change{{Server: &store.Server{ID: id, Name: "s", DeliveryType: store.Live}}}
	for _, s := range streams {
		changes = append(changes, store.Change{Stream: &store.Stream{Server: id, ID: s, Kind: store.Transactional, Mode: store.ModeLive}})
	}
	_, err := e.Change(e.ctx(), e.Snapshot().Revision, changes...)
	e.must(err)
}
