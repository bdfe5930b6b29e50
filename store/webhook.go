package store

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MaxWebhooks is how many webhooks a stream can have.
const MaxWebhooks = 10

// Webhook is an address that the events of one stream are sent to.
type Webhook struct {
	ID     int64  `json:"id"`
	Server int64  `json:"server"`
	Stream string `json:"stream"`
	// URL is where to, without user and password: those are sealed.
	URL      string   `json:"url"`
	Triggers Triggers `json:"triggers"`
	// Sealed holds the WebhookSecrets, under the key file.
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

// Triggers are the events that a webhook wants.
type Triggers struct {
	Open               bool `json:"open,omitempty"`
	FirstOpenOnly      bool `json:"first_open_only,omitempty"`
	Click              bool `json:"click,omitempty"`
	Delivery           bool `json:"delivery,omitempty"`
	Bounce             bool `json:"bounce,omitempty"`
	BounceContent      bool `json:"bounce_content,omitempty"` // with what came back
	SpamComplaint      bool `json:"spam_complaint,omitempty"`
	ComplaintContent   bool `json:"complaint_content,omitempty"` // likewise
	SubscriptionChange bool `json:"subscription_change,omitempty"`
}

// Trigger is a kind of event by the name that Postmark gives it.
type Trigger string

// The triggers, in the order in which clients see them.
const (
	TriggerOpen               Trigger = "Open"
	TriggerClick              Trigger = "Click"
	TriggerDelivery           Trigger = "Delivery"
	TriggerBounce             Trigger = "Bounce"
	TriggerSpamComplaint      Trigger = "SpamComplaint"
	TriggerSubscriptionChange Trigger = "SubscriptionChange"
)

// Wants tells whether events of a kind are wanted.
func (t Triggers) Wants(k Trigger) bool {
	switch k {
	case TriggerOpen:
		return t.Open
	case TriggerClick:
		return t.Click
	case TriggerDelivery:
		return t.Delivery
	case TriggerBounce:
		return t.Bounce
	case TriggerSpamComplaint:
		return t.SpamComplaint
	case TriggerSubscriptionChange:
		return t.SubscriptionChange
	}
	return false
}

// List returns the events that are wanted.
func (t Triggers) List() (out []Trigger) {
	for _, k := range []Trigger{TriggerOpen, TriggerClick, TriggerDelivery, TriggerBounce, TriggerSpamComplaint, TriggerSubscriptionChange} {
		if t.Wants(k) {
			out = append(out, k)
		}
	}
	return out
}

// Trigger returns which trigger an event of a message's timeline is, "" for
// none.
func (e Event) Trigger() Trigger {
	switch {
	case e.Bounce == string(TriggerSpamComplaint):
		return TriggerSpamComplaint
	case e.Bounce != "":
		return TriggerBounce
	case e.Kind == EventSent || e.Kind == EventCaptured:
		return TriggerDelivery
	}
	return ""
}

// WebhookSecrets is what only the receiver of a webhook and we may know. Printing
// and logging show nothing of it.
type WebhookSecrets struct {
	Userinfo string        `json:"userinfo,omitempty"` // of the URL, as it was written
	Username string        `json:"username,omitempty"`
	Password string        `json:"password,omitempty"`
	Headers  []HeaderField `json:"headers,omitempty"`
	// Key signs what is sent. OldKey signs too until OldUntil.
	Key      []byte    `json:"key"`
	OldKey   []byte    `json:"old_key,omitempty"`
	OldUntil time.Time `json:"old_until,omitzero"`
}

// HeaderField is a field of a request.
type HeaderField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const hiddenSecrets = "secrets of a webhook"

// String says what it is, and not what is in it.
func (WebhookSecrets) String() string { return hiddenSecrets }

// Format prints String for every verb.
func (WebhookSecrets) Format(f fmt.State, _ rune) { io.WriteString(f, hiddenSecrets) } // never fails

// LogValue implements slog.LogValuer with String.
func (WebhookSecrets) LogValue() slog.Value { return slog.StringValue(hiddenSecrets) }

// FullURL is the URL as the client gave it, with user and password.
func (s WebhookSecrets) FullURL(clean string) string {
	if scheme, rest, ok := strings.Cut(clean, "://"); ok && s.Userinfo != "" {
		return scheme + "://" + s.Userinfo + "@" + rest
	}
	return clean
}

// WebhookVerification is how an endpoint answered a sample event.
type WebhookVerification struct {
	Trigger Trigger `json:"trigger"`
	OK      bool    `json:"ok"`
	Status  int     `json:"status,omitempty"` // of HTTP; 0 where no answer came
	Text    string  `json:"text"`             // for people, without secrets
}

// Notification is one event on its way to one webhook.
type Notification struct {
	// ID names the event to the receiver. It is the same in every try, after a
	// crash and after a replay, and no other event of any webhook has it.
	ID ID `json:"id"`
	// Key names the notification to the engine; it is opaque.
	Key     string  `json:"key"`
	Webhook int64   `json:"webhook"`
	Server  int64   `json:"server"`
	Stream  string  `json:"stream"`
	Trigger Trigger `json:"trigger"`
	// Message is what the event is about; zero where it is about no message.
	Message ID `json:"message,omitzero"`
	// Event is that of the message's timeline. It is not set with Change.
	Event Event `json:"event,omitzero"`
	// Change is set with TriggerSubscriptionChange. Where Removed is set the
	// address was taken off the list.
	Change *SuppressionChange `json:"change,omitempty"`

	Attempt int       `json:"attempt"` // tries made: the fencing number
	Due     time.Time `json:"due"`
	Last    Try       `json:"last,omitzero"`
	Dead    time.Time `json:"dead,omitzero"` // when it was given up
}

// At returns when the event happened.
func (n Notification) At() time.Time {
	switch {
	case n.Change == nil:
		return n.Event.At
	case n.Change.Removed.IsZero():
		return n.Change.Created
	}
	return n.Change.Removed
}

// Try is how an attempt to send a notification ended.
type Try struct {
	At     time.Time `json:"at"`
	Status int       `json:"status,omitempty"` // of HTTP; 0 where no answer came
	Error  string    `json:"error,omitempty"`  // for people, without secrets
}

// NotificationOutcome is what becomes of a notification after a try.
type NotificationOutcome int

// The outcomes. One that is dead stays until it is replayed or swept away.
const (
	NotificationDone NotificationOutcome = iota
	NotificationAgain
	NotificationDead
)

// NotificationResult ends a try.
type NotificationResult struct {
	Webhook int64
	Key     string
	Attempt int // as it was claimed: the fence
	Outcome NotificationOutcome
	Try     Try
	Due     time.Time // of the next try, with NotificationAgain
}

// NotificationQueue is what waits for one webhook.
type NotificationQueue struct {
	Webhook int64     `json:"webhook"`
	Waiting int       `json:"waiting"`
	Dead    int       `json:"dead"`
	Oldest  time.Time `json:"oldest,omitzero"`   // event among those that are due first
	NextDue time.Time `json:"next_due,omitzero"` // of all that wait
	Last    Try       `json:"last,omitzero"`     // newest failure among those that are due first or died last
}

// NotificationLimits say what is kept.
type NotificationLimits struct {
	DeadSince time.Time // those that died before are forgotten
	Waiting   int       // of one webhook; the oldest become dead
	Dead      int       // of one webhook; the oldest are forgotten
}

// Notifications is the queue of events for webhooks. An event of a message that
// was recorded, and a change of a suppression list, is queued once for each
// webhook that its stream has for it: within a second, or where a crash comes
// first by the next opening. No kill can lose one.
//
// Notifications of one webhook about one message are in order, and so are those
// about one address on a list: the second becomes due when the first is done
// or dead.
type Notifications interface {
	// WatchNotifications calls fn with webhooks for which something waits: those
	// at the start, and then each for which something was added or became the
	// next of its order. They are hints and may repeat. It returns when ctx ends
	// or the engine closes. fn must not call the engine.
	WatchNotifications(ctx context.Context, fn func(webhooks []int64)) error
	// ClaimNotifications takes up to limit notifications for one try each until
	// lease: those that are due longest, and at their end those whose time comes
	// of a clock that was more than a minute ahead of now. No other call returns
	// them before. A lease need not survive a crash. next is when more is due:
	// now or before when more is due already, zero when nothing waits.
	ClaimNotifications(ctx context.Context, webhook int64, now, lease time.Time, limit int) (out []Notification, next time.Time, err error)
	// SettleNotifications records the results of tries, all or none. Those whose
	// notification is gone or was tried by somebody else meanwhile change nothing.
	SettleNotifications(ctx context.Context, results ...NotificationResult) error
	// NotificationQueues counts what waits for the webhooks, without any for all
	// that there are, in the order of their numbers.
	NotificationQueues(ctx context.Context, webhooks ...int64) ([]NotificationQueue, error)
	// DeadNotifications returns up to limit notifications of a webhook that were
	// given up, newest first, beginning after the cursor ("" for the start), and
	// the cursor of the next page, "" at the end.
	DeadNotifications(ctx context.Context, webhook int64, cursor string, limit int) ([]Notification, string, error)
	// ReplayNotifications queues dead notifications again, those with the keys or
	// without any all, and returns how many. It may be interrupted between two.
	ReplayNotifications(ctx context.Context, webhook int64, now time.Time, keys ...string) (int, error)
	// SweepNotifications forgets what is of no more use: what is queued for
	// webhooks that are gone, and what is beyond the limits.
	SweepNotifications(ctx context.Context, now time.Time, limits NotificationLimits) (int, error)
}

// WebhooksOf returns the webhooks of a server, sorted by number.
func (s *Snapshot) WebhooksOf(server int64) []Webhook {
	var out []Webhook
	for _, w := range s.Webhooks {
		if w.Server == server {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b Webhook) int { return int(a.ID - b.ID) })
	return out
}

const maxURL = 2000

func (s *Snapshot) checkWebhook(w Webhook) error {
	stream, ok := s.Streams[StreamKey{w.Server, w.Stream}]
	if !ok {
		return fmt.Errorf("stream %q: %w", w.Stream, ErrNotFound)
	}
	if !stream.Outbound() {
		return invalid("webhook stream", "%q is inbound; it has no events of this kind", w.Stream)
	}
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.User != nil || len(w.URL) > maxURL || u.Scheme != "https" && u.Scheme != "http" {
		return invalid("webhook url", "is no http or https URL without user of at most %d octets", maxURL)
	}
	if len(w.Sealed) == 0 {
		return invalid("webhook", "has no signing key")
	}
	n := 0
	for _, o := range s.Webhooks {
		if o.ID == w.ID && (o.Server != w.Server || o.Stream != w.Stream) {
			return invalid("webhook stream", "cannot be changed")
		}
		if o.ID != w.ID && o.Server == w.Server && o.Stream == w.Stream {
			n++
		}
	}
	if n >= MaxWebhooks {
		return fmt.Errorf("a stream has at most %d webhooks: %w", MaxWebhooks, ErrLimit)
	}
	return nil
}
