package relay

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// stagger is the head start of IPv6 over IPv4 (RFC 8305 5).
const stagger = 250 * time.Millisecond

// rivalOf is the IPv4 address that is dialled as well when the IPv6 address before it keeps silent; "" means none. addrs
// alternate between the families.
func (w *walk) rivalOf(addrs []netip.Addr, i int) string {
	if i+1 >= len(addrs) || addrs[i].Is4() || !addrs[i+1].Is4() {
		return ""
	}
	t, f := w.n.addressTarget("", addrs[i+1], w.mode)
	if f != nil {
		return ""
	}
	return t.address
}

// dialled is how one attempt to connect has ended.
type dialled struct {
	conn    net.Conn
	address string
	err     error
}

// race dials a hop, and its rival a little later, as RFC 8305 does: IPv6 that leads nowhere must not cost the whole time
// that a connection may take. A hop that fails at once has no rival: what follows it is tried next anyway. A hop with a
// source address of its own has none either, since that is of one family.
func (n *network) race(ctx context.Context, h hop) dialled {
	dial := n.dialer(h.target)
	try := func(ctx context.Context, address string) dialled {
		c, err := dial(ctx, "tcp", address)
		return dialled{c, address, err}
	}
	if h.rival == "" || h.source.IsValid() || !n.unreached.when(h.rival, n.opts.Now()).IsZero() {
		return try(ctx, h.address)
	}
	ctx, cancel := context.WithCancel(ctx)
	results, running := make(chan dialled, 2), 1
	go func() { results <- try(ctx, h.address) }() // joined by receiving
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	var end, first dialled
	for {
		select {
		case <-timer.C:
			running++
			go func() { results <- try(ctx, h.rival) }() // joined by receiving
			continue
		case end = <-results:
		}
		if end.address == h.address {
			first = end
		}
		if running--; end.err == nil || running == 0 {
			break
		}
	}
	cancel()
	for ; running > 0; running-- {
		if late := <-results; late.err == nil {
			late.conn.Close() // nothing was said on it
		}
	}
	if end.err != nil {
		return first // the rival has its own turn
	}
	return end
}
