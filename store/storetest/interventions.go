package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/store"
)

var interventionTests = []test{
	{"NewestFirst", interventionOrder},
	{"NotesStay", notesStay},
}

func interventionOrder(e *env) {
	if got, err := e.ListInterventions(e.ctx(), 10); err != nil || len(got) != 0 {
		e.Errorf("ListInterventions of an empty log = %v, %v", got, err)
	}
	var want []store.Intervention
	for i := range 5 {
		entry := store.Intervention{At: at(time.Duration(i) * time.Second), By: "ada", What: "pause", On: fmt.Sprintf("stream outbound %d", i), Count: i, Why: "ö\n"}
		e.must(e.Intervened(e.ctx(), entry))
		want = append([]store.Intervention{entry}, want...)
	}
	e.reopen()
	for limit, n := range map[int]int{0: 0, 2: 2, 100: 5} {
		got, err := e.ListInterventions(e.ctx(), limit)
		if err != nil || len(got) != n {
			e.Errorf("ListInterventions(%d) = %d entries, %v", limit, len(got), err)
		}
		if d := cmp.Diff(want[:n], got); n > 0 && d != "" {
			e.Errorf("ListInterventions(%d): %s", limit, d)
		}
	}
}

func notesStay(e *env) {
	if got, err := e.Note(e.ctx(), "quota"); err != nil || got != nil {
		e.Errorf("a note that was never set = %q, %v", got, err)
	}
	e.must(e.SetNote(e.ctx(), "quota", []byte("one")))
	e.must(e.SetNote(e.ctx(), "quota", []byte("two")))
	e.must(e.SetNote(e.ctx(), "other", nil))
	e.reopen()
	for name, want := range map[string]string{"quota": "two", "other": ""} {
		if got, err := e.Note(e.ctx(), name); err != nil || string(got) != want {
			e.Errorf("Note(%s) = %q, %v, want %q", name, got, err, want)
		}
	}
	e.wantErr("a name that is too long", e.SetNote(e.ctx(), strings.Repeat("x", 300), nil), store.ErrInvalid)
	e.wantErr("a value that is too long", e.SetNote(e.ctx(), "x", make([]byte, store.MaxNote+1)), store.ErrInvalid)
}
