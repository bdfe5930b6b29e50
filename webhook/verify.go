package webhook

import (
	"context"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Bounds of verifications, which clients cause at will.
const (
	maxVerify  = 8
	verifyTime = 20 * time.Second
)

// Verify posts a sample event of each kind that the webhook wants, all at once
// and each once, and says within 20 seconds how each was answered. The webhook
// need not be stored.
func (s *Sender) Verify(ctx context.Context, w store.Webhook, secrets store.WebhookSecrets) []store.WebhookVerification {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	wanted := w.Triggers.List()
	out := make([]store.WebhookVerification, len(wanted))
	busy := s.verify.Acquire(ctx, 1)
	if busy == nil {
		defer s.verify.Release(1)
	}
	var all sync.WaitGroup
	for i, t := range wanted {
		all.Go(func() {
			a := answer{err: busy}
			if busy == nil {
				a = s.sample(ctx, t, w, secrets)
			}
			out[i] = store.WebhookVerification{Trigger: t, OK: a.err == nil && a.status/100 == 2, Status: a.status, Text: explain(a)}
		})
	}
	all.Wait()
	return out
}

func (s *Sender) sample(ctx context.Context, t store.Trigger, w store.Webhook, secrets store.WebhookSecrets) answer {
	body, err := encode(sample(t, w, s.opts.Now()))
	if err != nil {
		return answer{err: err}
	}
	return s.poster.post(ctx, &letter{url: w.URL, secrets: secrets, id: store.NewID().String(), body: body})
}

// CheckURL tells whether a webhook can have the URL. internal is set where only
// its address stands against it.
func (s *Sender) CheckURL(raw string) (internal bool, err error) { return s.opts.Guard.Refuses(raw) }

// CheckHeaders tells whether a webhook can have the header fields.
func (s *Sender) CheckHeaders(fields []store.HeaderField) error { return CheckHeaders(fields) }

// NewKey returns a fresh signing key.
func (s *Sender) NewKey() []byte { return NewKey() }

// FormatKey returns a signing key as receivers get it.
func (s *Sender) FormatKey(key []byte) string { return FormatKey(key) }

// sample is an event that never happened: its message has an ID of zeros.
func sample(t store.Trigger, w store.Webhook, now time.Time) any {
	id, tag := store.ID{}.String(), "example"
	c := common{RecordType: t, MessageStream: w.Stream, MessageID: &id, ServerID: w.Server, Tag: &tag, Metadata: map[string]string{"example": "yes"}}
	const who = "john@example.com"
	switch t {
	case store.TriggerDelivery:
		return deliveryPayload{c, who, stamp(now), "Test delivery webhook details"}
	case store.TriggerBounce, store.TriggerSpamComplaint:
		e := store.Event{At: now, Kind: store.EventBounced, Recipient: who, Bounce: "HardBounce"}
		if t == store.TriggerSpamComplaint {
			e.Bounce = "SpamComplaint"
		}
		return sampleBounce(c, &e)
	case store.TriggerSubscriptionChange:
		s := store.Suppression{Address: who, Reason: store.SuppressedHardBounce, Origin: store.OriginRecipient, Created: now}
		return changed(&store.SuppressionChange{Suppression: s}, c)
	}
	return sampleTracking{
		common: c, Recipient: who, ReceivedAt: stamp(now), Platform: "Desktop", UserAgent: "Example/1.0", OriginalLink: link(t), ClickLocation: location(t), FirstOpen: t == store.TriggerOpen,
		Client: family{"Example", "Example", "Example"}, OS: family{"Example", "Example", "Example"},
	}
}
