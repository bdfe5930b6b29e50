package relay

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

// Suppressor takes addresses that are not to be written to again.
type Suppressor interface {
	// Suppress puts an address on the list of a stream. An address that is on it already stays as it is.
	Suppress(ctx context.Context, s Suppression) error
}

// Suppression is why an address is not to be written to again.
type Suppression struct {
	Server  int64
	Stream  string
	Address string
	Reason  bounce.Type // HardBounce or SpamComplaint
	Message store.ID    // the one that it happened to
	At      time.Time
}

// forwarded is one recipient as the transport gets it. With a return path of ours all notices come to us: of the notices
// that the sender wants we ask for those that only others can give, failure always, since it decides about the next message
// to that address.
func (d *Dispatcher) forwarded(c store.Claimed, stream store.Stream, i int, r store.Recipient) Rcpt {
	out := Rcpt{Address: r.Address, Notify: r.Notify, ORcpt: r.ORcpt}
	if d.opts.Unsubscribe != nil && c.Message.Unsubscribe != "" {
		out.Top = d.opts.Unsubscribe(c.Message, c.First+i, r.Address)
	}
	if d.opts.ReturnPath == nil || stream.KeepSender || c.Message.From == "" || c.Message.Bounce {
		return out // RFC 5321 4.5.5: the null reverse-path stays what it is
	}
	out.ReturnPath = d.opts.ReturnPath(c.Message, c.First+i)
	switch {
	case out.ReturnPath == "" || r.Notify == "":
	case hasWord(r.Notify, "DELAY"):
		out.Notify = "FAILURE,DELAY"
	default:
		out.Notify = "FAILURE"
	}
	return out
}

// ownPaths notes what a return path of its own means for a recipient: a transaction of its own, and success notices by us,
// since the next hop's would not reach the sender.
func ownPaths(recipients []Rcpt, results []Result) {
	for i := range min(len(recipients), len(results)) {
		results[i].Alone = results[i].Alone || recipients[i].Top != nil
		if recipients[i].ReturnPath != "" {
			results[i].Alone = true
			results[i].Relayed = results[i].Relayed || results[i].Verdict() == Delivered
		}
	}
}

// classOf says what a permanent refusal means. A refusal of MAIL is about the sender, whatever its words: some servers
// call us back and say "user unknown" of the reverse-path. One of the content of several recipients says of none of
// them that it does not exist.
func classOf(r store.Reply, several bool) bounce.Class {
	e := evidence(r)
	switch {
	case r.Command == phaseMail:
		e.Sender = true
	case several && (r.Command == phaseData || r.Command == phaseDot || r.Command == phaseBody):
		e.Several = true
	}
	return bounce.Classify(e)
}

// classOfExpired says what kept a recipient waiting until its time was over. That never says that it does not exist: a
// 5xx that counts as temporary speaks of us.
func classOfExpired(last store.Reply) bounce.Class {
	e := evidence(last)
	e.Kind = bounce.Delay
	if e.Code/100 == 5 {
		e.Code, e.Status = 0, [3]int{}
	}
	return bounce.Classify(e)
}

func evidence(r store.Reply) bounce.Evidence {
	return bounce.Evidence{Kind: bounce.Failure, Code: r.Code, Status: r.Enhanced, Text: r.Text, Host: strings.ToLower(r.Host)}
}

// classify puts the type on the event that was just added.
func (n *decider) classify(index int, c bounce.Class) {
	n.Resolution.Events[len(n.Resolution.Events)-1].Bounce = string(c.Type)
	if c.Suppress {
		n.Suppress = append(n.Suppress, index)
	}
}

// suppress tells of dead addresses before the result is recorded: told twice does no harm, not told would. What cannot be
// told must not keep the result from being recorded.
func (d *Dispatcher) suppress(ctx context.Context, c store.Claimed, decision Decision) {
	if d.opts.Suppressor == nil || len(decision.Suppress) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opts.StopGrace)
	defer cancel()
	for _, i := range slices.Compact(decision.Suppress) {
		address := decision.Resolution.Delivery.Recipients[i].Address
		err := d.opts.Suppressor.Suppress(ctx, Suppression{
			Server: c.Delivery.Server, Stream: c.Delivery.Stream, Address: address,
			Reason: bounce.HardBounce, Message: c.Message.ID, At: d.opts.Now(),
		})
		if err != nil {
			d.log.suppressFailed(c.Delivery, err)
		}
	}
}
