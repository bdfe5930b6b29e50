package relay

import (
	"fmt"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Waiting is what the schedule of a running Dispatcher knows of one delivery.
type Waiting struct {
	Place Place `json:"place"`
	// Ahead is how many deliveries of the same stream to the same destination are due before it, Lane how many there are.
	Ahead int         `json:"ahead"`
	Lane  int         `json:"lane"`
	Due   time.Time   `json:"due"`
	Total LimitStatus `json:"total"`
	Own   LimitStatus `json:"stream"`
	Site  SiteStatus  `json:"site"`
	// Routes are those of the stream.
	Routes []RouteStatus `json:"routes,omitempty"`
	// Shared is set while the stream or its server has its share of the places.
	Shared bool `json:"shared,omitempty"`
}

// Place is where a delivery is in the schedule.
type Place string

// The places of a delivery.
const (
	PlaceUnknown Place = "unknown"   // the schedule has no ticket of it: it is held, done, or just on its way in
	PlaceFlying  Place = "in flight" // an attempt is under way
	PlaceLater   Place = "later"     // it is due later
	PlaceReady   Place = "ready"     // it is due, and waits for the turn of its stream and its destination
	PlacePaused  Place = "paused"    // it is due, and the operator has paused its destination
	PlaceSite    Place = "site"      // it is due, and its destination takes no more at the moment
	PlaceRoute   Place = "route"     // it is due, and no route of its stream takes anything at the moment
)

// LimitStatus is a count against its limit.
type LimitStatus struct {
	InFlight int `json:"in_flight"`
	Limit    int `json:"limit"`
}

// Full tells whether the limit is reached.
func (l LimitStatus) Full() bool { return l.InFlight >= l.Limit }

// Waiting tells where a delivery is in the schedule; false where the Dispatcher does not run.
func (d *Dispatcher) Waiting(id store.DeliveryID) (w Waiting, running bool) {
	now := unixNano(d.opts.Now())
	running = d.ask(func(s *schedule) { w = s.waitingFor(id, now) })
	return w, running
}

func (s *schedule) waitingFor(id store.DeliveryID, now int64) Waiting {
	w := Waiting{Place: PlaceUnknown, Total: LimitStatus{s.flying, s.limits.Total}}
	slot, ok := s.tickets.index[keyOf(id)]
	if !ok {
		return w
	}
	e := s.tickets.at(slot)
	l := e.lane
	w.Due, w.Lane = time.Unix(0, e.due).UTC(), len(l.heap)
	w.Own = LimitStatus{l.stream.flying, s.limits.PerStream}
	w.Shared = l.stream.parked
	w.Site = s.siteStatus(l, now)
	w.Routes = s.routesOf(l.stream.ways, l.stream.key, l.destination, now)
	for _, other := range l.heap {
		if o := s.tickets.at(other); o.due < e.due || o.due == e.due && o.pos < e.pos {
			w.Ahead++
		}
	}
	switch {
	case e.flying:
		w.Place, w.Ahead = PlaceFlying, 0
	case e.due > now:
		w.Place = PlaceLater
	case l.place == laneBlocked:
		w.Place = PlaceSite
	case l.place == lanePaused:
		w.Place = PlacePaused
	case l.stream.shut && l.stream.allPaused(s):
		w.Place = PlacePaused
	case l.stream.shut || l.notBefore > now:
		w.Place = PlaceRoute
	default:
		w.Place = PlaceReady
	}
	return w
}

// Reason is one link of the chain that answers why a delivery waits.
type Reason struct {
	What string `json:"what"`
	// Since is when it began, Until when it ends by itself; zero where that is not known.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Change is what would end it earlier; "" for nothing that a person can do.
	Change string `json:"change,omitempty"`
}

// Reasons answers why a delivery waits, the reason that decides first. w is what a running Dispatcher said of it, nil
// without one. A delivery that is done has none.
func Reasons(d store.Delivery, snap *store.Snapshot, w *Waiting, now time.Time) []Reason {
	if d.Done() {
		return nil
	}
	e := explainer{d: d, snap: snap, w: w, now: now, told: map[string]bool{}}
	e.server()
	e.person()
	e.directory()
	e.pause()
	e.routes()
	e.time()
	e.limits()
	if len(e.reasons) == 0 {
		e.add(Reason{What: "it is due and nothing holds it: the next attempt begins at any moment", Since: d.Due})
	}
	return e.reasons
}

type explainer struct {
	d       store.Delivery
	snap    *store.Snapshot
	w       *Waiting
	now     time.Time
	reasons []Reason
	told    map[string]bool // what would change a reason that is in the list
}

func (e *explainer) add(r Reason) {
	e.reasons = append(e.reasons, r)
	if r.Change != "" {
		e.told[r.Change] = true
	}
}

func (e *explainer) server() {
	switch {
	case e.d.Lease.After(e.now) && e.w != nil:
		e.add(Reason{What: fmt.Sprintf("attempt %d is under way", e.d.Attempt), Until: e.d.Lease})
	case e.w == nil:
		e.add(Reason{What: "no server runs: nothing is delivered", Change: "start it with: mailchute serve"})
	}
}

// person is what somebody wanted for this message.
func (e *explainer) person() {
	if !e.d.Held.IsZero() {
		what := "it is held"
		switch {
		case e.d.HeldUncertain:
			what += "; it may have been delivered, and is sent again when it is released"
		case e.d.Uncertain:
			what += "; it may have been delivered, which is not why"
		}
		e.add(Reason{What: what, Since: e.d.Held, Change: "mailchute queue release " + e.d.ID.Message.String()})
	}
}

// directory is what the stream's settings say.
func (e *explainer) directory() {
	key := store.StreamKey{Server: e.d.Server, Stream: e.d.Stream}
	act, stream := actionOf(e.snap, key)
	if act == actOrphan {
		e.add(Reason{What: fmt.Sprintf("stream %s of server %d no longer exists, or this version does not know its mode", key.Stream, key.Server), Change: "make the stream again"})
		return
	}
	if stream.Paused {
		e.add(Reason{
			What: fmt.Sprintf("stream %s is paused%s", key.Stream, because(stream.PausedWhy)), Since: stream.PausedAt,
			Change: fmt.Sprintf("mailchute stream resume %s --server %d", key.Stream, key.Server),
		})
	}
}

// because is what the operator gave as the reason, if anything.
func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// pause is the operator's of a destination, or of the site that the dispatcher knows to be its.
func (e *explainer) pause() {
	names := []string{e.d.Destination}
	if e.w != nil {
		names = append(names, e.w.Site.Key, strings.TrimPrefix(e.w.Site.Key, receiverMark))
	}
	pauses := pausesOf(e.snap)
	for _, name := range names {
		if p, ok := pauses[name]; ok {
			e.add(Reason{What: fmt.Sprintf("destination %s is paused%s", name, because(p.Why)), Since: p.Since, Change: "mailchute queue resume " + name})
			return
		}
	}
}

// routes tells of those that cannot be taken, where that is what a delivery waits for, or where it must take one of them.
func (e *explainer) routes() {
	switch {
	case e.d.Route != "" && e.d.Uncertain:
		e.add(Reason{What: fmt.Sprintf("it goes by route %s only, which may have delivered it", e.d.Route)})
	case e.d.Route != "":
		e.add(Reason{
			What:   fmt.Sprintf("it goes by route %s only, which was chosen for it", e.d.Route),
			Change: fmt.Sprintf("mailchute queue reroute %s --to-route any", e.d.ID.Message),
		})
	}
	if e.w == nil || e.w.Place != PlaceRoute && e.w.Place != PlacePaused && (len(e.w.Routes) < 2 || e.w.Place != PlaceSite && e.d.Route == "") {
		return
	}
	for _, r := range e.w.Routes {
		if r.Why != "" && !e.told[r.Change] && (e.d.Route == "" || e.d.Route == r.Route) {
			change := r.Change
			if change == "" && !r.Until.IsZero() {
				change = e.retry()
			}
			e.add(Reason{What: fmt.Sprintf("route %s takes nothing: %s", r.Route, r.Why), Since: r.Since, Until: r.Until, Change: change})
		}
	}
}

// time is the retry clock.
func (e *explainer) time() {
	if !e.d.Due.After(e.now) {
		return
	}
	what := "it is not due yet"
	if e.d.DueWhy != "" {
		what += ": " + e.d.DueWhy
	}
	e.add(Reason{What: what, Until: e.d.Due, Change: e.retry()})
}

// retry also makes every site and every route be asked again that is left alone.
func (e *explainer) retry() string { return "mailchute queue retry " + e.d.ID.Message.String() }

// limits are those of the running dispatcher.
func (e *explainer) limits() {
	if e.w == nil || e.w.Place != PlaceReady && e.w.Place != PlaceSite {
		return
	}
	if e.w.Place == PlaceSite {
		r := e.w.Site.reason()
		if !r.Until.IsZero() {
			r.Change = e.retry()
		}
		e.add(r)
	}
	if e.w.Total.Full() {
		e.add(Reason{What: fmt.Sprintf("all %d places for attempts are taken", e.w.Total.Limit), Change: "raise delivery.concurrency"})
	}
	if e.w.Shared {
		e.add(Reason{
			What:   fmt.Sprintf("the stream has %d attempts under way, and the last free places are kept for others", e.w.Own.InFlight),
			Change: "raise delivery.concurrency",
		})
	}
	if e.w.Own.Full() {
		e.add(Reason{What: fmt.Sprintf("the stream has all of its %d attempts under way", e.w.Own.Limit), Change: "raise delivery.per_stream"})
	}
	if e.w.Ahead > 0 {
		e.add(Reason{What: fmt.Sprintf("%d deliveries of this stream to %s are due before it", e.w.Ahead, e.d.Destination)})
	}
}
