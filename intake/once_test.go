package intake_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// desk is an intake above a real engine, whose clock a test turns.
type desk struct {
	*testing.T
	*intake.Intake
	store *local.Store
	clock time.Time
	mu    sync.Mutex
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	db, err := local.Open(t.TempDir(), local.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}}}
	for _, st := range store.DefaultStreams(1, store.ModeLive, now) {
		if st.ID == "outbound" {
			st.Dedupe = time.Hour
		}
		changes = append(changes, store.Change{Stream: &st})
	}
	if _, err := store.Update(t.Context(), db, func(*store.Snapshot) ([]store.Change, error) { return changes, nil }); err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, store: db, clock: now}
	d.Intake = intake.New(db, db, intake.Options{Hostname: "mx.mailchute.example", Known: db, Now: func() time.Time {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.clock
	}})
	return d
}

func (d *desk) pass(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = d.clock.Add(t)
}

func (d *desk) submit(e intake.Envelope, content string) store.ID {
	d.Helper()
	id, err := d.Submit(d.Context(), e, strings.NewReader(content))
	if err != nil {
		d.Fatal(err)
	}
	return id
}

func (d *desk) stored() int {
	d.Helper()
	all, _, err := d.store.List(d.Context(), store.Filter{}, "", 1000)
	if err != nil {
		d.Fatal(err)
	}
	return len(all)
}

const letter = "From: a@x.example\r\nMessage-ID: <1@x.example>\r\nSubject: s\r\n\r\nbody\r\n"

// What makes a submission the same, and what makes it another.
func TestDedupe_Identity(t *testing.T) {
	e := envelope(serverToken)
	with := func(edit func(*intake.Envelope)) intake.Envelope {
		e := e
		edit(&e)
		return e
	}
	key := func(key, content string) string { return "X-Idempotency-Key: " + key + "\r\n" + content }
	two := []intake.Recipient{{Address: "b@one.example"}, {Address: "a@one.example"}}
	tests := []struct {
		name          string
		first, second intake.Envelope
		one, other    string
		same          bool
	}{
		{"the same", e, e, letter, letter, true},
		{"another body", e, e, letter, letter + "more\r\n", false},
		{"another field", e, e, letter, "X-A: b\r\n" + letter, false},
		{"another Message-ID", e, e, letter, strings.Replace(letter, "<1", "<2", 1), false},
		{"no Message-ID", e, e, "From: a@x.example\r\n\r\nx\r\n", "From: a@x.example\r\n\r\nx\r\n", false},
		{"another recipient", e, with(func(e *intake.Envelope) { e.Recipients = two }), letter, letter, false},
		{"recipients in another order", with(func(e *intake.Envelope) { e.Recipients = two }),
			with(func(e *intake.Envelope) { e.Recipients = []intake.Recipient{two[1], two[0]} }), letter, letter, true},
		{"another sender", e, with(func(e *intake.Envelope) { e.From = "b@x.example" }), letter, letter, false},
		{"another credential", e, with(func(e *intake.Envelope) { e.Principal.Token++ }), letter, letter, false},
		{"a stream that did not ask", e, e, "X-PM-Message-Stream: broadcast\r\n" + letter, "X-PM-Message-Stream: broadcast\r\n" + letter, false},
		{"the same key", e, e, key("k", letter), key("k", strings.Replace(letter, "body", "other", 1)), true},
		{"another key", e, e, key("k", letter), key("l", letter), false},
		{"the same key by another credential", e, with(func(e *intake.Envelope) { e.Principal.Token++ }), key("k", letter), key("k", letter), true},
		{"the same key to another recipient", e, with(func(e *intake.Envelope) { e.Recipients = two }), key("k", letter), key("k", letter), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			first, second := d.submit(test.first, test.one), d.submit(test.second, test.other)
			if (first == second) != test.same {
				t.Errorf("the second is %s after %s, want the same = %v", second, first, test.same)
			}
			if third := d.submit(test.second, test.other); test.same != (third == first) || test.name == "another body" && third != second {
				t.Errorf("the third is %s after %s and %s", third, first, second)
			}
			if n := d.stored(); test.same && n != 1 {
				t.Errorf("%d messages are stored, want 1", n)
			}
		})
	}
}

// The key is ours: it does not leave. A stream that does not act on it leaves it.
func TestDedupe_KeyIsTakenOut(t *testing.T) {
	d := newDesk(t)
	for stream, there := range map[string]bool{"outbound": false, "broadcast": true} {
		id := d.submit(envelope(serverToken), "X-PM-Message-Stream: "+stream+"\r\nX-Idempotency-Key: k\r\n"+letter)
		r, err := d.store.Body(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil || strings.Contains(string(raw), "X-Idempotency-Key") != there {
			t.Errorf("on %s, %v:\n%s", stream, err, raw)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDedupe_Window(t *testing.T) {
	d := newDesk(t)
	first := d.submit(envelope(serverToken), letter)
	d.pass(59 * time.Minute)
	if again := d.submit(envelope(serverToken), letter); again != first {
		t.Errorf("within the hour: %s, want %s", again, first)
	}
	d.pass(time.Minute)
	if again := d.submit(envelope(serverToken), letter); again == first {
		t.Error("it is still known after an hour")
	}
}

// Submissions at the same moment wait for the first one's commit, and have its ID.
func TestDedupe_AtOnce(t *testing.T) {
	d := newDesk(t)
	ids := make([]store.ID, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			var err error
			if ids[i], err = d.Submit(t.Context(), envelope(serverToken), strings.NewReader(letter)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("%s beside %s", id, ids[0])
		}
	}
	if n := d.stored(); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

// One that begins before the turn of a window and ends behind it meets what came
// in meanwhile.
func TestDedupe_AcrossTheTurnOfAWindow(t *testing.T) {
	d := newDesk(t)
	d.pass(d.clock.Truncate(time.Hour).Add(time.Hour - time.Second).Sub(d.clock))
	var quick store.ID
	slow := io.MultiReader(strings.NewReader(letter), readerFunc(func([]byte) (int, error) {
		if quick.IsZero() {
			d.pass(2 * time.Second)
			quick = d.submit(envelope(serverToken), letter)
		}
		return 0, io.EOF
	}))
	id, err := d.Submit(t.Context(), envelope(serverToken), slow)
	if err != nil || id != quick {
		t.Errorf("the slow one is %s, %v, want %s", id, err, quick)
	}
	if n := d.stored(); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

// Two contents of one Message-ID and envelope at the same moment have reserved the
// same ID: the later one is refused for now, and its repetition is a message of its own.
func TestDedupe_AnotherContentAtOnce(t *testing.T) {
	d := newDesk(t)
	other := strings.Replace(letter, "body", "other", 1)
	var quick store.ID
	slow := io.MultiReader(strings.NewReader(letter), readerFunc(func([]byte) (int, error) {
		if quick.IsZero() {
			quick = d.submit(envelope(serverToken), other)
		}
		return 0, io.EOF
	}))
	_, err := d.Submit(t.Context(), envelope(serverToken), slow)
	var r *intake.Refusal
	if !errors.As(err, &r) || r.Kind != intake.KindUnavailable {
		t.Fatalf("the slow one = %v, want a temporary refusal", err)
	}
	if n := d.stored(); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
	again := d.submit(envelope(serverToken), letter)
	if n := d.stored(); again == quick || n != 2 {
		t.Errorf("its repetition is %s beside %s, %d messages are stored, want two", again, quick, n)
	}
	if third, fourth := d.submit(envelope(serverToken), letter), d.submit(envelope(serverToken), other); third != again || fourth != quick {
		t.Errorf("later repetitions are %s and %s, want %s and %s", third, fourth, again, quick)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A client that went away in the middle holds nobody up, and its part of a
// message is nothing that could be recognised.
func TestDedupe_TornBefore(t *testing.T) {
	d := newDesk(t)
	torn := io.MultiReader(strings.NewReader(letter), errorReader{})
	if _, err := d.Submit(t.Context(), envelope(serverToken), torn); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("a torn submission = %v", err)
	}
	d.submit(envelope(serverToken), letter)
	if n := d.stored(); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Beyond eight messages of one Message-ID and envelope nothing is lost: the
// others are taken as they come.
func TestDedupe_ManyOfOneMessageID(t *testing.T) {
	d := newDesk(t)
	for n := range 12 {
		d.submit(envelope(serverToken), letter+strings.Repeat("x", n)+"\r\n")
	}
	if n := d.stored(); n != 12 {
		t.Errorf("%d messages are stored, want 12", n)
	}
}

// unknown is a store whose history cannot be read.
type unknown struct{}

func (unknown) Record(context.Context, store.ID) (store.Record, error) {
	return store.Record{}, store.ErrUnknown
}

// What cannot be looked up is refused for now, and not taken twice.
func TestDedupe_Unreadable(t *testing.T) {
	d := newDesk(t)
	in := intake.New(d.store, d.store, intake.Options{Hostname: "mx.mailchute.example", Known: unknown{}})
	_, err := in.Submit(t.Context(), envelope(serverToken), strings.NewReader(letter))
	var r *intake.Refusal
	if !errors.As(err, &r) || r.Kind != intake.KindUnavailable {
		t.Errorf("Submit = %v, want a temporary refusal", err)
	}
	if _, err := in.Submit(t.Context(), envelope(auth.Principal{Kind: auth.KindServerToken, Token: 7, Server: 1}), strings.NewReader("From: a@x.example\r\n\r\n")); err != nil {
		t.Errorf("what is not looked up = %v", err)
	}
}
