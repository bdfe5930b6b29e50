package relay

import (
	"context"
	"errors"
)

// maxBarren is how many sessions in a row that delivered nothing are followed by another to the same address.
const maxBarren = 3

// visit gives one target the recipients that are left. met tells whether there was a session; a fault leaves some
// recipients for another target.
//
// A host may end a session after some messages, and we do so ourselves: the rest follows in a new session at once, which
// says nothing against the host. Every session settles a recipient at least, and few in a row may deliver to nobody.
func (n *network) visit(ctx context.Context, h hop, e *errand) (met bool, f *fault) {
	c := n.pool.get(h.target)
	for barren := 0; ; {
		if c == nil {
			if c, f = n.reach(ctx, h, met); f != nil {
				return met, n.unmet(e, f)
			}
			if h.rival = ""; c.target.address != h.address {
				h.address = c.target.address
				e.met = append(e.met, h.address)
			}
		} else {
			c.under(h.pact)
			transcriptOf(ctx).remark("on a kept connection to " + c.place)
		}
		if f = n.promises(c, e); f != nil {
			n.pool.put(c)
			return met, f
		}
		met = true
		taken := c.taken
		f = n.converse(ctx, c, e)
		switch {
		case f == nil:
			return true, nil
		case ctx.Err() != nil:
			return true, broken(phaseMail, detailLost, context.Cause(ctx), n.opts.Now())
		case !f.over && !f.fresh: // a kept connection may have died unseen: no sign of life says nothing about the host
			return true, f
		case c.taken > taken:
			barren = 0
		default:
			if barren++; barren > maxBarren {
				return true, f
			}
		}
		transcriptOf(ctx).note("%d recipients are left for a new session", len(e.env.rcpts))
		c = nil
	}
}

// reach opens a session. An address at which one did not come about is remembered, unless one just did.
func (n *network) reach(ctx context.Context, h hop, met bool) (*conn, *fault) {
	c, f := n.connect(ctx, h)
	switch {
	case f == nil:
		if n.unreached.reached(c.target.address); c.target.address != h.address {
			n.unreached.failed(h.address, n.opts.Now())
		}
	case ctx.Err() == nil && !met && !f.short:
		n.unreached.failed(h.address, n.opts.Now())
	}
	return c, f
}

// converse runs transactions until no recipient is left, and keeps the connection or gives it up.
func (n *network) converse(ctx context.Context, c *conn, e *errand) *fault {
	defer n.pool.put(c)
	c.talk = transcriptOf(ctx)
	settled := false
	defer func() {
		c.talk = nil
		if !settled {
			c.kill() // a panic in between: nobody knows what the host waits for
		}
	}()
	f := n.transactions(ctx, c, e)
	settled = true
	if c.unfit {
		n.unfit.failed(c.target.address, n.opts.Now())
	}
	return f
}

func (n *network) transactions(ctx context.Context, c *conn, e *errand) *fault {
	for len(e.env.rcpts) > 0 {
		if ctx.Err() != nil {
			return c.broken(ctx, phaseMail, context.Cause(ctx))
		}
		if c.full(n.opts.Pool.Messages) {
			return n.sessionOver(c)
		}
		batch := together(e.env.rcpts[:min(len(e.env.rcpts), c.ext.batch())])
		t := &transaction{c: c, env: e.env, open: e.open, ending: e.announce(), results: e.results}
		t.env.rcpts, t.env.from = batch, batch[0].from
		t.on(batch[0].rcpt.Top)
		t.chunk = c.ext.chunking && e.env.message.Size > 0 && n.unfit.when(c.target.address, n.opts.Now()).IsZero()
		f := t.run(ctx)
		retry := tooMany(batch, e.results)
		rest := e.env.rcpts[len(batch):]
		e.env.rcpts = append(append(undecided(batch, e.results), retry...), rest...)
		if f != nil {
			f.over = f.over || c.ended && c.uses > 1
			return f
		}
		if c.dead && len(e.env.rcpts) > 0 {
			f := n.sessionOver(c)
			f.over = c.ended && c.uses > 1
			return f
		}
	}
	return nil
}

// sessionOver is the fault of a session that ended between two transactions.
func (n *network) sessionOver(c *conn) *fault {
	err := errors.New(c.target.host + ": connection ended before all recipients were served")
	f := broken(phaseMail, detailLost, err, n.opts.Now())
	f.over = true
	return f
}

// batch is how many recipients a transaction may have.
func (e extensions) batch() int {
	if e.maxRcpts > 0 {
		return min(e.maxRcpts, maxRcpts)
	}
	return maxRcpts
}
