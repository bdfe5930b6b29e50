package relay_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestSend_OwnFaultsStayHere: a message that cannot be opened or read, or whose end cannot be recorded, is no better off by
// another route, and says nothing against the one that was taken.
func TestSend_OwnFaultsStayHere(t *testing.T) {
	disk := errors.New("input/output error")
	for name, spoil := range map[string]func(*relay.Job){
		"open": func(j *relay.Job) { j.Open = func(context.Context) (io.ReadCloser, error) { return nil, disk } },
		"read": func(j *relay.Job) {
			j.Open = func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\r\n"), broken{disk})), nil
			}
		},
		"ending": func(j *relay.Job) { j.Ending = func(context.Context, string) error { return disk } },
	} {
		t.Run(name, func(t *testing.T) {
			o, first, _ := smarthost(t, testmx.Script{}, store.TLSNone)
			other := first
			other.Host = "other.test"
			j := job("b@example.test")
			j.Route, j.Alternates = first, []store.Route{other}
			j.Board = func(store.Route, int) bool { t.Error("another route was asked for"); return false }
			spoil(&j)
			r := transport(t, o).Send(t.Context(), j)[0]
			if r.Verdict() != relay.Temporary || !errors.Is(r.Err, disk) || r.Reply.Enhanced != [3]int{4, 3, 0} || r.Reply.Command != "body" || r.Reply.Text == "" {
				t.Errorf("result = %+v", r)
			}
		})
	}
}

// broken is a reader that fails.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
