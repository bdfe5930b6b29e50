package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// verdict is the outcome of a run.
type verdict struct {
	Seed  uint64 `json:"seed"`
	Took  string `json:"took"`
	Kills []kill `json:"kills"`

	Acknowledged   int `json:"acknowledged"`
	Arrived        int `json:"arrived"`
	Lost           int `json:"lost"`
	Duplicates     int `json:"duplicates"`
	InFlight       int `json:"in_flight"`
	PastDot        int `json:"past_dot"`
	Uncertain      int `json:"uncertain"`
	Shown          int `json:"shown"`
	Unacknowledged int `json:"unacknowledged"` // arrived, although their 250 or 200 was lost
	Resubmitted    int `json:"resubmitted"`    // submissions whose answer was lost, sent again
	Events         int `json:"events"`         // webhooks of deliveries and bounces
	EventsAgain    int `json:"events_again"`   // posts of them beyond the first, with the same ID

	Missing     []string          `json:"missing,omitempty"`      // what was lost
	Unexplained []string          `json:"unexplained,omitempty"`  // duplicates of what was not in flight
	Untold      []string          `json:"untold,omitempty"`       // webhooks that were lost
	Renamed     []string          `json:"renamed,omitempty"`      // webhooks that came again with another ID
	StoredTwice []string          `json:"stored_twice,omitempty"` // submissions that became two messages
	Forged      []string          `json:"forged,omitempty"`       // bodies that arrived other than they were sent
	Missed      []failpoint.Point `json:"missed,omitempty"`       // crash points that no process came to
	Problems    []string          `json:"problems,omitempty"`
}

// sum adds up the kills.
func (v *verdict) sum(kills []kill) {
	v.Kills = kills
	for _, k := range kills {
		v.InFlight += k.InFlight
		v.PastDot += k.PastDot
		v.Uncertain += k.Uncertain
		v.Shown += k.Shown
		if k.Duplicates > k.InFlight {
			v.Problems = append(v.Problems, fmt.Sprintf("kill %d: %d duplicates, %d transactions in flight", k.Number, k.Duplicates, k.InFlight))
		}
		if k.InFlight > concurrency {
			v.Problems = append(v.Problems, fmt.Sprintf("kill %d: %d transactions in flight, at most %d are allowed", k.Number, k.InFlight, concurrency))
		}
	}
	if most := len(kills) * (smtpClients + 4*httpClients); v.Unacknowledged > most {
		v.Problems = append(v.Problems, fmt.Sprintf("%d messages arrived that nobody acknowledged, at most %d were in flight", v.Unacknowledged, most))
	}
}

func (v *verdict) ok() bool {
	return v.Lost+len(v.Untold)+len(v.Renamed)+len(v.StoredTwice)+len(v.Unexplained)+len(v.Forged)+len(v.Missed)+len(v.Problems) == 0 && v.Acknowledged > 0
}

func (v *verdict) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func heading(w io.Writer, seed uint64) {
	fmt.Fprintf(w, "seed %d\n\n%5s  %-32s %9s %13s %9s %9s %9s %9s\n", seed, "kill", "at", "after", "acknowledged", "in flight", "uncertain", "shown so", "past dot")
}

// line is a kill as soon as it has happened. What was lost or came twice is
// known at the end.
func (k kill) line(w io.Writer) {
	at := "a random moment"
	if k.Point != "" {
		at = fmt.Sprintf("%s #%d", k.Point, k.Hit)
	}
	fmt.Fprintf(w, "%5d  %-32s %9s %13d %9d %9d %9d %9d\n", k.Number, at, k.AfterS, k.Acknowledged, k.InFlight, k.Uncertain, k.Shown, k.PastDot)
}

// longest is how many lines of one kind are printed.
const longest = 20

func (v *verdict) text(w io.Writer) {
	points := map[string]bool{}
	for _, k := range v.Kills {
		points[k.Point] = k.Point != ""
		if k.Lost+k.Duplicates > 0 {
			fmt.Fprintf(w, "\nafter kill %d: %d duplicates, %d lost", k.Number, k.Duplicates, k.Lost)
		}
	}
	delete(points, "")
	fmt.Fprintf(w, "\n\n%d kills in %s, at all of %d crash points and at random; seed %d\n", len(v.Kills), v.Took, len(points), v.Seed)
	fmt.Fprintf(w, "acknowledged %d, arrived %d (%d whose 250 or 200 was lost)\n", v.Acknowledged, v.Arrived, v.Unacknowledged)
	fmt.Fprintf(w, "lost %d\n", v.Lost)
	fmt.Fprintf(w, "duplicates %d, of %d transactions in flight, %d of them uncertain, %d past the final dot\n", v.Duplicates, v.InFlight, v.Uncertain, v.PastDot)
	fmt.Fprintf(w, "shown as uncertain by \"queue list\" after the kills: %d, of which %d were so before\n", v.Shown, v.Shown-v.Uncertain)
	fmt.Fprintf(w, "webhooks %d, lost %d, posted again with the same ID %d\n", v.Events, len(v.Untold), v.EventsAgain)
	fmt.Fprintf(w, "submissions sent again after a lost answer %d, stored twice %d\n", v.Resubmitted, len(v.StoredTwice))
	list(w, "LOST", v.Missing)
	list(w, "STORED TWICE", v.StoredTwice)
	list(w, "LOST WEBHOOK", v.Untold)
	list(w, "WEBHOOK WITH ANOTHER ID", v.Renamed)
	list(w, "TWICE and not in flight", v.Unexplained)
	list(w, "ALTERED", v.Forged)
	list(w, "NEVER REACHED", v.Missed)
	list(w, "FAULT", v.Problems)
}

func list[T any](w io.Writer, head string, items []T) {
	for i, item := range items {
		if i == longest {
			fmt.Fprintf(w, "%s: and %d more\n", head, len(items)-i)
			return
		}
		fmt.Fprintf(w, "%s: %v\n", head, item)
	}
}

// emptyList tells whether a command printed an empty list.
func emptyList(out []byte) bool {
	var items []json.RawMessage
	return json.Unmarshal(bytes.TrimSpace(out), &items) == nil && len(items) == 0
}
