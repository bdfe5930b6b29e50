package relay

import (
	"context"

	"github.com/mailchute/mailchute/store"
)

func (d *Dispatcher) addNotices(ctx context.Context, c store.Claimed, stream store.Stream, decision *Decision) {
}
