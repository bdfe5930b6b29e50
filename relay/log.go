package relay

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Outcome is one resolved attempt, for metrics.
type Outcome struct {
	Server      int64
	Stream      string
	Destination string
	Attempt     int
	Took        time.Duration
	// Counts of recipients by what became of them; Waiting are those to be tried again.
	Sent, Bounced, Expired, Captured, Waiting int
	// Uncertain is set when the answer to a final dot was lost.
	Uncertain bool
}

// report tells the log and the observer of a recorded attempt.
func (d *Dispatcher) report(c store.Claimed, decision Decision, took time.Duration) {
	for _, e := range decision.Resolution.Events {
		d.log.event(c, e)
	}
	if d.opts.Observer == nil {
		return
	}
	o := Outcome{
		Server: c.Delivery.Server, Stream: c.Delivery.Stream, Destination: c.Delivery.Destination,
		Attempt: c.Delivery.Attempt, Took: took, Uncertain: decision.Resolution.Delivery.Uncertain,
	}
	for _, i := range openRecipients(c.Delivery) {
		o.count(decision.Resolution.Delivery.Recipients[i].State)
	}
	d.opts.Observer(o)
}

func (o *Outcome) count(s store.State) {
	switch s {
	case store.Sent:
		o.Sent++
	case store.Bounced:
		o.Bounced++
	case store.Expired:
		o.Expired++
	case store.Captured:
		o.Captured++
	case store.Queued:
		o.Waiting++
	}
}

// eventLog is the wording of the log: one method per thing that happens, so that a line never changes by accident.
// Nothing it gets contains a body or a secret.
type eventLog struct{ log *slog.Logger }

func deliveryAttrs(d store.Delivery) []any {
	return []any{"message", d.ID.Message, "delivery", d.ID.Part, "server", d.Server, "stream", d.Stream, "destination", d.Destination, "attempt", d.Attempt}
}

func (j eventLog) claimed(d store.Delivery) {
	if j.log.Enabled(context.Background(), slog.LevelDebug) {
		j.log.Debug("delivery claimed", deliveryAttrs(d)...)
	}
}

// event logs an entry of the timeline under its own name.
func (j eventLog) event(c store.Claimed, e store.Event) {
	level := slog.LevelInfo
	switch e.Kind {
	case store.EventBounced, store.EventExpired, store.EventUncertain:
		level = slog.LevelWarn
	}
	if !j.log.Enabled(context.Background(), level) {
		return
	}
	attrs := append(deliveryAttrs(c.Delivery), "recipient", e.Recipient, "code", e.Reply.Code, "reply", e.Reply.Text, "host", e.Reply.Host, "phase", e.Reply.Command, "detail", e.Detail)
	j.log.Log(context.Background(), level, string(e.Kind), attrs...)
}

func (j eventLog) claimFailed(id store.DeliveryID, err error) {
	j.log.Error("claim failed", "message", id.Message, "delivery", id.Part, "err", err)
}

func (j eventLog) resolveFailed(d store.Delivery, err error) {
	j.log.Error("result not recorded yet", append(deliveryAttrs(d), "err", err)...)
}

func (j eventLog) unresolved(d store.Delivery, err error) {
	j.log.Error("result lost; the delivery repeats when its lease ends", append(deliveryAttrs(d), "err", err)...)
}

func (j eventLog) panicked(d store.Delivery, p any, times int) {
	j.log.Error("panic in delivery", append(deliveryAttrs(d), "times", times, "panic", p, "stack", string(debug.Stack()))...)
}

func (j eventLog) holdFailed(id store.ID, err error) {
	j.log.Error("message could not be held", "message", id, "err", err)
}

func (j eventLog) suppressFailed(d store.Delivery, err error) {
	j.log.Error("dead address could not be suppressed", append(deliveryAttrs(d), "err", err)...)
}

func (j eventLog) noticeFailed(d store.Delivery, err error) {
	j.log.Error("notice could not be written", append(deliveryAttrs(d), "err", err)...)
}

func (j eventLog) unsigned(id store.ID, err error) {
	j.log.Error("message goes out without a DKIM signature", "message", id, "err", err)
}

func (j eventLog) clockJumped(by time.Duration) {
	if by < 0 {
		j.log.Error("the clock has jumped back; mail that waits for a later time than its retry schedule knows is tried earlier", "by", by.Round(time.Second))
		return
	}
	j.log.Error("the clock has jumped; what it jumped ahead is not counted against the time that mail has to be delivered", "by", by.Round(time.Second))
}

// route says of a smarthost what else only the timelines of its mail tell: the other routes take over in silence.
func (j eventLog) route(n routeNews) {
	if n.until.IsZero() {
		j.log.Info("route is of use again", "route", n.route)
		return
	}
	j.log.Warn("route failed several times in a row and rests", "route", n.route, "until", n.until, "why", n.why)
}

func (j eventLog) closing(err error) { j.log.Warn("closing connections", "err", err) }
