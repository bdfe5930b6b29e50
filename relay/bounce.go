package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// addNotices puts the notices that a decision causes into its resolution, so that they enter the queue in the same
// transaction. A notice that cannot be written is told in the timeline; it must not keep the result from being recorded.
func (d *Dispatcher) addNotices(ctx context.Context, c store.Claimed, stream store.Stream, decision *Decision) {
	if c.Message.From == "" || c.Message.Bounce {
		return // RFC 5321 4.5.5: nothing is ever sent back to the null reverse-path
	}
	delivery := &decision.Resolution.Delivery
	failed := wanted(*delivery, decision.Failed, wantsFailure)
	relayed := wanted(*delivery, decision.Relayed, wantsSuccess)
	delayed := d.opts.Delays.delayed(c.Message, delivery, d.opts.Now())
	for _, recipients := range [][]message.DSNRecipient{
		reported(*delivery, failed, message.ActionFailed),
		reported(*delivery, relayed, message.ActionRelayed),
		reported(*delivery, delayed, message.ActionDelayed),
	} {
		if len(recipients) == 0 {
			continue
		}
		event := store.Event{At: d.opts.Now(), Kind: store.EventNotice, Part: delivery.ID.Part, Attempt: delivery.Attempt, Recipient: c.Message.From}
		s, err := d.notices().write(ctx, c.Message, stream, recipients)
		if err != nil {
			d.log.noticeFailed(*delivery, err)
			event.Detail = escape(fmt.Sprintf("notice to the sender could not be written: %v", err))
		} else {
			event.Notice = s.Message.ID
			event.Detail = fmt.Sprintf("notice (%s) to the sender for %d recipients", recipients[0].Action, len(recipients))
			decision.Resolution.Notices = append(decision.Resolution.Notices, s)
		}
		decision.Resolution.Events = append(decision.Resolution.Events, event)
	}
}

func wanted(d store.Delivery, recipients []int, wants func(notify string) bool) []int {
	var out []int
	for _, i := range recipients {
		if wants(d.Recipients[i].Notify) {
			out = append(out, i)
		}
	}
	return out
}

// wantsFailure: a failure is reported unless NOTIFY names other things only (RFC 3461 4.1).
func wantsFailure(notify string) bool { return notify == "" || hasWord(notify, "FAILURE") }

// wantsSuccess: success is reported only on request.
func wantsSuccess(notify string) bool { return hasWord(notify, "SUCCESS") }

func hasWord(list, word string) bool {
	for _, w := range strings.Split(list, ",") {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// reported describes recipients for a notice. An address that cannot be parsed is left out: it was refused at
// acceptance, or it is damage.
func reported(delivery store.Delivery, recipients []int, action message.Action) []message.DSNRecipient {
	var out []message.DSNRecipient
	for _, i := range recipients {
		r := delivery.Recipients[i]
		final, err := parseAddress(r.Address)
		if err != nil {
			continue
		}
		out = append(out, message.DSNRecipient{
			Final: final, Original: r.ORcpt, Action: action, Status: status(r, action),
			RemoteMTA: r.Last.Host, Diagnostic: diagnostic(r.Last.ForSender()), LastAttempt: r.Last.At, WillRetryUntil: delivery.Expires,
		})
	}
	return out
}

// status is the enhanced code that a notice shows. A recipient that expired failed for good, whatever the last reply said:
// 4.4.7 becomes its code (RFC 3463 3.5).
func status(r store.Recipient, action message.Action) string {
	e := r.Last.Enhanced
	switch {
	case action == message.ActionDelayed && e[0] != 4:
		return "4.0.0"
	case action == message.ActionDelayed, action != message.ActionFailed && e[0] == 2:
	case action != message.ActionFailed:
		return "2.0.0"
	case r.State == store.Expired:
		return "4.4.7"
	case e[0] != 5 && r.Last.Code/100 == 5:
		return "5.0.0"
	}
	return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
}

// diagnostic is a reply as it came.
func diagnostic(r store.Reply) string {
	var parts []string
	if r.Code != 0 {
		parts = append(parts, fmt.Sprint(r.Code))
	}
	if r.Enhanced != [3]int{} {
		parts = append(parts, fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2]))
	}
	if r.Text != "" {
		parts = append(parts, r.Text)
	}
	return strings.Join(parts, " ")
}

// Notices writes notices to senders (RFC 3464) as messages that are ready for the queue.
type Notices struct {
	// Hostname is the name that they come from.
	Hostname string
	// Lifetime is how long their delivery is tried.
	Lifetime time.Duration
	// Now is the clock.
	Now func() time.Time
	// Body opens the message that a notice is about. Where it cannot, the notice goes without it.
	Body func(ctx context.Context, id store.ID) (io.ReadCloser, error)
}

func (d *Dispatcher) notices() Notices {
	return Notices{Hostname: d.opts.Hostname, Lifetime: d.opts.NoticeLifetime, Now: d.opts.Now, Body: d.queue.Body}
}

// Failure writes the notice that one recipient of a delivery has failed. tell is false where nobody is to be told: the
// message came with the null reverse-path, is a notice itself (RFC 5321 4.5.5), or the sender asked not to be told of
// failures (RFC 3461 4.1).
func (n Notices) Failure(ctx context.Context, about store.Message, stream store.Stream, d store.Delivery, recipient int) (s store.Submission, tell bool, err error) {
	failed := reported(d, wanted(d, []int{recipient}, wantsFailure), message.ActionFailed)
	if about.From == "" || about.Bounce || about.Returned || len(failed) == 0 {
		return store.Submission{}, false, nil
	}
	s, err = n.write(ctx, about, stream, failed)
	return s, err == nil, err
}

// write writes one notice about a message, ready for the queue of the stream that sent it, which is another one than the
// message's own where it was rerouted.
func (n Notices) write(ctx context.Context, about store.Message, stream store.Stream, recipients []message.DSNRecipient) (store.Submission, error) {
	to, err := parseAddress(about.From)
	if err != nil {
		return store.Submission{}, fmt.Errorf("reading the sender's address: %w", err)
	}
	id, now := store.NewID(), n.Now()
	report := message.DSN{
		ReportingMTA: n.Hostname,
		From:         message.Address{Local: "mailer-daemon", Domain: n.Hostname},
		To:           to,
		MessageID:    message.NewMessageID(id.String(), n.Hostname),
		Date:         now,
		EnvID:        about.EnvID,
		QueueID:      about.ID.String(),
		Arrival:      about.Accepted,
		Recipients:   recipients,
		// Only a failure returns content (RFC 3461 4.3), and none that demands TLS (RFC 8689 5).
		Full: about.Ret == "FULL" && recipients[0].Action == message.ActionFailed && !about.RequireTLS,
	}
	body, err := n.render(ctx, about.ID, report)
	if err != nil {
		return store.Submission{}, err
	}
	return store.Submission{
		Message:    n.message(id, about, stream.ID, report, body, now),
		Deliveries: []store.Delivery{n.delivery(id, stream, to, now)},
		Body:       body,
	}, nil
}

// render writes the notice with the original, or without it where the original cannot be read: the sender has to learn of
// the failure in any case.
func (n Notices) render(ctx context.Context, about store.ID, report message.DSN) ([]byte, error) {
	original, err := n.Body(context.WithoutCancel(ctx), about)
	if err == nil {
		defer original.Close() // read only
		with := report
		with.Original = io.Reader(original)
		if body, err := with.Bytes(); err == nil {
			return body, nil
		}
	}
	return report.Bytes()
}

func (n Notices) message(id store.ID, about store.Message, stream string, report message.DSN, body []byte, now time.Time) store.Message {
	return store.Message{
		ID: id, Server: about.Server, Stream: stream, Accepted: now,
		UTF8: report.UTF8(), EightBit: !ascii(string(body)),
		Size: int64(len(body)), BodyHash: sha256.Sum256(body),
		Header: display(body), Protocol: "local", Bounce: true, About: about.ID,
		RequireTLS: about.RequireTLS,
	}
}

// display reads back what a list shows, so that it agrees with what was written.
func display(body []byte) store.Display {
	h, _, err := message.ReadHeader(bytes.NewReader(body), message.HeaderLimits{UTF8: true})
	if err != nil {
		return store.Display{}
	}
	return store.Display{Subject: h.Get("Subject"), From: h.Get("From"), To: h.All("To"), MessageID: h.Get("Message-ID")}
}

func (n Notices) delivery(id store.ID, stream store.Stream, to message.Address, now time.Time) store.Delivery {
	destination := destinationOf(to.String())
	if stream.Route.Smarthost() {
		destination = routeAddress(stream.Route)
	}
	return store.Delivery{
		ID: store.DeliveryID{Message: id}, Server: stream.Server, Stream: stream.ID, Destination: destination,
		Recipients: []store.Recipient{{Address: to.String(), State: store.Queued}},
		Due:        now, Expires: now.Add(n.Lifetime),
	}
}
