package relay

import (
	"sync"
	"time"
)

// clockJump is how far the wall clock may move against the monotonic one before it counts as a jump.
const clockJump = time.Hour

// clock watches the wall clock. Mail must not expire because the clock jumped ahead, or because the machine slept: what it
// jumped is not counted against a delivery's time, as long as this process runs.
type clock struct {
	now  func() time.Time
	jump func(time.Duration) // told of each jump

	mu    sync.Mutex // guards what follows
	wall  time.Time
	mono  time.Time
	ahead time.Duration // sum of the jumps, never below 0
}

func newClock(now func() time.Time, jump func(time.Duration)) *clock {
	return &clock{now: now, jump: jump, wall: now().Round(0), mono: time.Now()}
}

// jumped returns by how much the wall clock has jumped ahead since the beginning.
func (c *clock) jumped() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, mono := c.now().Round(0), time.Now()
	by := wall.Sub(c.wall) - mono.Sub(c.mono)
	c.wall, c.mono = wall, mono
	if by.Abs() >= clockJump {
		c.ahead = max(c.ahead+by, 0)
		c.jump(by)
	}
	return c.ahead
}
