package returns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// maxKept is how much of what came back is kept. Reports come first in it, the returned copy of the message last.
const maxKept = 64 << 10

// maxTries is how often a recipient that changes meanwhile is looked at again.
const maxTries = 5

// record adds what came back to the timeline of its message, with what follows from it, in one transaction.
func (d *Desk) record(ctx context.Context, t target, in arrival) (store.ID, error) {
	turn := &d.turns[t.id[15]%byte(len(d.turns))]
	turn.Lock()
	defer turn.Unlock()
	var kept store.ID
	var err error
	for range maxTries {
		kept, err = d.recordOnce(ctx, t, in)
		if !errors.Is(err, store.ErrStale) {
			break
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return store.ID{}, noMailbox(err)
	}
	return kept, err
}

func (d *Desk) recordOnce(ctx context.Context, t target, in arrival) (store.ID, error) {
	r, err := d.store.Record(ctx, t.id)
	if err != nil {
		return store.ID{}, fmt.Errorf("looking up message %s: %w", t.id, err)
	}
	delivery, index, ok := r.Numbered(t.number)
	if !ok {
		return store.ID{}, fmt.Errorf("recipient %d of message %s: %w", t.number, t.id, store.ErrNotFound)
	}
	if err := d.takes(r, delivery, index); err != nil {
		return store.ID{}, err // it has come about since RCPT
	}
	rcpt := delivery.Recipients[index]
	evidence := in.report.Evidence(rcpt.Address)
	class := bounce.Classify(evidence)
	if err := d.suppress(ctx, r.Message, delivery, index, class, in); err != nil {
		return store.ID{}, err
	}
	kept := d.keep(r.Message, in)
	ret := store.Return{
		Message: t.id, Number: t.number, Was: rcpt.State, State: rcpt.State,
		Reply: replyOf(evidence, in), Submissions: []store.Submission{kept},
	}
	event := store.Event{At: in.at, Kind: eventOf(evidence.Kind), Reply: ret.Reply, Notice: kept.Message.ID, Detail: detailOf(in)}
	if evidence.Kind != bounce.Success {
		event.Bounce = string(class.Type)
	}
	ret.Events = []store.Event{event}
	if evidence.Kind == bounce.Failure && rcpt.State == store.Sent {
		d.fail(ctx, &ret, r.Message, delivery, index)
	}
	if err := d.store.Return(ctx, ret); err != nil {
		return store.ID{}, err
	}
	d.opts.Log.Info("came back", "message", t.id, "recipient", rcpt.Address, "kind", evidence.Kind, "format", in.report.Format, "type", class.Type,
		"rule", class.Rule, "state", ret.State, "kept", kept.Message.ID)
	return kept.Message.ID, nil
}

func eventOf(k bounce.Kind) store.EventKind {
	switch k {
	case bounce.Failure:
		return store.EventBounced
	case bounce.Delay:
		return store.EventDelayed
	case bounce.Complaint:
		return store.EventComplaint
	case bounce.AutoReply:
		return store.EventAutoReply
	}
	return store.EventReturned
}

// replyOf is the answer that the report tells of, or its subject where it tells of none.
func replyOf(e bounce.Evidence, in arrival) store.Reply {
	text, _, _ := strings.Cut(strings.TrimSpace(e.Text), "\n")
	if rest, ok := strings.CutPrefix(text, fmt.Sprint(e.Code)); ok { // reports give the whole reply
		text = strings.TrimLeft(rest, " -")
	}
	text = strings.TrimSpace(strings.TrimPrefix(text, fmt.Sprintf("%d.%d.%d ", e.Status[0], e.Status[1], e.Status[2])))
	return store.Reply{Code: e.Code, Enhanced: e.Status, Text: text, Host: e.Host, At: in.at}
}

func detailOf(in arrival) string {
	parts := []string{string(in.report.Kind)}
	if in.report.Format != "" {
		parts = append(parts, "as "+in.report.Format)
	}
	if in.report.ReportingMTA != "" {
		parts = append(parts, "from "+in.report.ReportingMTA)
	}
	if in.envelope.Client.IsValid() {
		parts = append(parts, "through "+in.envelope.Client.String())
	}
	return strings.Join(parts, " ")
}

// suppress comes before the record: where it fails the report is refused for now and comes again, and told twice does no
// harm. What a host says counts for the stream that sent. What a person says is about the mail, so it counts also for the
// stream that the mail was submitted to, where it was rerouted since.
func (d *Desk) suppress(ctx context.Context, m store.Message, delivery store.Delivery, index int, c bounce.Class, in arrival) error {
	if !c.Suppress || d.opts.Suppressor == nil {
		return nil
	}
	streams := []string{delivery.Stream}
	if c.Type == bounce.SpamComplaint && m.Stream != delivery.Stream {
		streams = append(streams, m.Stream)
	}
	for _, stream := range streams {
		err := d.opts.Suppressor.Suppress(ctx, relay.Suppression{
			Server: m.Server, Stream: stream, Address: delivery.Recipients[index].Address, Reason: c.Type, Message: m.ID, At: in.at,
		})
		if err != nil {
			return fmt.Errorf("suppressing a recipient of message %s: %w", m.ID, err)
		}
	}
	return nil
}

// keep makes a message of what came back. It has no queued recipient, so it never leaves.
func (d *Desk) keep(about store.Message, in arrival) store.Submission {
	body := in.raw[:min(len(in.raw), maxKept)]
	id := store.NewID()
	return store.Submission{
		Body: body,
		Message: store.Message{
			ID: id, Server: about.Server, Stream: about.Stream, Accepted: in.at, From: in.envelope.From,
			UTF8: in.envelope.UTF8, Header: display(in), Client: in.envelope.Client, Protocol: in.envelope.Protocol,
			Returned: true, About: about.ID,
		},
		Deliveries: []store.Delivery{{
			ID: store.DeliveryID{Message: id}, Server: about.Server, Stream: about.Stream, Destination: d.opts.Host, Due: in.at, Expires: in.at,
			Recipients: []store.Recipient{{Address: in.envelope.Recipients[0].Address, State: store.Captured}},
		}},
	}
}

func display(in arrival) store.Display {
	return store.Display{Subject: in.report.Subject, From: in.envelope.From}
}

// fail makes a recipient bounced and tells the sender, unless the sender wants no notice or can get none. What keeps a
// notice from being written is told in the timeline and does not keep the bounce from being recorded.
func (d *Desk) fail(ctx context.Context, ret *store.Return, m store.Message, delivery store.Delivery, index int) {
	ret.State = store.Bounced
	delivery.Recipients = slices.Clone(delivery.Recipients)
	delivery.Recipients[index].State, delivery.Recipients[index].Last = store.Bounced, ret.Reply
	stream, ok := d.store.Snapshot().Streams[store.StreamKey{Server: m.Server, Stream: delivery.Stream}]
	if !ok {
		return // it could not leave
	}
	notices := relay.Notices{Hostname: d.opts.Hostname, Lifetime: d.opts.NoticeLifetime, Now: d.opts.Now, Body: d.store.Body}
	s, tell, err := notices.Failure(ctx, m, stream, delivery, index)
	event := store.Event{At: ret.Events[0].At, Kind: store.EventNotice, Recipient: m.From}
	switch {
	case err != nil:
		d.opts.Log.Error("notice could not be written", "message", m.ID, "err", err)
		event.Detail = "notice to the sender could not be written"
	case tell:
		ret.Submissions = append(ret.Submissions, s)
		event.Notice = s.Message.ID
		event.Detail = fmt.Sprintf("notice (%s) to the sender for 1 recipients", message.ActionFailed)
	default:
		return
	}
	ret.Events = append(ret.Events, event)
}
