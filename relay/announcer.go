package relay

import (
	"context"
	"fmt"
	"sync"

	"github.com/mailchute/mailchute/store"
)

// announcer records that the content of an attempt is about to be ended, so that a crash from then on leaves the delivery
// marked as one that may have arrived. It does so once a route, also for several transactions. The record is durable before
// the content is ended: one that is written meanwhile was measured, and a kill left more than half of them unmarked.
type announcer struct {
	record func(ctx context.Context, route string) error

	mu    sync.Mutex // held while it is recorded: a second transaction waits for the same record
	route string     // announced last
}

func (d *Dispatcher) announcer(id store.DeliveryID, attempt int) *announcer {
	return &announcer{record: func(ctx context.Context, route string) error {
		return d.queue.Ending(ctx, id, attempt, route)
	}}
}

// ending is Job.Ending.
func (a *announcer) ending(ctx context.Context, route string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.route == route {
		return nil
	}
	if err := a.record(ctx, route); err != nil {
		return fmt.Errorf("recording that the content ends: %w", err)
	}
	a.route = route
	return nil
}
