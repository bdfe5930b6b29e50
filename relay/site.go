package relay

import (
	"time"
)

// firstWindow is how many attempts at once a site gets that has not answered yet.
const firstWindow = 2

// How long a site is left alone, doubling from the first to the longest with every further failure.
const (
	shortestDead, longestDead = 30 * time.Second, 10 * time.Minute // after silence
	shortestRest, longestRest = 15 * time.Second, 5 * time.Minute  // after a reply that asks for less
	longestAsked              = 15 * time.Minute                   // where the reply names a time
)

// maxChanges is how many changes of its limit are kept of a site.
const maxChanges = 8

// site is what is known of one place that mail is delivered to, over all streams: the set of mail hosts that a domain
// names, the large receiver that they belong to, or a smarthost.
//
// Its window is how many attempts it gets at once. It begins small, every answer widens it by one, up to the limit. A
// reply that asks for less halves it, as does silence; from then on it takes as many answers as the window is wide to
// widen it by one. Where it is one already, a site that asks for less gets nothing for a while (rest), and its mail stays
// where it is. A site that gives no answer at all is dead for a while: its mail is put off by its own retry schedule with
// the answer of the one that asked last, so that ten thousand messages cost one probe, and expire like any other.
type site struct {
	key     string
	limit   int
	first   int // window of a site that nothing is known of
	window  int
	flying  int
	blocked ring[*lane]

	proven   bool  // it has answered
	cut      int64 // when the window was made smaller last, 0: never
	credit   int   // answers since the window changed
	failures int   // in a row
	rest     int64 // nothing starts before
	resting  bool  // in schedule.resting
	dead     int64 // what is due before is put off without asking
	memo     string
	changes  []SiteChange
	kept     bool // in schedule.idle
}

// SiteChange is one change of a site's limit.
type SiteChange struct {
	At   time.Time `json:"at"`
	From int       `json:"from"`
	To   int       `json:"to"`
	Why  string    `json:"why"`
}

func (at *site) full() bool { return at.flying >= at.window }

// closed tells whether a lane must wait for the site. What a dead site gets without being asked is bounded, too: it costs
// a write to the store each.
func (at *site) closed(now int64) bool {
	switch {
	case at.rest > now:
		return true
	case at.dead > now:
		return at.flying >= max(at.limit, firstWindow)
	}
	return at.full()
}

// learn takes in what an attempt that began at the given time says. Several attempts under way tell of one event: only the
// first of them changes the window.
func (at *site) learn(c contact, began, now int64) {
	switch c.kind {
	case answered:
		at.proven, at.failures, at.dead = true, 0, 0
		at.widen(now)
	case slowDown:
		at.slow(c, began, now)
	case silent:
		at.silence(c, began, now)
	}
}

func (at *site) widen(now int64) {
	if at.credit++; at.window >= at.limit || at.cut != 0 && at.credit < at.window {
		return
	}
	if at.set(at.window+1, now, "answers without complaint"); at.window == at.limit {
		at.cut = 0
	}
}

func (at *site) slow(c contact, began, now int64) {
	at.proven, at.dead = true, 0
	if began <= at.cut {
		return
	}
	was := at.window
	at.cut = now
	at.set(max(at.window/2, 1), now, c.why)
	if !c.refuses || was > 1 && c.asked == 0 {
		return
	}
	pause := doubled(shortestRest, longestRest, at.failures)
	if c.asked > 0 {
		pause = min(c.asked, longestAsked)
	}
	at.failures++
	at.rest, at.memo = now+int64(pause), c.why
}

func (at *site) silence(c contact, began, now int64) {
	if began <= at.cut {
		return
	}
	was := at.window
	at.cut = now
	if at.proven && was > 1 {
		at.set(was/2, now, c.why)
		return
	}
	at.set(1, now, c.why)
	at.dead, at.memo = now+int64(doubled(shortestDead, longestDead, at.failures)), c.why
	at.failures++
}

func (at *site) set(window int, now int64, why string) {
	at.credit = 0
	if window == at.window {
		return
	}
	n := len(at.changes)
	if rise := window > at.window; rise && (n == 0 || at.changes[n-1].To > at.changes[n-1].From) {
		if n > 0 { // a series of rises is one change
			at.changes[n-1].To, at.changes[n-1].At = window, time.Unix(0, now).UTC()
		}
		at.window = window
		return
	}
	if n == maxChanges {
		at.changes = append(at.changes[:0], at.changes[1:]...)
	}
	at.changes = append(at.changes, SiteChange{time.Unix(0, now).UTC(), at.window, window, why})
	at.window = window
}

func doubled(first, longest time.Duration, times int) time.Duration {
	return min(first<<min(times, 10), longest)
}

// site finds the site of a destination, or begins one. domain is the destination that the rule leads to, as long as its
// site depends on look-ups, else "".
func (s *schedule) site(r siteRule, destination string) (at *site, domain string) {
	key, limit := r.site(destination, s.limits)
	first := min(firstWindow, limit)
	switch {
	case r.free:
		first = limit
	case !r.smarthost:
		domain = key
		if known, ok := s.known.get(domain); ok {
			key = known
		}
		if v, ok := receiverNamed(key); ok {
			limit = min(limit, v.Most)
			first = min(limit, v.First)
		}
	}
	if at = s.sites[key]; at == nil {
		at = &site{key: key, limit: limit, first: first, window: first}
		s.sites[key] = at
		s.recall(at)
	}
	return at, domain
}

// learned takes in what an attempt says of its site, and which hosts its domain has.
func (s *schedule) learned(g leg, c contact, now int64) {
	if g.domain != "" && len(c.hosts) > 0 {
		s.known.put(g.domain, siteOf(c.hosts))
	}
	if c.lookup && g.domain != "" && g.site.key != g.domain {
		s.known.drop(g.domain) // one domain's name servers are silent: that says nothing about the hosts
		return
	}
	g.site.learn(c, g.began, now)
}

// release lets lanes go on after an attempt to their site has ended.
func (s *schedule) release(at *site) {
	if !at.full() && !at.resting {
		s.wakeBlocked(at)
	}
	s.dropSite(at)
}

// wakeBlocked lets all lanes go on that wait for the site. Waking them one at a time would leave a place unused when the
// one woken belongs to a stream that may not send.
func (s *schedule) wakeBlocked(at *site) {
	for at.blocked.len() > 0 {
		l := at.blocked.pop()
		l.site, l.place = nil, laneReady
		l.stream.ready.push(l)
		s.activate(l.stream)
	}
}

// maxSites bounds how many sites are remembered that nothing is under way to.
const maxSites = 10_000

// dropSite forgets a site that nobody uses and nothing is known of. The others are remembered; where there are too many,
// those go first that were used up longest ago.
func (s *schedule) dropSite(at *site) {
	if !at.idle() || s.sites[at.key] != at {
		return
	}
	if at.window == at.first && at.cut == 0 {
		delete(s.sites, at.key)
		return
	}
	if !at.kept {
		at.kept = true
		s.idle.push(at)
	}
	for len(s.sites) > maxSites && s.idle.len() > 0 {
		old := s.idle.pop()
		old.kept = false
		if old.idle() {
			delete(s.sites, old.key)
		}
	}
}

func (at *site) idle() bool { return at.flying == 0 && at.blocked.len() == 0 && !at.resting }

// restingOrder is container/heap's view of the sites that lanes wait for the rest of.
type restingOrder []*site

func (o restingOrder) Len() int           { return len(o) }
func (o restingOrder) Less(i, j int) bool { return o[i].rest < o[j].rest }
func (o restingOrder) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *restingOrder) Push(x any)        { *o = append(*o, x.(*site)) }
func (o *restingOrder) Pop() any {
	last := len(*o) - 1
	at := (*o)[last]
	*o = (*o)[:last]
	return at
}
