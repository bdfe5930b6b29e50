package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mailchute/mailchute/store"
)

// from gives a hop one of the stream's source addresses, in turns among those of the hop's family. Where the stream has none
// of that family the address cannot be used: mail must not leave from one that the stream does not name. The family of a
// smarthost that is given by name is found by the dialler.
func (n *network) from(h hop, sources []store.Source) (hop, *fault) {
	if len(sources) == 0 {
		return h, nil
	}
	fit := sources
	if to, err := netip.ParseAddrPort(h.address); err == nil {
		fit = nil
		for _, s := range sources {
			if s.Address.Is4() == to.Addr().Unmap().Is4() {
				fit = append(fit, s)
			}
		}
	}
	if len(fit) == 0 {
		err := fmt.Errorf("the stream has no source address for %s", h.address)
		return h, broken(phaseConnect, detailRoute, err, n.opts.Now())
	}
	s := fit[int((n.turn.Add(1)-1)%uint64(len(fit)))]
	h.source, h.helo = s.Address, s.Hostname
	return h, nil
}

// name is ours in EHLO on connections to a target.
func (n *network) name(t target) string {
	if t.helo != "" {
		return t.helo
	}
	return n.opts.Hostname
}

func (n *network) dialer(t target) func(ctx context.Context, network, address string) (net.Conn, error) {
	if !t.source.IsValid() {
		return n.opts.Dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return n.opts.DialFrom(ctx, t.source, network, address)
	}
}

func dialFrom(ctx context.Context, source netip.Addr, network, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}}
	c, err := d.DialContext(ctx, network, address)
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		return nil, fmt.Errorf("from %s: %w", source, err)
	}
	return c, err
}
