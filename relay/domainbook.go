package relay

import (
	"context"
	"sync"
	"time"
)

const (
	maxHopeless     = 10_000
	longestHopeless = time.Hour
	unknownHopeless = 5 * time.Minute // where the resolver does not tell for how long its answer holds
)

// DomainBook remembers domains that mail to is hopeless, as long as DNS says its answers hold, but no longer than an hour.
// Deliveries fill it. It is safe for concurrent use.
type DomainBook struct {
	now func() time.Time

	mu      sync.Mutex // guards domains
	domains map[string]hopeless
}

type hopeless struct {
	null  bool // else it does not exist, or has no mail host
	until time.Time
}

// NewDomainBook returns an empty book. A nil clock means time.Now.
func NewDomainBook(now func() time.Time) *DomainBook {
	if now == nil {
		now = time.Now
	}
	return &DomainBook{now: now, domains: map[string]hopeless{}}
}

// Refusing tells what is known against mail to a domain, in A-labels and lower case: that it does not exist or has no mail
// host, or that it takes no mail (RFC 7505). It never waits.
func (b *DomainBook) Refusing(domain string) (missing, null bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, ok := b.domains[domain]
	if !ok || !b.now().Before(h.until) {
		return false, false
	}
	return !h.null, h.null
}

// note keeps an answer of DNS for its time. All methods but Refusing work on nil.
func (b *DomainBook) note(domain string, null bool, holds time.Duration) {
	if b == nil || holds <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if len(b.domains) >= maxHopeless {
		b.forget(now)
	}
	b.domains[domain] = hopeless{null, now.Add(min(holds, longestHopeless))}
}

// forget makes room: of what is over, or else of any one. b.mu is held.
func (b *DomainBook) forget(now time.Time) {
	for domain, h := range b.domains {
		if !now.Before(h.until) {
			delete(b.domains, domain)
		}
	}
	for domain := range b.domains {
		if len(b.domains) < maxHopeless {
			return
		}
		delete(b.domains, domain)
	}
}

// clear takes back what was known: DNS has said otherwise.
func (b *DomainBook) clear(domain string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.domains, domain)
}

// noted writes down what the look for the mail hosts of a domain has ended with.
func (w *walk) noted(ctx context.Context, f *fault) {
	book := w.n.opts.Domains
	switch {
	case f == nil:
		book.clear(w.domain)
	case ctx.Err() != nil || f.reply.Command != phaseDNS || f.err != nil:
	case f.reply.Enhanced == [3]int{5, detailNullMX[0], detailNullMX[1]}:
		book.note(w.domain, true, w.answer.TTL)
	case f.reply.Enhanced == [3]int{5, detailNoHost[0], detailNoHost[1]}:
		book.note(w.domain, false, w.answer.TTL)
	}
}
