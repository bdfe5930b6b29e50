package api_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/store"
)

// keyed sends with a key.
func (r *rig) keyed(path, key, body string) answer {
	r.t.Helper()
	return r.do("POST", path, body, "X-Postmark-Server-Token", r.server, "Idempotency-Key", key)
}

// stored counts the messages of server 1.
func (r *rig) stored() int {
	r.t.Helper()
	all, _, err := r.store.List(r.t.Context(), store.Filter{Server: 1}, "", 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(all)
}

func TestIdempotency_TheSameRequestHasTheFirstAnswer(t *testing.T) {
	r := newRig(t, rigOptions{})
	first := r.keyed("/email", "order-7", simple)
	if first.status != 200 {
		t.Fatalf("%d %s", first.status, first.raw)
	}
	for _, key := range []string{"order-7", `"order-7"`} {
		if again := r.keyed("/email", key, simple); again.status != 200 || again.raw != first.raw {
			t.Errorf("with key %s again: %d %s, want %s", key, again.status, again.raw, first.raw)
		}
	}
	wantError(t, r.keyed("/email", "order-7", strings.Replace(simple, `"s"`, `"other"`, 1)), 422, int(api.CodeRequestKey), "Idempotency-Key", "24 hours")
	if other := r.keyed("/email", "order-8", simple); other.text("MessageID") == first.text("MessageID") {
		t.Error("another key has the same message")
	}
	if without := r.as("POST", "/email", simple); without.text("MessageID") == first.text("MessageID") {
		t.Error("no key has the same message")
	}
	if n := r.stored(); n != 3 {
		t.Errorf("%d messages are stored, want 3", n)
	}
}

func TestIdempotency_OneMessageAndABatchAreNotTheSame(t *testing.T) {
	r := newRig(t, rigOptions{})
	batch := "[" + simple + "]"
	wantOK(t, r.keyed("/email", "one", simple))
	wantError(t, r.keyed("/email/batch", "one", batch), 422, int(api.CodeRequestKey))
	if a := r.keyed("/email/batch", "many", batch); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	wantError(t, r.keyed("/email", "many", simple), 422, int(api.CodeRequestKey))
	if n := r.stored(); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

// The first answer stands whatever has changed since.
func TestIdempotency_ArchivedMeanwhile(t *testing.T) {
	r := newRig(t, rigOptions{})
	first := r.keyed("/email", "k", simple)
	r.stream("outbound", func(s *store.Stream) { s.IntakePaused = true })
	if again := r.keyed("/email", "k", simple); again.raw != first.raw {
		t.Errorf("again: %s, want %s", again.raw, first.raw)
	}
	wantError(t, r.keyed("/email", "new", simple), 422, 1236)
}

// What was refused was not taken: the key is free for the request put right.
func TestIdempotency_RefusedIsNotKept(t *testing.T) {
	r := newRig(t, rigOptions{})
	wantError(t, r.keyed("/email", "k", `{"From":"a@x.example","To":"","TextBody":"t"}`), 422, 300)
	if a := r.keyed("/email", "k", simple); a.status != 200 {
		t.Errorf("put right: %d %s", a.status, a.raw)
	}
}

func TestIdempotency_ManyAtOnceAreOneMessage(t *testing.T) {
	r := newRig(t, rigOptions{})
	answers := make([]answer, 16)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = r.keyed("/email", "k", simple) })
	}
	all.Wait()
	for _, a := range answers {
		if a.status != 200 || a.raw != answers[0].raw {
			t.Errorf("%d %s, want %s", a.status, a.raw, answers[0].raw)
		}
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

// After a window the key is new, also at the turn of the windows that the IDs
// are made of.
func TestIdempotency_Window(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	r := newRig(t, rigOptions{api: api.Options{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}})
	first := r.keyed("/email", "k", simple).text("MessageID")
	pass(2 * time.Minute)
	if again := r.keyed("/email", "k", simple).text("MessageID"); again != first {
		t.Errorf("on the next day: %s, want %s", again, first)
	}
	pass(24 * time.Hour)
	second := r.keyed("/email", "k", simple).text("MessageID")
	if second == first {
		t.Error("the key is still known after 24 hours")
	}
	pass(time.Minute)
	if again := r.keyed("/email", "k", simple).text("MessageID"); again != second {
		t.Errorf("in the second window: %s, want %s", again, second)
	}
}

// A batch that comes again takes what it did not take, and repeats the rest.
func TestIdempotency_Batch(t *testing.T) {
	r := newRig(t, rigOptions{})
	body := "[" + simple + `,{"From":"a@x.example"},` + simple + "]"
	ids := func(a answer) (ids []string) {
		t.Helper()
		var items []struct{ MessageID string }
		if err := json.Unmarshal([]byte(a.raw), &items); err != nil || len(items) != 3 {
			t.Fatalf("%d %s: %v", a.status, a.raw, err)
		}
		for _, i := range items {
			ids = append(ids, i.MessageID)
		}
		return ids
	}
	first := ids(r.keyed("/email/batch", "k", body))
	if again := ids(r.keyed("/email/batch", "k", body)); !slices.Equal(again, first) {
		t.Errorf("again: %v, want %v", again, first)
	}
	if first[0] == first[2] {
		t.Error("two equal messages of a batch are one")
	}
	wantError(t, r.keyed("/email/batch", "k", "["+simple+"]"), 422, int(api.CodeRequestKey))
	if n := r.stored(); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

func TestIdempotency_Keys(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, key := range []string{"", " ", "a b", "ü", `"open`, `"a"b"`, strings.Repeat("k", 256)} {
		wantError(t, r.keyed("/email", key, simple), 422, int(api.CodeRequestKey))
	}
	if a := r.keyed("/email", strings.Repeat("k", 255), simple); a.status != 200 {
		t.Errorf("a key of 255: %d %s", a.status, a.raw)
	}
	wantError(t, r.keyed("/email/batch", "a b", "["+simple+"]"), 422, int(api.CodeRequestKey))
}

// A batch whose first items are refused holds its key all the same.
func TestIdempotency_BatchWhoseFirstIsRefused(t *testing.T) {
	r := newRig(t, rigOptions{})
	const refused = `{"From":"a@x.example"}`
	body := "[" + refused + "," + refused + "," + simple + "," + simple + "]"
	first := r.keyed("/email/batch", "k", body)
	if again := r.keyed("/email/batch", "k", body); first.status != 200 || again.raw != first.raw {
		t.Errorf("again: %s, want %s", again.raw, first.raw)
	}
	for path, other := range map[string]string{"/email": simple, "/email/batch": "[" + simple + "]"} {
		wantError(t, r.keyed(path, "k", other), 422, int(api.CodeRequestKey))
	}
	wantError(t, r.keyed("/email/batch", "k", strings.Replace(body, `"s"`, `"other"`, 1)), 422, int(api.CodeRequestKey))
	if n := r.stored(); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

// What was refused and is not any more joins the rest.
func TestIdempotency_BatchWhoseFirstIsTakenLater(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.stream("broadcast", func(s *store.Stream) { s.IntakePaused = true })
	body := "[" + strings.Replace(simple, "{", `{"MessageStream":"broadcast",`, 1) + "," + simple + "]"
	first := r.keyed("/email/batch", "k", body)
	r.stream("broadcast", func(s *store.Stream) { s.IntakePaused = false })
	second := r.keyed("/email/batch", "k", body)
	if third := r.keyed("/email/batch", "k", body); second.raw == first.raw || third.raw != second.raw || strings.Contains(third.raw, "1236") {
		t.Errorf("answers\n%s\n%s\n%s", first.raw, second.raw, third.raw)
	}
	if n := r.stored(); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

func TestIdempotency_BatchesAtOnce(t *testing.T) {
	r := newRig(t, rigOptions{})
	bodies := make([]string, 16)
	for i := range bodies { // of two requests one has the key
		bodies[i] = `[{"From":"a@x.example"},` + simple + "," + strings.Replace(simple, `"s"`, `"`+strconv.Itoa(i%2)+`"`, 1) + "," + simple + "]"
	}
	answers := make([]answer, len(bodies))
	var all sync.WaitGroup
	for i := range bodies {
		all.Go(func() { answers[i] = r.keyed("/email/batch", "k", bodies[i]) })
	}
	all.Wait()
	taken := map[string]int{}
	for _, a := range answers {
		if a.status == 200 {
			taken[a.raw]++
			continue
		}
		wantError(t, a, 422, int(api.CodeRequestKey))
	}
	if len(taken) != 1 {
		t.Errorf("different answers to one request: %v", taken)
	}
	if n := r.stored(); n != 3 {
		t.Errorf("%d messages are stored, want 3", n)
	}
}
