package relay

import (
	"errors"
	"slices"
	"strings"

	"github.com/mailchute/mailchute/store"
)

var errRouteShut = errors.New("the route takes nothing now")

// alternatesOf returns the other routes of a stream in the order in which they are tried when one has failed: those with a
// weight first, the heaviest at the beginning, then the others as listed.
func alternatesOf(stream store.Stream, taken store.Route) []store.Route {
	if len(stream.Alternates) == 0 && same(stream.Route, taken) {
		return nil
	}
	out := slices.DeleteFunc(stream.Routes(), func(r store.Route) bool { return same(r, taken) })
	slices.SortStableFunc(out, func(a, b store.Route) int { return b.Weight - a.Weight })
	return out
}

// same tells whether two routes have one key. Most comparisons are of a route with itself, and a key is made anew each time.
func same(a, b store.Route) bool { return a == b || a.Key() == b.Key() }

// elsewhere tells whether another route may be tried for a recipient at once: nothing was handed over, and what failed was
// the route and not the message.
func (r Result) elsewhere() bool {
	if r.Reply.Host == "" && (r.Reply.Enhanced == [3]int{5, 7, 10} || r.Reply.Enhanced == [3]int{5, 7, 30}) {
		return true // another route may meet what the message demands
	}
	if r.Verdict() != Temporary {
		return false
	}
	if local := [3]int{4, detailLocal[0], detailLocal[1]}; r.Reply.Enhanced == local && r.Reply.Command != phaseAuth && r.Reply.Host == "" {
		return false // no route is better off
	}
	switch r.Reply.Command {
	case phaseSign:
		return false
	case phaseDNS, phaseConnect, phaseHello, phaseTLS, phaseAuth:
		return true
	}
	return r.Err != nil
}

// elsewhere returns the recipients that another route may serve.
func elsewhere(results []*Result) (left []int) {
	for i, r := range results {
		if r != nil && r.elsewhere() {
			left = append(left, i)
		}
	}
	return left
}

// retract takes back the results of recipients that another route is tried for, and returns one of them.
func retract(results []*Result, left []int) (sample Result) {
	for _, i := range left {
		sample, results[i] = *results[i], nil
	}
	return sample
}

// stamp marks the results that a route has just given, and returns them.
func stamp(results, earlier []*Result, key, before string) (fresh []Result) {
	for i, r := range results {
		if r == nil || earlier[i] != nil {
			continue
		}
		r.Route = key
		r.Detail = joinDetail(r.Detail, before)
		fresh = append(fresh, *r)
	}
	return fresh
}

// words for people about the route that was left.
func leftRoute(key string, r Result) string {
	return strings.TrimSpace("before that by " + key + ": " + r.Reply.Line())
}
