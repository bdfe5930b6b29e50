package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

// The fields of a bounce are those that the API gives of the same bounce.

// maxContent is how much of what came back a payload carries.
const maxContent = 1 << 20

func bounced(ctx context.Context, mail Mail, n *store.Notification, r *store.Record, c common, t store.Triggers) (bouncePayload, error) {
	e := &n.Event
	info := bounce.Type(e.Bounce).Info()
	p := bouncePayload{
		common: c, ID: e.BounceID(n.Message), Type: info.Type, TypeCode: info.Code, Name: info.Name, Description: info.Description,
		Details: e.Diagnostic(), Email: e.Recipient, From: r.Message.Author(), BouncedAt: stamp(e.At), Subject: r.Message.Header.Subject,
	}
	if err := p.listed(ctx, mail, n); err != nil {
		return p, err
	}
	wanted := n.Trigger == store.TriggerBounce && t.BounceContent || n.Trigger == store.TriggerSpamComplaint && t.ComplaintContent
	text, there, err := content(ctx, mail, r.Dump(*e), wanted)
	if p.DumpAvailable = there; wanted {
		p.Content = &text
	}
	return p, err
}

// listed tells whether the bounce has put the address on the list of the
// stream, and whether it could be taken off.
func (p *bouncePayload) listed(ctx context.Context, mail Mail, n *store.Notification) error {
	key, err := message.MailboxKey(p.Email)
	if err != nil || p.Type != bounce.HardBounce && p.Type != bounce.SpamComplaint {
		return nil
	}
	found, err := mail.Suppressed(ctx, n.Server, n.Stream, key)
	if err != nil {
		return fmt.Errorf("looking up a suppression: %w", err)
	}
	for _, s := range found {
		p.Inactive, p.CanActivate = true, !s.Binding()
	}
	return nil
}

// content reads the message that tells of a bounce, where that is wanted, up to
// a bound.
func content(ctx context.Context, mail Mail, id store.ID, wanted bool) (text string, there bool, err error) {
	if id.IsZero() {
		return "", false, nil
	}
	body, err := mail.Body(ctx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("opening what came back: %w", err)
	}
	defer body.Close()
	if !wanted {
		return "", true, nil
	}
	b, err := io.ReadAll(io.LimitReader(body, maxContent))
	if errors.Is(err, store.ErrDamaged) {
		return "", false, nil
	}
	if err != nil {
		return "", true, fmt.Errorf("reading what came back: %w", err)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD"), true, nil
}
