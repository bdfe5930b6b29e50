package unsubscribe

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A network, an IPv4 address or an IPv6 /64, may ask that often. Mailbox providers unsubscribe for many people at once,
// and behind a proxy everybody has one address, so it is no low limit: tokens cannot be guessed, this only bounds the load.
const (
	perSecond   = 50
	burst       = 500
	maxNetworks = 20_000
)

// limits counts requests by network. Its memory is bounded: when there are too many networks all start afresh.
type limits struct {
	mu       sync.Mutex // guards networks
	networks map[netip.Prefix]*rate.Limiter
}

func newLimits() *limits { return &limits{networks: map[netip.Prefix]*rate.Limiter{}} }

func (l *limits) allow(from netip.Addr, now time.Time) bool {
	bits := 32
	if from.Is6() {
		bits = 64
	}
	network, _ := from.Prefix(bits) // an unknown address is a network of its own
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.networks[network]
	if !ok {
		if len(l.networks) >= maxNetworks {
			clear(l.networks)
		}
		limiter = rate.NewLimiter(perSecond, burst)
		l.networks[network] = limiter
	}
	return limiter.AllowN(now, 1)
}
