package relay

import (
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	unreachedFor = 30 * time.Minute // how long an address goes last after it failed
	maxUnreached = 10_000
)

// unreached remembers the addresses at which no session came about, so that the next attempt begins with others: the cap on
// the addresses of one attempt must not hide a host that works behind those that do not, and a thousand messages must not
// each wait for the same dead host first.
type unreached struct {
	mu    sync.Mutex // guards since
	since map[string]time.Time
}

func (u *unreached) failed(address string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.since) >= maxUnreached {
		u.forget(now)
	}
	u.since[address] = now
}

// forget makes room: for what is too old, or else for any one. u.mu is held.
func (u *unreached) forget(now time.Time) {
	for address, at := range u.since {
		if now.Sub(at) >= unreachedFor {
			delete(u.since, address)
		}
	}
	for address := range u.since {
		if len(u.since) < maxUnreached {
			return
		}
		delete(u.since, address)
	}
}

func (u *unreached) reached(address string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.since, address)
}

// when returns the time of the last failure, zero where there was none lately.
func (u *unreached) when(address string, now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	at, ok := u.since[address]
	if !ok || now.Sub(at) >= unreachedFor || now.Before(at) {
		return time.Time{}
	}
	return at
}

// last puts those that failed lately behind the others, the newest failure at the very end.
func (u *unreached) last(all iter.Seq2[hop, *fault], now func() time.Time) iter.Seq2[hop, *fault] {
	type waiting struct {
		hop hop
		at  time.Time
	}
	return func(yield func(hop, *fault) bool) {
		var later []waiting
		for h, f := range all {
			if at := u.when(h.address, now()); f == nil && !at.IsZero() {
				later = append(later, waiting{h, at})
			} else if !yield(h, f) {
				return
			}
		}
		slices.SortStableFunc(later, func(a, b waiting) int { return a.at.Compare(b.at) })
		for _, w := range later {
			if !yield(w.hop, nil) {
				return
			}
		}
	}
}

// receiving tells whether we listen on the port of mail hosts ourselves. Only then can mail come back to us.
func (n *network) receiving() bool {
	return slices.ContainsFunc(n.opts.Listeners, func(l netip.AddrPort) bool { return int(l.Port()) == n.opts.MXPort })
}

func (n *network) ownName(host string) bool {
	return n.receiving() && strings.EqualFold(host, n.opts.Hostname)
}

// ownAddress tells whether connecting to a mail host at the address would lead to a listener of ours.
func (n *network) ownAddress(a netip.Addr) bool {
	for _, l := range n.opts.Listeners {
		if int(l.Port()) != n.opts.MXPort {
			continue
		}
		if l.Addr().Unmap() == a || l.Addr().IsUnspecified() && (a.IsLoopback() || local(a)) {
			return true
		}
	}
	return false
}

func local(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(list, func(l net.Addr) bool {
		prefix, err := netip.ParsePrefix(l.String())
		return err == nil && prefix.Addr().Unmap() == a
	})
}
