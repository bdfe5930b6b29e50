package main

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// step is one kill as it is planned.
type step struct {
	point failpoint.Point // "" means at a random moment
	hit   int             // which time the process comes to the point
	after time.Duration   // of a random moment: since the process began to serve, or since its start
	start bool            // counted from its start
	tries int
}

// depths is how often a process comes to a point within a moment of load; a
// kill is at one of these times, by chance. Points that are not listed are
// come to now and then: the first time counts.
var depths = map[failpoint.Point]int{
	failpoint.JournalWriting: 200, failpoint.JournalWritten: 200, failpoint.JournalSynced: 200,
	failpoint.StoreAhead: 400, failpoint.StoreClaimed: 150, failpoint.StoreResolved: 150,
	failpoint.ViewPage: 40, failpoint.ViewFilled: 2, failpoint.ViewMeta: 2, failpoint.ViewMetaWritten: 2, failpoint.ViewCommitted: 2,
	failpoint.SMTPDurable: 150, failpoint.APIDurable: 30,
	failpoint.RelayEnding: 150, failpoint.RelayContent: 150, failpoint.RelayDot: 150, failpoint.RelayAnswered: 150,
	failpoint.JournalStaged: 3, failpoint.WebhookPosted: 100, failpoint.WebhookSettled: 4,
}

// late lists the points that a process comes to only when there is mail past its
// retention. Under load a segment with one large message that waits may be kept, since
// little else is past it: then the load ends before the kill.
var late = map[failpoint.Point]bool{
	failpoint.RetentionForgotten: true, failpoint.RetentionMoved: true, failpoint.RetentionReleasing: true, failpoint.JournalRecycled: true,
}

// scratch lists the points that a process comes to only as it starts on a
// directory which is new or old. They get directories of their own.
var scratch = map[failpoint.Point]bool{
	failpoint.StartCreated: true, failpoint.MigrationCopied: true, failpoint.MigrationFilled: true, failpoint.MigrationCommitted: true,
}

// plan makes n steps: every point in turn, and between them random moments. It
// is at least as long as there are points.
func plan(rnd *rand.Rand, n int, only failpoint.Point) []step {
	var steps, last []step
	points := failpoint.Points()
	if only != "" {
		points = []failpoint.Point{only}
	}
	for rounds := max(1, n/(2*len(points))); rounds > 0; rounds-- {
		for _, p := range points {
			s := step{point: p, hit: 1 + rnd.IntN(max(1, depths[p]))}
			if late[p] {
				last = append(last, s)
			} else {
				steps = append(steps, s)
			}
		}
	}
	for len(steps)+len(last) < n {
		steps = append(steps, randomStep(rnd))
	}
	rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, s := range last { // anywhere in the second half
		steps = slices.Insert(steps, (len(steps)+1)/2+rnd.IntN(len(steps)/2+1), s)
	}
	return steps
}

func randomStep(rnd *rand.Rand) step {
	if rnd.IntN(6) == 0 {
		return step{after: time.Duration(rnd.IntN(120)) * time.Millisecond, start: true}
	}
	return step{after: time.Duration(10+rnd.IntN(400)) * time.Millisecond}
}
