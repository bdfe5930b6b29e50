package relay

import (
	"container/heap"
	"fmt"
	"sync"
	"time"
)

// How far the wall clock may move against the monotonic one before it counts as a jump.
const (
	clockJump = time.Hour
	clockBack = time.Minute
)

// clock watches the wall clock. Mail must not expire because the clock jumped ahead, or because the machine slept: what it
// jumped is not counted against a delivery's time, as long as this process runs. Nor may mail wait for a time that was near
// before the clock went back.
type clock struct {
	now  func() time.Time
	jump func(time.Duration) // told of each jump

	mu    sync.Mutex // guards what follows
	wall  time.Time
	mono  time.Time
	ahead time.Duration // sum of the jumps, never below 0
	backs int           // how often it went back
	last  time.Duration // the newest jump, 0 where there was none
	from  time.Time     // what it showed before that
}

func newClock(now func() time.Time, jump func(time.Duration)) *clock {
	return &clock{now: now, jump: jump, wall: now().Round(0), mono: time.Now()}
}

// jumped returns by how much the wall clock has jumped ahead since the beginning.
func (c *clock) jumped() time.Duration {
	ahead, _ := c.look()
	return ahead
}

// look also returns how often the clock went back.
func (c *clock) look() (ahead time.Duration, backs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, mono := c.now().Round(0), time.Now()
	by, from := wall.Sub(c.wall)-mono.Sub(c.mono), c.wall
	c.wall, c.mono = wall, mono
	if by.Abs() >= clockJump {
		c.ahead = max(c.ahead+by, 0)
	}
	if by <= -clockBack {
		c.backs++
	}
	if by >= clockJump || by <= -clockBack {
		c.last, c.from = by, from
		c.jump(by)
	}
	return c.ahead, c.backs
}

// Jumped returns by how much the wall clock has jumped ahead since the process began.
func (d *Dispatcher) Jumped() time.Duration { return d.clock.jumped() }

// ClockFault returns an error that says how the wall clock has jumped since the process began, nil where it has not. The jumps
// are not counted against mail; the error stays until the process ends, so that somebody looks at the clock.
func (d *Dispatcher) ClockFault() error {
	d.clock.look()
	c := d.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == 0 {
		return nil
	}
	way := "ahead"
	if c.last < 0 {
		way = "back"
	}
	return fmt.Errorf("the clock jumped %s by %v from %s: look at the machine's time service, and start again when the time is right",
		way, c.last.Abs().Round(time.Second), c.from.UTC().Format(time.RFC3339))
}

// longestWait is the longest that any decision lets a delivery wait.
func (p Policy) longestWait(lease time.Duration) time.Duration {
	longest := max(p.UncertainWait, p.HoldWait, longestHint+longestHint/10, lease)
	for _, d := range p.Schedule {
		longest = max(longest, d+time.Duration(float64(d)*max(p.Jitter, 0)))
	}
	return longest
}

// nearer bounds a due time: what lies further ahead than any decision puts it was decided under a clock that was ahead.
func (s *schedule) nearer(due, now int64) (bounded int64, early bool) {
	if latest := now + int64(s.longest); s.longest > 0 && due > latest {
		return latest, true
	}
	return due, false
}

// clockWentBack moves what waits for the old future to where it may be under the new time.
func (s *schedule) clockWentBack(now int64) {
	for _, q := range s.streams {
		for _, l := range q.lanes {
			for i := range l.heap {
				e := s.tickets.at(l.heap[i])
				if due, early := s.nearer(e.due, now); early {
					e.due, e.early = due, true
				}
			}
			for i := len(l.heap)/2 - 1; i >= 0; i-- {
				s.tickets.down(l, i)
			}
		}
	}
	heap.Init(laneOrder{s})
	for _, at := range s.sites {
		at.rest, at.dead = min(at.rest, now+int64(longestAsked)), min(at.dead, now+int64(longestDead))
		at.cut = min(at.cut, now)
	}
	heap.Init(&s.resting)
	for _, m := range s.meters {
		m.filled, m.until = min(m.filled, now), min(m.until, now+int64(longRest))
	}
	if now < s.day.begun {
		s.day.ends = 0 // what was used stays used
		s.day.turn(now)
	}
	s.openAll()
}
