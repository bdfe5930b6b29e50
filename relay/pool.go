package relay

import (
	"slices"
	"sync"
	"time"
)

// PoolOptions bounds the reuse of connections. A zero field means the default.
type PoolOptions struct {
	Idle     time.Duration // how long an unused connection is kept; 20 seconds
	PerHost  int           // unused connections kept to one target; 50
	Total    int           // unused connections kept in all; 200
	Messages int           // transactions on one connection; 100
}

func (o PoolOptions) withDefaults() PoolOptions {
	setDefault(&o.Idle, 20*time.Second)
	setDefault(&o.PerHost, 50)
	setDefault(&o.Total, 200)
	setDefault(&o.Messages, 100)
	return o
}

// pool keeps connections that ended a transaction in good order. The newest is used first, so that a burst leaves the
// surplus to die.
type pool struct {
	opts PoolOptions

	mu      sync.Mutex // guards what follows; never held during I/O
	idle    map[target][]*conn
	count   int
	closing sync.WaitGroup // QUITs on their way
}

func newPool(o PoolOptions) *pool { return &pool{opts: o, idle: map[target][]*conn{}} }

// get returns an idle connection to the target, or nil. One on which something was said that nobody asked for is out of
// step: without pipelining the answer to RCPT would be taken for that to a chunk.
func (p *pool) get(t target) *conn {
	for {
		c := p.take(t)
		if c == nil || !unasked(c.raw) {
			return c
		}
		p.mu.Lock()
		p.farewell(c)
		p.mu.Unlock()
	}
}

func (p *pool) take(t target) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[t]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	p.keep(t, list[:len(list)-1])
	p.count--
	c.idle.Stop() // if it fired already, expire finds nothing to remove, or takes an idle connection a little early
	c.pooled = true
	return c
}

// put keeps a connection or says good-bye to it. One on which something was said that nobody asked for is out of step.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[c.target]
	if c.dead || c.br.Buffered() > 0 || c.full(p.opts.Messages) || len(list) >= p.opts.PerHost || p.count >= p.opts.Total {
		p.farewell(c)
		return
	}
	p.idle[c.target] = append(list, c)
	p.count++
	if c.idle == nil {
		c.idle = time.AfterFunc(p.opts.Idle, func() { p.expire(c) })
		return
	}
	c.idle.Reset(p.opts.Idle)
}

// expire closes a connection whose time is over, unless somebody took it first.
func (p *pool) expire(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.remove(c) {
		p.farewell(c)
	}
}

// remove takes c out and tells whether it was there. p.mu is held.
func (p *pool) remove(c *conn) bool {
	list := p.idle[c.target]
	i := slices.Index(list, c)
	if i < 0 {
		return false
	}
	p.keep(c.target, slices.Delete(list, i, i+1))
	p.count--
	return true
}

// keep replaces the connections that are kept to a target. p.mu is held.
func (p *pool) keep(t target, list []*conn) {
	if len(list) == 0 {
		delete(p.idle, t)
		return
	}
	p.idle[t] = list
}

// farewell says QUIT without making the caller wait. p.mu is held, which orders Add before Close's Wait.
func (p *pool) farewell(c *conn) { p.closing.Go(c.quit) }

// close says good-bye to all idle connections and waits until that is done.
func (p *pool) close() {
	p.mu.Lock()
	for _, list := range p.idle {
		for _, c := range list {
			c.idle.Stop()
			p.farewell(c)
		}
	}
	clear(p.idle)
	p.count = 0
	p.mu.Unlock()
	p.closing.Wait()
}
