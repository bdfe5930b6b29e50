package relay

// firstWindow is how many attempts at once a site gets that has not answered yet.
const firstWindow = 2

// site counts the attempts under way to one place, over all streams.
//
// It begins with a small window that every answer widens by one, up to the limit, and that silence closes to one. A site
// that is dead or a tar pit therefore holds two places out of the total, not all that its limit would give it, and a
// hundred such sites at once leave room for those that work.
type site struct {
	key     string
	limit   int
	window  int
	flying  int
	blocked ring[*lane]
}

// contact is what an attempt says about the site.
type contact int8

const (
	noContact contact = iota // nothing was asked of it
	answered
	silent
)

func (at *site) full() bool { return at.flying >= at.window }

func (at *site) learn(c contact) {
	switch c {
	case answered:
		at.window = min(at.window+1, at.limit)
	case silent:
		at.window = 1
	}
}

// contactOf reads it off the results: one reply of the remote is an answer.
func contactOf(results []Result) contact {
	c := noContact
	for _, r := range results {
		switch {
		case r.Reply.Command == phaseSign: // it went no further than this process
		case r.Reply.Host != "":
			return answered
		case r.Verdict() == Temporary || r.Verdict() == Uncertain:
			c = silent
		}
	}
	return c
}

func (s *schedule) site(r siteRule, destination string) *site {
	key, limit := r.site(destination, s.limits)
	at := s.sites[key]
	if at == nil {
		at = &site{key: key, limit: limit, window: min(firstWindow, limit)}
		if r.free {
			at.window = limit
		}
		s.sites[key] = at
	}
	return at
}

// release lets lanes go on after an attempt to their site has ended.
func (s *schedule) release(at *site) {
	if !at.full() {
		s.wakeBlocked(at)
	}
	s.dropSite(at)
}

// wakeBlocked lets all lanes go on that wait for the site. Waking them one at a time would leave a place unused when the
// one woken belongs to a stream that may not send; there are no more of them than streams.
func (s *schedule) wakeBlocked(at *site) {
	for at.blocked.len() > 0 {
		l := at.blocked.pop()
		l.site, l.place = nil, laneReady
		l.stream.ready.push(l)
		s.activate(l.stream)
	}
}

func (s *schedule) dropSite(at *site) {
	if at.flying == 0 && at.blocked.len() == 0 && s.sites[at.key] == at {
		delete(s.sites, at.key)
	}
}
