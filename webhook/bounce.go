package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
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
		Details: details(e), Email: e.Recipient, From: bareAddress(&r.Message), BouncedAt: stamp(e.At), Subject: r.Message.Header.Subject,
	}
	if err := p.listed(ctx, mail, n); err != nil {
		return p, err
	}
	wanted := n.Trigger == store.TriggerBounce && t.BounceContent || n.Trigger == store.TriggerSpamComplaint && t.ComplaintContent
	text, there, err := content(ctx, mail, source(r, e), wanted)
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

// source is the message that tells of the bounce: what came back, or else the
// notice that we wrote to the sender. It is zero where there is neither.
func source(r *store.Record, e *store.Event) store.ID {
	if !e.Notice.IsZero() {
		return e.Notice
	}
	about := "(" + string(message.ActionFailed) + ")"
	for _, o := range r.Events {
		if o.Kind == store.EventNotice && o.Part == e.Part && o.Attempt == e.Attempt && strings.Contains(o.Detail, about) {
			return o.Notice
		}
	}
	return store.ID{}
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

// details is the answer as it came, in the form of a Diagnostic-Code (RFC 3464
// 2.3.6), or our words where there was none.
func details(e *store.Event) string {
	r, parts := e.Reply, []string(nil)
	if r.Code != 0 {
		parts = append(parts, fmt.Sprint(r.Code))
	}
	if r.Enhanced != [3]int{} {
		parts = append(parts, fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2]))
	}
	if parts = append(parts, r.Text); r.Text == "" {
		parts[len(parts)-1] = e.Detail
	}
	text := strings.TrimSpace(strings.Join(parts, " "))
	if r.Code != 0 {
		return "smtp;" + text
	}
	return text
}

// bareAddress takes the address out of a From field as it is shown.
func bareAddress(m *store.Message) string {
	if list, err := mail.ParseAddressList(m.Header.From); err == nil && len(list) > 0 {
		return list[0].Address
	}
	if i, j := strings.LastIndexByte(m.Header.From, '<'), strings.LastIndexByte(m.Header.From, '>'); i >= 0 && i < j {
		return m.Header.From[i+1 : j]
	}
	return m.From
}
