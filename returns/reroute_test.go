package returns_test

import (
	"slices"
	"testing"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// rerouted is a message of "outbound" of which the first delivery was rerouted to "spare", and sent from there.
func (w *world) rerouted() store.ID {
	w.Helper()
	server := int64(1)
	spare := store.Stream{Server: server, ID: "spare", Kind: store.Transactional, Mode: store.ModeLive}
	_, err := w.db.Change(w.Context(), w.db.Snapshot().Revision, store.Change{Stream: &spare})
	w.must(err)
	id := w.queued()
	n, err := w.db.Alter(w.Context(), store.Alteration{Amendment: store.Reroute, By: "ada", At: w.clock(), Stream: "spare"}, store.DeliveryID{Message: id})
	if err != nil || n != 1 {
		w.Fatal(n, err)
	}
	claimed := w.handOver(id)
	claimed.Delivery.Recipients[0].State = store.Sent
	w.must(w.db.Resolve(w.Context(), store.Resolution{Delivery: claimed.Delivery, Events: []store.Event{{At: w.clock(), Kind: store.EventSent, Recipient: "nobody@example.org"}}}))
	return id
}

// TestListOfReroutedMail: what a host says counts for the stream that sent, and what a person says for the one that they got
// the mail from as well. The notice leaves by the stream that sent.
func TestListOfReroutedMail(t *testing.T) {
	w := newWorld(t, nil)
	id := w.rerouted()
	tag := w.tags.Mint(host, id, 0)
	w.deliver("fbl@isp.example", tag, arf(tag), "250 ")
	w.deliver("", tag, dsn("nobody@example.org", "failed", "5.1.1", "550 5.1.1 no such user"), "250 ")
	w.deliver("", w.tags.Mint(host, id, 1), dsn("other@example.net", "failed", "5.1.1", "550 5.1.1 no such user"), "250 ")
	var got []string
	for _, s := range w.listed {
		got = append(got, listing(s))
	}
	want := []string{"spare nobody@example.org SpamComplaint", "outbound nobody@example.org SpamComplaint", "spare nobody@example.org HardBounce", "outbound other@example.net HardBounce"}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	notices := w.list(store.Filter{Stream: "spare"})
	if len(notices) != 1 || !notices[0].Message.Bounce || notices[0].Message.About != id {
		t.Errorf("messages of the stream that sent: %+v", notices)
	}
}

func listing(s relay.Suppression) string { return s.Stream + " " + s.Address + " " + string(s.Reason) }
