package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// hookedT makes server 1 with a webhook 9 of its stream outbound.
func hookedT(t testing.TB, s *Store) {
	t.Helper()
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "one", DeliveryType: store.Live}}}
	for _, stream := range store.DefaultStreams(1, store.ModeLive, moment) {
		changes = append(changes, store.Change{Stream: &stream})
	}
	changes = append(changes, store.Change{Webhook: &store.Webhook{
		ID: 9, Server: 1, Stream: "outbound", URL: "https://x.example", Sealed: []byte{1}, Triggers: store.Triggers{Delivery: true, SubscriptionChange: true},
	}})
	if _, err := s.Change(t.Context(), 0, changes...); err != nil {
		t.Fatal(err)
	}
}

// farAhead is when all that the tests queue is due.
var farAhead = time.Now().Add(24 * time.Hour)

func claimT(t testing.TB, s *Store, webhook int64) []store.Notification {
	t.Helper()
	got, _, err := s.ClaimNotifications(t.Context(), webhook, farAhead, farAhead.Add(time.Minute), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func settleT(t testing.TB, s *Store, n store.Notification, o store.NotificationOutcome) {
	t.Helper()
	err := s.SettleNotifications(t.Context(), store.NotificationResult{Webhook: n.Webhook, Key: n.Key, Attempt: n.Attempt, Outcome: o, Try: store.Try{At: farAhead}})
	if err != nil {
		t.Fatal(err)
	}
}

// slowView has no checkpoint but those that the test makes.
func slowView() Options {
	o := smallOptions()
	o.CheckpointEvery = time.Hour
	return o
}

// TestRebuild_Notifications: what was sent is not queued again, what waited and
// was dead stays so, and what the old view had yet to see is queued.
func TestRebuild_Notifications(t *testing.T) {
	dir := t.TempDir()
	s := openT(t, dir, slowView())
	hookedT(t, s)
	gone, waits, dead, tail := acceptT(t, s, 10), acceptT(t, s, 10), acceptT(t, s, 10), acceptT(t, s, 10)
	for _, id := range []store.ID{gone, waits, dead} {
		deliverT(t, s, id)
	}
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	ids := map[store.ID]store.ID{}
	for _, n := range claimT(t, s, 9) {
		ids[n.Message] = n.ID
		switch n.Message {
		case gone:
			settleT(t, s, n, store.NotificationDone)
		case dead:
			settleT(t, s, n, store.NotificationDead)
		}
	}
	deliverT(t, s, tail)
	crashed := t.TempDir()
	copyDir(t, dir, crashed)
	r, err := Rebuild(t.Context(), crashed, slowView())
	if err != nil || len(r.Lost) != 0 || r.Notifications != 2 {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	s = openT(t, crashed, slowView())
	got := claimT(t, s, 9)
	if len(got) != 2 {
		t.Fatalf("notifications = %+v", got)
	}
	for _, n := range got {
		if n.Message != waits && n.Message != tail || n.Message == waits && n.ID != ids[waits] {
			t.Errorf("notification %+v", n)
		}
	}
	all, _, err := s.DeadNotifications(t.Context(), 9, "", 10)
	if err != nil || len(all) != 1 || all[0].Message != dead || all[0].ID != ids[dead] {
		t.Errorf("dead = %+v, %v", all, err)
	}
	_, err = s.Suppress(t.Context(), store.Suppression{Server: 1, Stream: "outbound", Address: "a@b.example", Reason: store.SuppressedManually, Origin: store.OriginAdmin, Created: moment})
	if err != nil {
		t.Fatal(err)
	}
	if more := claimT(t, s, 9); len(more) != 1 {
		t.Errorf("after the rebuild: %+v", more)
	}
	checkT(t, s)
}

// TestRebuild_NotificationsAheadOfThePosition: while a write is under way, the view
// has more than its position says, and what it has queued of that is not queued again.
func TestRebuild_NotificationsAheadOfThePosition(t *testing.T) {
	dir := t.TempDir()
	s := openT(t, dir, slowView())
	hookedT(t, s)
	id := acceptT(t, s, 10)
	under, err := s.over.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deliverT(t, s, id)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	for _, n := range claimT(t, s, 9) {
		settleT(t, s, n, store.NotificationDone)
	}
	crashed := t.TempDir()
	copyDir(t, dir, crashed)
	s.over.finish(under)
	if r, err := Rebuild(t.Context(), crashed, slowView()); err != nil || len(r.Lost) != 0 {
		t.Fatalf("Rebuild = %+v, %v", r, err)
	}
	again := openT(t, crashed, slowView())
	if got := claimT(t, again, 9); len(got) != 0 {
		t.Errorf("queued again: %+v", got)
	}
	checkT(t, again)
}

// TestCheckpoint_FailedKeepsNews: what a checkpoint could not write is queued by
// the next one, once, together with what came meanwhile.
func TestCheckpoint_FailedKeepsNews(t *testing.T) {
	s := openT(t, t.TempDir(), slowView())
	hookedT(t, s)
	first, second := acceptT(t, s, 10), acceptT(t, s, 10)
	deliverT(t, s, first)
	b := s.over.take()
	if err := s.Return(t.Context(), store.Return{Message: first, Was: store.Sent, State: store.Sent, Events: []store.Event{{At: moment, Kind: store.EventSent}}}); err != nil {
		t.Fatal(err)
	}
	s.over.settle(b, errors.New("no space"))
	b = s.over.take()
	s.over.settle(b, errors.New("no space"))
	deliverT(t, s, second)
	for range 2 {
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.NotificationQueues(t.Context())
	if err != nil || len(all) != 1 || all[0].Waiting != 3 {
		t.Errorf("queues = %+v, %v, want three that wait", all, err)
	}
	checkT(t, s)
}

// TestEvacuation_TellsNothing: a message that is copied to the journal's end has
// no new events.
func TestEvacuation_TellsNothing(t *testing.T) {
	s := openT(t, t.TempDir(), slowView())
	hookedT(t, s)
	id := acceptT(t, s, 10)
	deliverT(t, s, id)
	st, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.move(t.Context(), id, st.places[0].segment); err != nil {
		t.Fatal(err)
	}
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := s.move(t.Context(), id, st.places[0].segment); err != nil {
		t.Fatal(err)
	}
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if got := claimT(t, s, 9); len(got) != 1 {
		t.Errorf("notifications = %+v, want one", got)
	}
}

// TestNotifications_Damage: one that cannot be read is lost, and holds up neither
// the others nor the mail.
func TestNotifications_Damage(t *testing.T) {
	s := openT(t, t.TempDir(), slowView())
	hookedT(t, s)
	first, second := acceptT(t, s, 10), acceptT(t, s, 10)
	deliverT(t, s, first)
	deliverT(t, s, second)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	err := s.db.write(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketHook)
		k, v := b.Cursor().First()
		v = bytes.Clone(v)
		v[len(v)-1] ^= 1
		return b.Put(bytes.Clone(k), v)
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || r.OK() {
		t.Errorf("Check = %+v, %v, want a problem", r, err)
	}
	if got := claimT(t, s, 9); len(got) != 1 || got[0].Message != second {
		t.Errorf("notifications = %+v", got)
	}
	if err := s.Healthy(); err != nil {
		t.Error(err)
	}
	checkT(t, s)
}

func FuzzDecodeNotification(f *testing.F) {
	n := store.Notification{ID: store.NewID(), Server: 1, Stream: "outbound", Trigger: store.TriggerBounce, Message: store.NewID(), Event: store.Event{At: moment, Kind: store.EventBounced, Bounce: "HardBounce", Recipient: "a@b.example"}, Attempt: 3, Due: moment}
	f.Add(encodeNotification(&n)[5:])
	n.Change = &store.SuppressionChange{Suppression: store.Suppression{Address: "a@b.example", Reason: store.SuppressedManually}, Removed: moment}
	n.Last = store.Try{At: moment, Status: 500, Error: "x"}
	f.Add(encodeNotification(&n)[5:])
	f.Fuzz(func(t *testing.T, text []byte) {
		v := append([]byte{notificationFormat, 0, 0, 0, 0}, text...)
		binary.BigEndian.PutUint32(v[1:], crc32.Checksum(text, castagnoli))
		n, err := decodeNotification(v)
		if err != nil {
			return
		}
		again, err := decodeNotification(encodeNotification(&n))
		if err != nil || notificationID(1, &n) != notificationID(1, &again) {
			t.Errorf("decoded %+v, encoded and decoded again %+v, %v", n, again, err)
		}
	})
}
