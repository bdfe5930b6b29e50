package doctor

import (
	"context"
	"time"
)

// Bounds of one lookup and of the probe.
const (
	lookupTime = 15 * time.Second
	probeTime  = 30 * time.Second
)

// Examine runs every check that applies and returns what was found, in a fixed
// order. Without a resolver that answers, what needs DNS is left out after
// saying so.
func Examine(ctx context.Context, c Case) []Finding {
	e := &exam{Case: c, chart: &chart{}}
	e.directory()
	e.clock()
	e.openFiles()
	e.certificate()
	if e.resolver(ctx) {
		if c.Direct {
			e.helo(ctx)
			e.sources(ctx)
		}
		e.bounces(ctx)
		for _, d := range c.Domains {
			e.domain(ctx, d)
		}
	}
	e.tlsReports()
	e.unsubscribe(ctx)
	e.port(ctx)
	return e.chart.findings
}

// exam is one run.
type exam struct {
	Case
	chart *chart
	// authorised is set when SPF passes for the host of reverse-paths from every
	// source.
	authorised bool
}
