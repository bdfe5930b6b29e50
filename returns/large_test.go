package returns_test

import (
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/store"
)

// TestLargeReportsAtOnce: what comes is read whole, and whoever was sent a tag can send as much as fits, as slowly as
// the limits let him, over as many connections. Of what is beyond that many, the beginning alone is read.
func TestLargeReportsAtOnce(t *testing.T) {
	const atOnce, large = 32, 100 << 10
	w := newWorld(t, nil)
	desk, err := returns.NewDesk(w.db, returns.Options{Host: host, Hostname: "relay.example.com", Tags: w.tags, Suppressor: w, Now: w.clock})
	w.must(err)
	submit := func(id store.ID, content io.Reader) {
		to := message.Address{Local: strings.TrimSuffix(w.tags.Mint(host, id, 0), "@"+host), Domain: host}
		if _, err := desk.Submit(t.Context(), intake.Envelope{Recipients: []intake.Recipient{{Address: to.String()}}}, content); err != nil {
			t.Error(err)
		}
	}
	late := strings.ReplaceAll(dsn("user@example.org", "failed", "5.1.1", "550 5.1.1 no such user"), "Sorry.\n", strings.Repeat("Sorry, this takes long.\n", large/24))
	var stalled sync.WaitGroup
	var ends []*io.PipeWriter
	for range atOnce {
		r, end := io.Pipe()
		ends = append(ends, end)
		stalled.Go(func() { submit(w.sent(nil), r) })
		if _, err := io.WriteString(end, strings.Repeat("a\r\n", large/3)); err != nil {
			t.Fatal(err)
		}
	}
	cut, whole := w.sent(nil), w.sent(nil)
	submit(cut, strings.NewReader(strings.ReplaceAll(late, "\n", "\r\n")))
	for _, end := range ends {
		w.must(end.Close())
	}
	stalled.Wait()
	submit(whole, strings.NewReader(strings.ReplaceAll(late, "\n", "\r\n")))
	for id, want := range map[store.ID]int{cut: 0, whole: 550} {
		if got := w.record(id).Deliveries[0].Recipients[0].Last.Code; got != want {
			t.Errorf("the code of the report is %d, want %d", got, want)
		}
	}
}
