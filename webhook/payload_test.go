package webhook

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

var update = flag.Bool("update", false, "write testdata anew")

var bounceID = regexp.MustCompile(`"ID": [1-9][0-9]*`)

// TestPayload_Golden: the bodies are part of the interface.
func TestPayload_Golden(t *testing.T) {
	r := newRig(t, store.Webhook{ID: 1, URL: "https://x.example", Triggers: allTriggers})
	m := r.mail("s0", "ada@example.org")
	at := time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
	refused := store.Event{At: at, Kind: store.EventBounced, Recipient: "ada@example.org", Bounce: "HardBounce",
		Reply: store.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no <such> user", Host: "mx.example.org", Command: "rcpt"}}
	complaint := store.Event{At: at, Kind: store.EventComplaint, Recipient: "bob@example.org", Bounce: "SpamComplaint", Detail: "complaint as arf", Notice: m.ID}
	listed := store.Suppression{Server: 1, Stream: "s0", Address: "ada@example.org", Reason: store.SuppressedHardBounce, Origin: store.OriginRecipient, Created: at, Message: m.ID}
	said := listed
	said.Address, said.Reason = "bob@example.org", store.SuppressedSpamComplaint
	if _, err := r.Suppress(t.Context(), listed, said); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]store.Notification{
		"delivery": {Trigger: store.TriggerDelivery, Message: m.ID, Event: store.Event{At: at, Kind: store.EventSent, Recipient: "ada@example.org",
			Reply: store.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "queued as 4711"}}},
		"captured":   {Trigger: store.TriggerDelivery, Message: m.ID, Event: store.Event{At: at, Kind: store.EventCaptured, Recipient: "ada@example.org", Detail: "kept by the stream"}},
		"bounce":     {Trigger: store.TriggerBounce, Message: m.ID, Event: refused},
		"complaint":  {Trigger: store.TriggerSpamComplaint, Message: m.ID, Event: complaint},
		"suppressed": {Trigger: store.TriggerSubscriptionChange, Message: m.ID, Change: &store.SuppressionChange{Suppression: listed}},
		"by-hand": {Trigger: store.TriggerSubscriptionChange, Change: &store.SuppressionChange{
			Suppression: store.Suppression{Address: "eve@example.org", Reason: store.SuppressedManually, Origin: store.OriginCustomer, Created: at}}},
		"reactivated": {Trigger: store.TriggerSubscriptionChange, Change: &store.SuppressionChange{Suppression: listed, Removed: at, RemovedBy: "operator"}},
		"forgotten":   {Trigger: store.TriggerBounce, Message: store.ID{1}, Event: refused},
	} {
		t.Run(name, func(t *testing.T) {
			n.Server, n.Stream = 1, "s0"
			got, err := payload(t.Context(), r, &n, allTriggers)
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", "  "); err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", name+".json"), bytes.ReplaceAll(append(pretty.Bytes(), '\n'), []byte(m.ID.String()), []byte("MESSAGE")))
		})
	}
}

// compare holds what is made to a golden file. The numbers of bounces of a message made
// now differ from run to run.
func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	got = bounceID.ReplaceAll(got, []byte(`"ID": 1`))
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
	}
}
