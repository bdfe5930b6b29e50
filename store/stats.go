package store

import (
	"context"
	"time"
)

// Counts is what became of recipients. Notices that we wrote and what came back
// do not count.
type Counts struct {
	// Sent is how many were handed over, kept, or given up: those of whom more is
	// known than that they wait, were cancelled or were never tried.
	Sent int64 `json:"sent"`
	// Bounces counts what Bounce describes, by its type. A recipient who bounces
	// after having been sent to counts there too.
	Bounces map[string]int64 `json:"bounces,omitempty"`
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.Sent += o.Sent
	for kind, n := range o.Bounces {
		if c.Bounces == nil {
			c.Bounces = make(map[string]int64, len(o.Bounces))
		}
		c.Bounces[kind] += n
	}
}

// Day is what was counted on one day in UTC.
type Day struct {
	Date time.Time `json:"date"` // its beginning
	Counts
}

// StatsFilter selects counters.
type StatsFilter struct {
	Server int64  // needed
	Stream string // "" is all
	Tag    string // exact; "" is all, with a tag or without
	// Since and Until are moments of the first day and the last; zero is no bound.
	Since, Until time.Time
}

// MaxDayTags is how many tags of a stream are counted by themselves in one day.
// What has another counts for the stream all the same.
const MaxDayTags = 1000

// Statistics counts what happened by day, for ever: also what retention has
// removed since.
type Statistics interface {
	// Stats returns the days on which there was something to count, oldest first.
	// It sees what List sees.
	Stats(ctx context.Context, f StatsFilter) ([]Day, error)
}
