package relay_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// TestRoutes_RestEndsAfterAllRested: a route that was tried while all were at rest, and failed again, is asked once its rest
// is over.
func TestRoutes_RestEndsAfterAllRested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, q := newByRoute(), newQueue()
		d := newDirectory(t, withRoutes("outbound", routeTo("a.test"), routeTo("b.test")))
		disp, _ := start(t, q, d, relay.Options{Transport: tr, Policy: relay.Policy{Schedule: []time.Duration{10 * time.Minute}, Jitter: -1}})
		bad := relay.Result{Reply: store.Reply{Code: 535, Text: "no", Command: "auth", Host: "x"}}
		tr.set("a.test", &bad)
		tr.set("b.test", &bad)
		for range 3 {
			submitMany(q, "outbound", 1, 1)
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		submitMany(q, "outbound", 1, 1) // by the first, since both are at rest
		synctest.Wait()
		tr.set("a.test", nil)
		tr.set("b.test", nil)
		time.Sleep(time.Hour)
		submitMany(q, "outbound", 3, 1)
		synctest.Wait()
		if s := disp.Routes(store.StreamKey{Server: 1, Stream: "outbound"}); s[0].Why != "" || s[0].Used < 3 || q.unfinished() != 0 {
			t.Errorf("Routes = %+v with %d left, want the first to be used again", s, q.unfinished())
		}
	})
}
