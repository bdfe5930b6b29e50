package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

// Mail is where payloads get from what a notification only names.
type Mail interface {
	Record(ctx context.Context, id store.ID) (store.Record, error)
	Body(ctx context.Context, id store.ID) (io.ReadCloser, error)
	Suppressed(ctx context.Context, server int64, stream string, addresses ...string) ([]store.Suppression, error)
}

// common is what every payload has.
type common struct {
	RecordType    store.Trigger
	MessageStream string
	MessageID     *string
	ServerID      int64
	Tag           *string
	Metadata      map[string]string
}

type deliveryPayload struct {
	common
	Recipient   string
	DeliveredAt string
	Details     string
}

type bouncePayload struct {
	common
	ID            int64
	Type          bounce.Type
	TypeCode      int
	Name          string
	Description   string
	Details       string
	Email         string
	From          string
	BouncedAt     string
	DumpAvailable bool
	Inactive      bool
	CanActivate   bool
	Subject       string
	Content       *string `json:",omitempty"`
}

type changePayload struct {
	common
	ChangedAt         string
	Recipient         string
	Origin            store.SuppressionOrigin
	SuppressSending   bool
	SuppressionReason *store.SuppressionReason
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// payload is the body for a notification, in Postmark's shapes. A message that
// retention has taken meanwhile leaves its fields empty.
func payload(ctx context.Context, mail Mail, n *store.Notification, t store.Triggers) ([]byte, error) {
	var r store.Record
	if !n.Message.IsZero() {
		var err error
		if r, err = mail.Record(ctx, n.Message); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("reading message %s: %w", n.Message, err)
		}
	}
	c := commonOf(n, &r.Message)
	switch n.Trigger {
	case store.TriggerDelivery:
		return encode(deliveryPayload{c, n.Event.Recipient, stamp(n.Event.At), n.Event.Diagnostic()})
	case store.TriggerBounce, store.TriggerSpamComplaint:
		p, err := bounced(ctx, mail, n, &r, c, t)
		if err != nil {
			return nil, err
		}
		return encode(p)
	case store.TriggerSubscriptionChange:
		return encode(changed(n.Change, c))
	}
	return nil, fmt.Errorf("trigger %q: %w", n.Trigger, store.ErrInvalid)
}

func commonOf(n *store.Notification, m *store.Message) common {
	c := common{RecordType: n.Trigger, MessageStream: n.Stream, ServerID: n.Server, Metadata: m.Metadata}
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	if !n.Message.IsZero() {
		id := n.Message.String()
		c.MessageID, c.Tag = &id, &m.Tag
	}
	return c
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding a payload: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// changed is about a list alone when an address was taken off: no message did
// that.
func changed(s *store.SuppressionChange, c common) changePayload {
	p := changePayload{common: c, ChangedAt: stamp(s.Created), Recipient: s.Address, Origin: s.Origin, SuppressSending: true, SuppressionReason: &s.Reason}
	if !s.Removed.IsZero() {
		p.ChangedAt, p.SuppressSending, p.SuppressionReason = stamp(s.Removed), false, nil
		p.Origin = store.OriginCustomer
		if s.RemovedBy == operator {
			p.Origin = store.OriginAdmin
		}
	}
	return p
}

// operator is how changes by the command line are signed.
const operator = "operator"
