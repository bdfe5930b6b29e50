package mtasts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrClosed is the error of a Cache that was closed.
var ErrClosed = errors.New("MTA-STS cache is closed")

// idle is for how long Refresh keeps up policies that nobody asks for.
const idle = 30 * 24 * time.Hour

// Cache keeps the policies of domains, in memory and in a directory. It is safe for concurrent use. One process at a time may have a directory open.
type Cache struct {
	opts   Options
	dir    string
	client *http.Client
	ctx    context.Context // of all flights; ends with Close
	cancel context.CancelFunc
	flying sync.WaitGroup

	mu      sync.Mutex
	entries map[string]entry
	flights map[string]*flight
	closed  bool

	// disk orders the file operations; it is held across them so that what is on disk never falls behind what was there
	// before. mu may be taken inside it.
	disk sync.Mutex
}

// flight is one look at a domain's DNS and policy host, for all who wait for it.
type flight struct {
	done  chan struct{}
	entry entry
	err   error // of storing
}

// Open makes a Cache with the policies that lie in a directory, which is made if need be.
func Open(dir string, o Options) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening MTA-STS cache: %w", err)
	}
	list, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("opening MTA-STS cache: %w", err)
	}
	o = o.withDefaults()
	c := &Cache{opts: o, dir: dir, client: newClient(o), entries: map[string]entry{}, flights: map[string]*flight{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, s := range list {
		c.entries[s.Domain] = entry{policy: s.Policy, held: true, used: s.Used}
	}
	for _, domain := range c.evict() {
		if err := remove(dir, domain); err != nil {
			return nil, fmt.Errorf("opening MTA-STS cache: %w", err)
		}
	}
	return c, nil
}

// Close ends the fetches under way and waits for them. Policies in force can be had afterwards too, with ErrClosed where a look at DNS was due.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.flying.Wait()
	return nil
}

// Policy returns the policy of a domain, in A-labels, as of now. It looks at DNS at most once per Options.Recheck, and at the policy host when the id has
// changed or the policy is old; several callers for one domain wait for the same look. The package comment says how found and err go together.
func (c *Cache) Policy(ctx context.Context, domain string, now time.Time) (p Policy, found bool, err error) {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	if !askable(domain) {
		return Policy{}, false, nil // an address literal, or nothing that DNS could know
	}
	return c.policy(ctx, domain, now, true)
}

func (c *Cache) policy(ctx context.Context, domain string, now time.Time, use bool) (Policy, bool, error) {
	c.mu.Lock()
	e, known := c.entries[domain]
	if known && use {
		e.used = now
		c.entries[domain] = e
	}
	if known && e.fresh(now, c.opts) {
		c.mu.Unlock()
		return e.answer(now)
	}
	if c.closed {
		c.mu.Unlock()
		e.err = ErrClosed
		return e.answer(now)
	}
	f := c.flights[domain]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flights[domain] = f
		c.flying.Go(func() { c.fly(f, domain, now) })
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		p, found, err := f.entry.answer(now)
		return p, found, errors.Join(err, f.err)
	case <-ctx.Done():
		e.err = context.Cause(ctx)
		return e.answer(now)
	}
}

// fly brings a domain up to date. It does not end with the caller who began it: others may wait for it.
func (c *Cache) fly(f *flight, domain string, now time.Time) {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	c.mu.Lock()
	old := c.entries[domain]
	c.mu.Unlock()
	f.entry = c.look(ctx, domain, old, now)
	c.tell(domain, old, f.entry)
	c.mu.Lock()
	if e, ok := c.entries[domain]; ok {
		f.entry.used = e.used // asked for meanwhile
	} else {
		f.entry.used = now
	}
	c.entries[domain] = f.entry
	gone := c.evict()
	c.mu.Unlock()
	if f.entry.held && !f.entry.policy.Fetched.Equal(old.policy.Fetched) {
		f.err = c.settle(domain)
	}
	for _, d := range gone {
		f.err = errors.Join(f.err, c.settle(d))
	}
	c.mu.Lock()
	delete(c.flights, domain)
	c.mu.Unlock()
	close(f.done)
}

// look is the discovery of RFC 8461 3: the record, and the policy where that is due.
func (c *Cache) look(ctx context.Context, domain string, old entry, now time.Time) entry {
	e := old
	e.checked, e.err = now, nil
	records, err := c.opts.LookupTXT(ctx, "_mta-sts."+domain)
	if err != nil {
		e.err = fmt.Errorf("looking up the MTA-STS record of %s: %w", domain, err)
		return e
	}
	id, err := ParseRecord(records)
	switch {
	case errors.Is(err, ErrNoRecord):
		e.err = fmt.Errorf("%s: %w", domain, err)
		return e
	case err != nil:
		e.err = &FetchError{domain, Invalid, err}
		return e
	case e.inForce(now) && e.policy.ID == id && !e.due(now, c.opts):
		return e
	case e.failedID == id && within(e.failed, now, c.opts.Retry):
		e.err = e.failure
		return e
	}
	p, err := c.fetch(ctx, domain, id, now)
	if err != nil {
		e.failed, e.failedID, e.failure, e.err = now, id, err, err
		return e
	}
	return entry{policy: p, held: true, checked: now}
}

// tell logs what the look at a domain has changed. A policy that cannot be had is told once for each reason: mail goes on by the
// one before, or as if there were none.
func (c *Cache) tell(domain string, old, e entry) {
	var failed *FetchError
	switch {
	case c.ctx.Err() != nil: // closed, which says nothing about the domain
	case errors.As(e.err, &failed) && (old.err == nil || old.err.Error() != e.err.Error()):
		c.opts.Logger.Warn("MTA-STS policy not to be had", "domain", domain, "in_force", e.inForce(e.checked), "err", failed.Err)
	case e.held && (!old.held || e.policy.ID != old.policy.ID || e.policy.Mode != old.policy.Mode):
		c.opts.Logger.Info("MTA-STS policy", "domain", domain, "mode", e.policy.Mode, "id", e.policy.ID, "mx", e.policy.MX)
	}
}

// settle makes the disk say of a domain what memory says.
func (c *Cache) settle(domain string) error {
	c.disk.Lock()
	defer c.disk.Unlock()
	c.mu.Lock()
	e := c.entries[domain]
	c.mu.Unlock()
	if !e.held {
		return remove(c.dir, domain)
	}
	return store(c.dir, saved{Domain: domain, Used: e.used, Policy: e.policy})
}

// evict makes room and returns the domains that went; c.mu is held. It takes a tenth at once so that a full cache is not sorted for every domain.
func (c *Cache) evict() []string {
	if len(c.entries) <= c.opts.MaxEntries {
		return nil
	}
	domains := make([]string, 0, len(c.entries))
	for d := range c.entries {
		domains = append(domains, d)
	}
	slices.SortFunc(domains, func(a, b string) int {
		x, y := c.entries[a], c.entries[b]
		if x.held != y.held {
			if y.held {
				return -1
			}
			return 1
		}
		return x.used.Compare(y.used)
	})
	gone := domains[:len(domains)-max(1, c.opts.MaxEntries*9/10)]
	for _, d := range gone {
		delete(c.entries, d)
	}
	return gone
}

// Refresh brings those policies up to date that are old and were asked for in the last 30 days, one after the other, and forgets those that ran out. Called every
// hour or so it keeps a policy in force for domains that get mail seldom (RFC 8461 10.2). The error joins what went wrong for single domains.
func (c *Cache) Refresh(ctx context.Context, now time.Time) error {
	c.mu.Lock()
	var due, over []string
	for d, e := range c.entries {
		switch {
		case e.held && !e.inForce(now):
			over = append(over, d)
			delete(c.entries, d)
		case e.held && e.due(now, c.opts) && now.Sub(e.used) < idle:
			due = append(due, d)
		}
	}
	c.mu.Unlock()
	var errs []error
	for _, d := range over {
		errs = append(errs, c.settle(d))
	}
	slices.Sort(due)
	for _, d := range due {
		if ctx.Err() != nil {
			break
		}
		_, _, err := c.policy(ctx, d, now, false)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// askable tells whether the names that belong to a domain's policy can exist.
func askable(domain string) bool {
	return strings.Contains(domain, ".") && hostname("_mta-sts."+domain) && strings.Trim(domain, "0123456789.") != ""
}
