package relay

import (
	"fmt"
	"math"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Health of a route: how many failures in a row put it to rest, and for how long.
const (
	restAfter = 3
	firstRest = time.Minute
	longRest  = 30 * time.Minute
)

// meter is what is known of one route: the account at a smarthost, whichever streams use it, or direct delivery by one
// stream. It counts recipients for the daily quota and the rate of the route, and its failures. The schedule owns it.
//
// The count of a day survives a restart: what may be used is written down before (reserved), in steps, so that a crash can
// only make the day's count too high.
type meter struct {
	key      string
	used     int // recipients today
	reserved int // written down for today
	asked    int // to be written down
	metered  bool
	flying   int // attempts under way

	tokens float64 // may be given at once; below 0 after a delivery with many recipients
	filled int64   // when tokens was right

	failures int // in a row
	until    int64
	rest     time.Duration
	probing  bool // one attempt finds out whether the rest can end
	why      string
	told     bool // the log says that it rests, and not yet that it is of use again
}

// today is the day that quotas are counted for.
type today struct {
	zone  *time.Location
	name  string // 2006-01-02
	begun int64
	ends  int64
}

// turn begins a new day, and tells whether it did. A clock that went back does not make a day begin again.
func (t *today) turn(now int64) bool {
	if now < t.ends {
		return false
	}
	at := time.Unix(0, now).In(t.zone)
	y, m, d := at.Date()
	t.begun, t.ends = now, time.Date(y, m, d+1, 0, 0, 0, 0, t.zone).UnixNano()
	t.name = at.Format(time.DateOnly)
	return true
}

// reserveStep is how many recipients of a quota are written down at once.
func reserveStep(quota int) int { return min(max(quota/20, 10), 1000) }

// left is how many recipients can be charged at once.
func (m *meter) left(r store.Route) int {
	if r.DailyQuota == 0 {
		return math.MaxInt
	}
	return max(0, min(r.DailyQuota, m.reserved)-m.used)
}

// waits returns until when a route can be given nothing, and why; 0 where it can.
func (m *meter) waits(r store.Route, day *today, now int64) (until int64, why string) {
	switch {
	case r.DailyQuota > 0 && m.used >= r.DailyQuota:
		return day.ends, fmt.Sprintf("its %d recipients of the day are used up", r.DailyQuota)
	case r.DailyQuota > 0 && m.used >= m.reserved:
		m.reserve(r)
		return math.MaxInt64, "the count of its day is being written"
	case !r.Rate.IsZero():
		if m.fill(r.Rate, now); m.tokens < 1 {
			gap := float64(r.Rate.Per) / float64(r.Rate.Count)
			return now + int64(math.Ceil((1-m.tokens)*gap)) + 1, fmt.Sprintf("its rate of %s is reached", r.Rate)
		}
	}
	return 0, ""
}

// reserve asks for more of the quota to be written down.
func (m *meter) reserve(r store.Route) {
	if m.asked <= m.reserved {
		m.asked = min(max(m.reserved, m.used)+reserveStep(r.DailyQuota), r.DailyQuota)
	}
}

// fill adds what time has brought. The most is what a second brings, and 1 at least.
func (m *meter) fill(r store.Rate, now int64) {
	full := max(1, float64(r.Count)*float64(time.Second)/float64(r.Per))
	if m.filled == 0 {
		m.tokens = full
	}
	if passed := now - m.filled; passed > 0 && m.filled != 0 {
		m.tokens = min(full, m.tokens+float64(passed)*float64(r.Count)/float64(r.Per))
	}
	m.filled = now
}

// charge takes up to n recipients off the quota and all that it took off the rate, and returns how many it took.
func (m *meter) charge(r store.Route, n int) int {
	n = min(n, m.left(r))
	m.used += n
	if r.DailyQuota > 0 {
		m.metered = true
		if m.used >= m.reserved-reserveStep(r.DailyQuota)/2 {
			m.reserve(r)
		}
	}
	if !r.Rate.IsZero() {
		m.tokens -= float64(n)
	}
	return n
}

// resting tells whether a route had better not be tried.
func (m *meter) resting(now int64) bool { return m.until != 0 && (now < m.until || m.probing) }

// fared learns from an attempt; idle says that it tells nothing.
func (m *meter) fared(ok, idle bool, why string, now int64) {
	switch {
	case ok:
		m.failures, m.until, m.rest, m.probing, m.why = 0, 0, 0, false, ""
		return
	case idle:
		m.probing = false
		return
	}
	m.failures++
	if m.failures < restAfter || now < m.until {
		m.probing = false // one that went while all routes were at rest: the rest is not over
		return            // below the limit, or an attempt that began before the rest
	}
	m.rest = min(max(2*m.rest, firstRest), longRest)
	m.until, m.probing, m.why = now+int64(m.rest), false, why
}
