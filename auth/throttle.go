package auth

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"
)

// ThrottleOptions bounds how fast credentials can be guessed. Failures are
// counted by client network, which is one IPv4 address or one IPv6 /64, and by
// username.
//
// Every failure is answered late, and later with each further one of the same
// network. Too many of them box the network: it is refused unheard for a while,
// right credential or not. Too many failures of one username, from anywhere,
// slow that username for networks that have never logged in with it: after a
// failure of their own they are not heard for MaxDelay. For all others it works
// as if nothing had happened: a username is never locked, since that would let
// anybody lock it.
//
// Networks in Exempt are delayed like all others but never boxed: behind them
// stand a local relay or a gateway, and boxing it would stop everybody. An IPv6
// /64 that overlaps one of them is exempt as a whole.
type ThrottleOptions struct {
	NetworkFailures    int            // failures that box a network; 0 means 10
	NetworkWindow      time.Duration  // within which they count; 0 means 10 minutes
	BoxFor             time.Duration  // how long a network stays boxed; 0 means 15 minutes
	CredentialFailures int            // failures that slow a username; 0 means 30
	CredentialWindow   time.Duration  // within which they count; 0 means 1 hour
	FirstDelay         time.Duration  // delay of a network's first failure, doubled by each further one; 0 means 1 s
	MaxDelay           time.Duration  // most that it grows to; 0 means 10 s
	Exempt             []netip.Prefix // networks that are never boxed; nil means loopback, empty means none
	MaxEntries         int            // networks, usernames and successes remembered, of each; 0 means 65536
}

func (o ThrottleOptions) withDefaults() ThrottleOptions {
	o.NetworkFailures = orDefault(o.NetworkFailures, 10)
	o.NetworkWindow = orDefault(o.NetworkWindow, 10*time.Minute)
	o.BoxFor = orDefault(o.BoxFor, 15*time.Minute)
	o.CredentialFailures = orDefault(o.CredentialFailures, 30)
	o.CredentialWindow = orDefault(o.CredentialWindow, time.Hour)
	o.FirstDelay = orDefault(o.FirstDelay, time.Second)
	o.MaxDelay = max(orDefault(o.MaxDelay, 10*time.Second), o.FirstDelay)
	o.MaxEntries = orDefault(o.MaxEntries, 65536)
	if o.Exempt == nil {
		o.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return o
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// throttle remembers failures and successes in bounded memory. Times are
// durations since its start, so that a step of the wall clock does not matter.
type throttle struct {
	opts      ThrottleOptions
	now       func() time.Time
	start     time.Time
	seed      maphash.Seed
	networks  *recent[netip.Prefix, network]
	names     *recent[nameID, failures]
	successes *recent[success, struct{}]
}

// nameID stands for a username, which may be a server token and is therefore not
// kept. 0 stands for none.
type nameID uint64

type success struct {
	name    nameID
	network netip.Prefix
}

type network struct {
	failures   failures
	last       time.Duration // of the newest failure
	boxedUntil time.Duration
}

// failures holds the times of the newest failures, oldest first, at most as many
// as the limit that they are counted against.
type failures struct{ times []time.Duration }

// add notes a failure and returns how many lie within the window, at most limit.
func (f *failures) add(now, window time.Duration, limit int) int {
	f.prune(now, window)
	if len(f.times) == limit {
		f.times = slices.Delete(f.times, 0, 1)
	}
	f.times = append(f.times, now)
	return len(f.times)
}

func (f *failures) count(now, window time.Duration) int {
	f.prune(now, window)
	return len(f.times)
}

func (f *failures) prune(now, window time.Duration) {
	f.times = slices.DeleteFunc(f.times, func(t time.Duration) bool { return now-t >= window })
}

func newThrottle(opts ThrottleOptions, now func() time.Time) *throttle {
	opts = opts.withDefaults()
	return &throttle{
		opts: opts, now: now, start: now(), seed: maphash.MakeSeed(),
		networks:  newRecent[netip.Prefix, network](opts.MaxEntries),
		names:     newRecent[nameID, failures](opts.MaxEntries),
		successes: newRecent[success, struct{}](opts.MaxEntries),
	}
}

// NetworkOf returns what clients are counted by: one IPv4 address, one IPv6 /64. An
// address that is not valid, such as that of a unix socket, gives the zero prefix,
// which is never boxed.
func NetworkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (t *throttle) nameOf(username string) nameID {
	if len(username) > MaxCredential {
		username = username[:MaxCredential]
	}
	return nameID(maphash.String(t.seed, username)) | 1
}

func (t *throttle) elapsed() time.Duration { return t.now().Sub(t.start) }

func (t *throttle) exempt(n netip.Prefix) bool {
	return !n.IsValid() || slices.ContainsFunc(t.opts.Exempt, func(p netip.Prefix) bool {
		return p.Overlaps(n)
	})
}

// boxed tells whether the network is to be refused unheard.
func (t *throttle) boxed(n netip.Prefix) bool {
	boxed := false
	t.networks.look(n, func(v *network) { boxed = t.elapsed() < v.boxedUntil })
	return boxed
}

// gate decides before a credential is looked at: nil, or a *ThrottledError for a
// boxed network, and for a slowed username from a network that has failed within
// the last MaxDelay.
func (t *throttle) gate(n netip.Prefix, name nameID) error {
	now := t.elapsed()
	boxed, soon := false, false
	t.networks.look(n, func(v *network) {
		boxed = now < v.boxedUntil
		soon = now-v.last < t.opts.MaxDelay
	})
	switch {
	case boxed:
		return &ThrottledError{Delay: t.opts.FirstDelay}
	case soon && t.slowed(n, name, now):
		return &ThrottledError{Delay: t.opts.MaxDelay}
	}
	return nil
}

// slowed tells whether the username has too many failures, and the network no
// success with it.
func (t *throttle) slowed(n netip.Prefix, name nameID, now time.Duration) bool {
	hot := false
	t.names.look(name, func(f *failures) {
		hot = f.count(now, t.opts.CredentialWindow) >= t.opts.CredentialFailures
	})
	return hot && !t.successes.look(success{name, n}, func(*struct{}) {})
}

// fail counts a failure and returns the *DeniedError that answers it.
func (t *throttle) fail(n netip.Prefix, name nameID) error {
	now, exempt := t.elapsed(), t.exempt(n)
	denied := &DeniedError{}
	t.networks.edit(n, func(v *network) {
		count := v.failures.add(now, t.opts.NetworkWindow, t.opts.NetworkFailures)
		v.last = now
		denied.Delay = t.delay(count)
		if count >= t.opts.NetworkFailures && !exempt {
			v.boxedUntil, v.failures = now+t.opts.BoxFor, failures{}
			denied.Close = true
		}
	})
	if name == 0 {
		return denied
	}
	t.names.edit(name, func(f *failures) { f.add(now, t.opts.CredentialWindow, t.opts.CredentialFailures) })
	if t.slowed(n, name, now) {
		denied.Delay, denied.Close = t.opts.MaxDelay, true
	}
	return denied
}

// delay doubles with each failure after the first.
func (t *throttle) delay(count int) time.Duration {
	d := t.opts.FirstDelay
	for i := 1; i < count && d < t.opts.MaxDelay; i++ {
		d *= 2
	}
	return min(d, t.opts.MaxDelay)
}

// succeed notes that the network has logged in with the username. It forgets no
// failures: who has one credential could otherwise guess others for free.
func (t *throttle) succeed(n netip.Prefix, name nameID) {
	if name != 0 {
		t.successes.edit(success{name, n}, func(*struct{}) {})
	}
}
