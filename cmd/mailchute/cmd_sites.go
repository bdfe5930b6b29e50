package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/relay"
)

func (a *app) queueSites() *cobra.Command {
	return &cobra.Command{
		Use: "sites", Short: "Show what was learned of the places that mail goes to", Args: noArgs,
		Long: `Show the sites that the running server knows: sets of mail hosts, large receivers, smarthosts. Each
has a limit of attempts at once, which its answers raise and lower. What was learned is written down
every five minutes and outlives a restart. --json has all changes with the replies that caused them.`,
		Example: "  mailchute queue sites",
		RunE: a.admin(func(_ context.Context, a *admin, _ []string) error {
			if a.sites == nil {
				return exitWith(exitUnavailable, "no server runs, and the files do not hold what it learns")
			}
			sites := append([]relay.SiteStatus{}, a.sites()...)
			return a.print(sites, func() error { return printSites(a, sites) })
		}),
	}
}

// siteName is the key of a site as people know it.
func siteName(key string) string { return strings.TrimPrefix(key, "receiver:") }

func printSites(a *admin, sites []relay.SiteStatus) error {
	t := newTable(a.out, "SITE", "IN FLIGHT", "LIMIT", "UP TO", "STATE", "LAST CHANGE")
	for _, s := range sites {
		t.row(siteName(s.Key), s.InFlight, s.Limit, s.Most, siteState(a, s), lastChange(s))
	}
	return t.flush()
}

func siteState(a *admin, s relay.SiteStatus) string {
	switch {
	case s.Until.IsZero():
		return "open"
	case s.Dead:
		return "no answer, asked again in " + span(s.Until.Sub(a.now()))
	}
	return "resting for " + span(s.Until.Sub(a.now()))
}

func lastChange(s relay.SiteStatus) string {
	if len(s.Changes) == 0 {
		return "-"
	}
	c := s.Changes[len(s.Changes)-1]
	return fmt.Sprintf("%d to %d at %s: %s", c.From, c.To, when(c.At), c.Why)
}
