package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"

	"github.com/mailchute/mailchute/store"
)

var intakeTests = []test{
	{"RecordIsWhatWasAccepted", intakeRecord},
	{"BodyIsByteForByte", intakeBodies},
	{"FiftyMegabytesInBoundedMemory", intakeLarge},
	{"KnownIDExists", intakeExists},
	{"SuppressedRecipientsAreNeverTried", intakeSuppressed},
	{"DiscardLeavesNothing", intakeDiscard},
	{"CommitSpendsTheDraft", intakeSpent},
	{"EndedContextAcceptsNothing", intakeContext},
	{"UnknownMessage", intakeUnknown},
	{"ClosedStoreRefuses", intakeClosed},
}

func intakeRecord(e *env) {
	m, ds := mail(start, "one.example", "two.example")
	m.UTF8, m.EightBit, m.Ret, m.EnvID, m.TrackLinks = true, true, "HDRS", "env 1", "HtmlOnly"
	on := false
	m.TrackOpens, m.Bounce, m.About = &on, true, store.NewID()
	m.RequireTLS, m.TLSOptional = true, true
	m = e.put(m, ds, []byte("a body"))
	for i := range ds {
		ds[i].ID, ds[i].Server, ds[i].Stream = part(m, i), m.Server, m.Stream
	}
	check := func(when string) {
		r := e.record(m.ID)
		e.wantSame("message "+when, m, r.Message)
		e.wantSame("deliveries "+when, ds, r.Deliveries)
		if len(r.Events) != 1 || r.Events[0].Kind != store.EventAccepted || !r.Events[0].At.Equal(m.Accepted) {
			e.Errorf("events %s = %+v, want the acceptance", when, r.Events)
		}
	}
	check("at once")
	r := e.record(m.ID)
	r.Deliveries[0].Recipients[0].State, r.Message.Metadata["color"] = store.Sent, "red"
	check("after a caller changed its copy")
	e.reopen()
	check("after reopening")
}

func intakeBodies(e *env) {
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[store.ID][]byte{}
	for _, size := range []int{0, 1, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		m, ds := mail(start, "one.example")
		d := e.draft(nil)
		for rest := body; len(rest) > 0; { // in pieces of any size
			n := min(len(rest), 1+rnd.IntN(100_000))
			_, err := d.Write(rest[:n])
			e.must(err)
			rest = rest[n:]
		}
		e.must(d.Commit(e.ctx(), m, ds))
		want[m.ID] = body
	}
	for id, body := range want {
		e.wantBody(id, body)
		if got := e.record(id).Message.Size; got != int64(len(body)) {
			e.Errorf("Size = %d, want %d", got, len(body))
		}
	}
	e.reopen()
	for id, body := range want {
		e.wantBody(id, body)
	}
}

// intakeLarge measures the heap that is in use while a large body is written
// and read.
func intakeLarge(e *env) {
	const size, piece, bound = 50 << 20, 32 << 10, 16 << 20
	chunk := bytes.Repeat([]byte("0123456789abcdef"), piece/16)
	before, most := heap(), uint64(0)
	d := e.draft(nil)
	for n := 0; n < size; n += piece {
		if _, err := d.Write(chunk); err != nil {
			e.Fatal(err)
		}
		if n%(4<<20) == 0 {
			most = max(most, heap())
		}
	}
	m, ds := mail(start, "one.example")
	e.must(d.Commit(e.ctx(), m, ds))
	most = max(most, heap())
	r, err := e.Body(e.ctx(), m.ID)
	e.must(err)
	defer r.Close()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, piece))
	if err != nil || n != size {
		e.Errorf("reading the body = %d, %v, want %d", n, err, size)
	}
	most = max(most, heap())
	if most > before+bound {
		e.Errorf("the heap grew by %d MiB for a body of %d MiB, want at most %d", (most-before)>>20, size>>20, bound>>20)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func intakeExists(e *env) {
	m, ds := mail(start, "one.example")
	first := e.put(m, ds, []byte("first"))
	again := func(when string) {
		err := e.draft([]byte("second")).Commit(e.ctx(), m, ds)
		e.wantErr("Commit of a known ID "+when, err, store.ErrExists)
		e.wantSame("message "+when, first, e.record(m.ID).Message)
		e.wantBody(m.ID, []byte("first"))
	}
	again("at once")
	e.reopen()
	again("after reopening")
}

func intakeDiscard(e *env) {
	for _, size := range []int{10, 1 << 20} {
		d := e.draft(make([]byte, size))
		d.Discard()
		d.Discard()
		m, ds := mail(start, "one.example")
		if err := d.Commit(e.ctx(), m, ds); err == nil {
			e.Error("Commit after Discard succeeded")
		}
		_, err := e.Record(e.ctx(), m.ID)
		e.wantErr("Record of a discarded message", err, store.ErrNotFound)
	}
	e.wantEmpty()
}

func (e *env) wantEmpty() {
	e.Helper()
	list, next, err := e.List(e.ctx(), store.Filter{}, "", 10)
	e.must(err)
	if len(list) != 0 || next != "" {
		e.Errorf("List = %d records, cursor %q, want none", len(list), next)
	}
}

func intakeSpent(e *env) {
	m, ds := mail(start, "one.example")
	d := e.draft([]byte("x"))
	e.must(d.Commit(e.ctx(), m, ds))
	m.ID = store.NewID()
	if err := d.Commit(e.ctx(), m, ds); err == nil {
		e.Error("the second Commit of a draft succeeded")
	}
	if _, err := d.Write([]byte("y")); err == nil {
		e.Error("Write after Commit succeeded")
	}
	d.Discard()
	_, err := e.Record(e.ctx(), m.ID)
	e.wantErr("Record", err, store.ErrNotFound)
}

func intakeContext(e *env) {
	m, ds := mail(start, "one.example")
	d := e.draft([]byte("x"))
	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	if err := d.Commit(ctx, m, ds); !errors.Is(err, context.Canceled) {
		e.Errorf("Commit = %v, want %v", err, context.Canceled)
	}
	e.wantEmpty()
}

func intakeUnknown(e *env) {
	id := store.NewID()
	_, err := e.Record(e.ctx(), id)
	e.wantErr("Record", err, store.ErrNotFound)
	_, err = e.Body(e.ctx(), id)
	e.wantErr("Body", err, store.ErrNotFound)
	_, err = e.Claim(e.ctx(), store.DeliveryID{Message: id}, 0, start, at(1))
	e.wantErr("Claim", err, store.ErrNotFound)
	_, err = e.Amend(e.ctx(), store.Hold, "me", start, id)
	e.wantErr("Amend", err, store.ErrNotFound)
}

func intakeClosed(e *env) {
	m, ds := mail(start, "one.example")
	d := e.draft([]byte("x"))
	e.must(e.Close())
	e.wantErr("Commit", d.Commit(e.ctx(), m, ds), store.ErrClosed)
	_, err := e.Begin(e.ctx())
	e.wantErr("Begin", err, store.ErrClosed)
	_, err = e.Change(e.ctx(), 0, oneOfEach()...)
	e.wantErr("Change", err, store.ErrClosed)
	_, _, err = e.List(e.ctx(), store.Filter{}, "", 1)
	e.wantErr("List", err, store.ErrClosed)
	e.wantErr("Watch", e.Watch(e.ctx(), func([]store.Ticket) {}), store.ErrClosed)
	if err := e.Close(); err != nil {
		e.Errorf("second Close = %v", err)
	}
}
