package relay

import (
	"fmt"

	"github.com/mailchute/mailchute/store"
)

// interrupted are the events of a delivery whose attempt before ended its content and has no recorded result.
func (d *Dispatcher) interrupted(c store.Claimed) (events []store.Event) {
	if c.Delivery.Ending == "" {
		return nil
	}
	now := d.opts.Now()
	for _, i := range openRecipients(c.Delivery) {
		events = append(events, store.Event{
			At: now, Kind: store.EventUncertain, Part: c.Delivery.ID.Part, Attempt: c.Delivery.Attempt - 1, Recipient: c.Delivery.Recipients[i].Address,
			Detail: "attempt " + fmt.Sprint(c.Delivery.Attempt-1) + " was cut off after the content was ended and before its result was recorded; it may have been delivered",
		})
	}
	return events
}

// awaitPerson leaves a delivery that may have arrived to a person.
func (d *Dispatcher) awaitPerson(c store.Claimed) Decision {
	now := d.opts.Now()
	r := store.Resolution{Delivery: c.Delivery, Held: now, Events: []store.Event{{
		At: now, Kind: store.EventHeld, Part: c.Delivery.ID.Part, Attempt: c.Delivery.Attempt, Detail: heldUncertain,
	}}}
	return Decision{Resolution: r}
}

const heldUncertain = "it may have been delivered, and the stream holds such messages; release it to send it again"

// holdUncertain does the same with what an attempt has just left uncertain.
func (d *Dispatcher) holdUncertain(decision *Decision, stream store.Stream) {
	r := &decision.Resolution
	if stream.Uncertain != store.UncertainHold || !r.Delivery.Uncertain || r.Delivery.Done() {
		return
	}
	now := d.opts.Now()
	r.Held = now
	r.Events = append(r.Events, store.Event{At: now, Kind: store.EventHeld, Part: r.Delivery.ID.Part, Attempt: r.Delivery.Attempt, Detail: heldUncertain})
}
