package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Tell whether the running server takes mail and delivers it", Args: noArgs,
		Long: `Tell whether the running server takes mail and delivers it, for monitoring.

Exit code 0: both. 75: new mail is refused for want of space, deliveries go on. 74: the store has
stopped after a fault of the disk. 65: both, but the machine's clock has jumped since the start. 69: no
server runs. GET /health of the HTTP API says the
same with 200 and 503, to everybody and without the reason.`,
		Example: "  mailchute health\n  mailchute health --json",
		RunE: a.admin(func(_ context.Context, a *admin, _ []string) error {
			if a.sites == nil {
				return exitWith(exitUnavailable, "no server runs")
			}
			return showHealth(a)
		}),
	}
}

// healthView is what health prints.
type healthView struct {
	TakesMail bool   `json:"takes_mail"`
	Delivers  bool   `json:"delivers"`
	Reason    string `json:"reason,omitempty"`
	Clock     string `json:"clock,omitempty"` // how it has jumped
}

func showHealth(a *admin) error {
	ready, healthy := a.store.Ready(), a.store.Healthy()
	v := healthView{TakesMail: ready == nil, Delivers: healthy == nil}
	code := exitIO
	if errors.Is(ready, store.ErrFull) {
		code = exitBusy
	}
	if a.clock != nil && ready == nil {
		if err := a.clock(); err != nil {
			v.Clock = err.Error()
			return errors.Join(a.print(v, func() error { return nil }), exitWith(exitData, "mail is taken and delivered, but %w", err))
		}
	}
	if ready == nil {
		return a.print(v, func() error {
			_, err := fmt.Fprintln(a.out, "ok: mail is taken and delivered")
			return err
		})
	}
	v.Reason = ready.Error()
	err := a.print(v, func() error { return nil })
	if err != nil {
		return err
	}
	if v.Delivers {
		return exitWith(code, "new mail is refused, deliveries go on: %w", ready)
	}
	return exitWith(code, "mail is neither taken nor delivered: %w", ready)
}
