package auth

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// clock is a time that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: epoch} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// siege is a verifier under a test's clock with one SMTP token to guess.
type siege struct {
	*testing.T
	v    *Verifier
	c    *clock
	pair SMTPCredential
}

func newSiege(t *testing.T, opts ThrottleOptions) siege {
	w, c := newWorld(t), newClock()
	pair, _ := w.smtpToken(shop, "outbound")
	return siege{t, NewVerifier(w.d, w.k, VerifierOptions{Throttle: opts, Now: c.Now}), c, pair}
}

func (s siege) wrong(from netip.Addr) error {
	_, err := s.v.SMTP(s.Context(), from, s.pair.AccessKey, "wrong")
	return err
}

func (s siege) right(from netip.Addr) error {
	_, err := s.v.SMTP(s.Context(), from, s.pair.AccessKey, s.pair.Secret)
	return err
}

// mustDeny demands a failure that was looked at.
func (s siege) mustDeny(from netip.Addr) *DeniedError {
	s.Helper()
	var denied *DeniedError
	if err := s.wrong(from); !errors.As(err, &denied) {
		s.Fatalf("from %v: got %v", from, err)
	}
	return denied
}

func (s siege) mustLetIn(from netip.Addr) {
	s.Helper()
	if err := s.right(from); err != nil {
		s.Fatalf("from %v: got %v", from, err)
	}
}

func TestDelayGrowsThenTheNetworkIsBoxed(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	for i, seconds := range []int{1, 2, 4, 8, 10, 10, 10, 10, 10, 10} {
		if s.v.Boxed(office) {
			t.Fatalf("boxed before failure %d", i+1)
		}
		want := DeniedError{Delay: time.Duration(seconds) * time.Second, Close: i == 9}
		if got := s.mustDeny(office); *got != want {
			t.Errorf("failure %d: got %+v, want %+v", i+1, *got, want)
		}
	}
	if !s.v.Boxed(office) || s.v.Boxed(home) {
		t.Errorf("boxed: office %v, home %v", s.v.Boxed(office), s.v.Boxed(home))
	}
	err := s.right(office)
	if !errors.Is(err, ErrThrottled) || errors.Is(err, ErrDenied) || DelayOf(err) != time.Second {
		t.Errorf("in the box: %v after %v", err, DelayOf(err))
	}
	s.mustLetIn(home)
}

func TestBoxOpensAgain(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	for range 10 {
		s.mustDeny(office)
	}
	s.c.pass(15*time.Minute - time.Nanosecond)
	if !s.v.Boxed(office) {
		t.Error("out before its time")
	}
	s.c.pass(time.Nanosecond)
	if s.v.Boxed(office) {
		t.Error("still boxed")
	}
	s.mustLetIn(office)
	if got := s.mustDeny(office); got.Delay != time.Second {
		t.Errorf("old failures still count: %v", got.Delay)
	}
}

// Who has sat out a short box begins anew, though the window is not over.
func TestBoxWipesTheSlate(t *testing.T) {
	s := newSiege(t, ThrottleOptions{NetworkFailures: 3, BoxFor: time.Minute})
	for range 3 {
		s.mustDeny(office)
	}
	s.c.pass(time.Minute)
	for i, want := range []DeniedError{{Delay: time.Second}, {Delay: 2 * time.Second}, {Delay: 4 * time.Second, Close: true}} {
		if got := s.mustDeny(office); *got != want {
			t.Errorf("failure %d after the box: %+v, want %+v", i+1, *got, want)
		}
	}
}

// Ten failures box only when they lie within ten minutes, wherever these begin.
func TestNetworkWindowSlides(t *testing.T) {
	s := newSiege(t, ThrottleOptions{CredentialFailures: 1000})
	for i := range 40 {
		if s.mustDeny(office); s.v.Boxed(office) {
			t.Fatalf("boxed at failure %d though only 9 lie within the window", i+1)
		}
		s.c.pass(10*time.Minute/9 + 1)
	}
	s.mustDeny(office)
	if s.v.Boxed(office) {
		t.Error("boxed by the 9th failure within the window")
	}
	s.c.pass(time.Second)
	if s.mustDeny(office); !s.v.Boxed(office) {
		t.Error("10 failures within the window do not box")
	}
}

func TestSuccessDoesNotForgiveOtherGuesses(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	for range 10 {
		s.mustLetIn(office)
		s.mustDeny(office)
	}
	if !s.v.Boxed(office) {
		t.Error("a known credential pays for guesses at others")
	}
}

func TestExemptNetworksAreDelayedButNotBoxed(t *testing.T) {
	tests := []struct {
		name   string
		exempt []netip.Prefix
		from   netip.Addr
		boxed  bool
	}{
		{"loopback by default", nil, loopback, false},
		{"IPv6 loopback by default", nil, netip.IPv6Loopback(), false},
		{"mapped loopback by default", nil, netip.MustParseAddr("::ffff:127.0.0.1"), false},
		{"no address, as of a unix socket", nil, netip.Addr{}, false},
		{"another network by default", nil, office, true},
		{"loopback when nothing is exempt", []netip.Prefix{}, loopback, true},
		{"configured network", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, office, false},
		{"loopback when another is configured", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, loopback, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSiege(t, ThrottleOptions{Exempt: tt.exempt, CredentialFailures: 1000})
			var last *DeniedError
			for range 10 {
				last = s.mustDeny(tt.from)
			}
			if s.v.Boxed(tt.from) != tt.boxed || last.Close != tt.boxed {
				t.Errorf("boxed %v, close %v, want %v", s.v.Boxed(tt.from), last.Close, tt.boxed)
			}
			if last.Delay != 10*time.Second {
				t.Errorf("delay %v", last.Delay)
			}
		})
	}
}

func TestNetworksThatCountTogether(t *testing.T) {
	tests := []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	}
	for _, tt := range tests {
		s := newSiege(t, ThrottleOptions{NetworkFailures: 1})
		s.mustDeny(netip.MustParseAddr(tt.a))
		if got := s.v.Boxed(netip.MustParseAddr(tt.b)); got != tt.same {
			t.Errorf("failures of %s count for %s: %v", tt.a, tt.b, got)
		}
	}
}

func TestHTTPFailuresCountForTheSameNetwork(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	for range 5 {
		s.v.ServerToken(t.Context(), office, "wrong") // fails as TestHTTPTokens shows
		s.v.AccountToken(t.Context(), office, "wrong")
	}
	if !s.v.Boxed(office) {
		t.Error("10 failures over HTTP do not box")
	}
	if n := s.v.throttle.names.len(); n != 0 {
		t.Errorf("%d usernames remembered", n)
	}
}

// heat lets strangers fail with the siege's access key from n networks.
func (s siege) heat(n int) {
	s.Helper()
	for i := range n {
		s.mustDeny(host(i))
	}
}

func TestUsernameUnderAttackSlowsStrangersOnly(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	s.mustLetIn(office)
	s.heat(29)
	if got := s.mustDeny(host(1000)); *got != (DeniedError{Delay: 10 * time.Second, Close: true}) {
		t.Errorf("30th failure from a fresh network: %+v", *got)
	}
	for i := range 100 {
		s.mustDeny(host(2000 + i)) // the attack goes on
		s.mustLetIn(office)        // where it has worked before
		s.mustLetIn(host(3000 + i))
	}
}

func TestUsernameUnderAttackInAFailingNetwork(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	s.mustLetIn(office)
	s.heat(30)
	s.mustDeny(home)
	err := s.right(home)
	if !errors.Is(err, ErrThrottled) || DelayOf(err) != 10*time.Second {
		t.Errorf("a failing stranger at once: %v after %v", err, DelayOf(err))
	}
	s.c.pass(10 * time.Second)
	s.mustLetIn(home) // slowed, never locked
	s.mustDeny(home)
	s.mustLetIn(home) // known by now

	if got := s.mustDeny(office); *got != (DeniedError{Delay: time.Second}) {
		t.Errorf("a known network's slip: %+v", *got)
	}
	s.mustLetIn(office)
}

func TestUsernameCoolsDown(t *testing.T) {
	s := newSiege(t, ThrottleOptions{})
	s.heat(30)
	s.c.pass(time.Hour)
	if got := s.mustDeny(home); *got != (DeniedError{Delay: time.Second}) {
		t.Errorf("after an hour: %+v", *got)
	}
	s.mustLetIn(home)
}

// A server token is the same username in any case and with white space.
func TestUsernameIsCountedInItsCanonicalForm(t *testing.T) {
	w := newWorld(t)
	v := NewVerifier(w.d, w.k, VerifierOptions{Throttle: ThrottleOptions{CredentialFailures: 3}})
	for i, username := range []string{
		"AAAAAAAA-bbbb-4ccc-8ddd-eeeeeeeeeeee", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee ", "aaaaaaaa-BBBB-4ccc-8ddd-eeeeeeeeeeee",
	} {
		_, err := v.SMTP(t.Context(), host(i), username, "x")
		var denied *DeniedError
		if !errors.As(err, &denied) || denied.Close != (i == 2) {
			t.Errorf("failure %d: %#v", i+1, err)
		}
	}
}

// Whether a username exists must not show in how its failures are treated.
func TestUnknownUsernamesAreSlowedAlike(t *testing.T) {
	s := newSiege(t, ThrottleOptions{CredentialFailures: 3})
	for i := range 6 {
		known := s.wrong(host(i))
		_, unknown := s.v.SMTP(t.Context(), host(100+i), "MC-T-outbound-nobody", "wrong")
		if DelayOf(known) != DelayOf(unknown) {
			t.Errorf("failure %d: %v and %v", i+1, DelayOf(known), DelayOf(unknown))
		}
	}
}

func TestMemoryStaysBounded(t *testing.T) {
	const limit = 320
	s := newSiege(t, ThrottleOptions{MaxEntries: limit})
	for i := range 20 * limit {
		s.v.SMTP(t.Context(), host(i), host(i).String(), "wrong")
		s.mustLetIn(host(1_000_000 + i))
	}
	th := s.v.throttle
	for name, n := range map[string]int{"networks": th.networks.len(), "usernames": th.names.len(), "successes": th.successes.len()} {
		if n > limit || n < limit/4 {
			t.Errorf("%d %s remembered, want at most %d and not much fewer", n, name, limit)
		}
	}
}

// A box holds while its inmate keeps knocking, though strangers flood memory.
func TestFloodDoesNotFreeWhoKeepsKnocking(t *testing.T) {
	const limit = 320
	s := newSiege(t, ThrottleOptions{MaxEntries: limit, NetworkFailures: 2, CredentialFailures: 1 << 20})
	s.mustDeny(office)
	s.mustDeny(office)
	for i := range 20 * limit {
		s.mustDeny(host(i))
		if !s.v.Boxed(office) {
			t.Fatalf("free after %d other networks", i+1)
		}
	}
}

func TestThrottleRace(t *testing.T) {
	s := newSiege(t, ThrottleOptions{NetworkFailures: 1 << 20, CredentialFailures: 50, MaxEntries: 64})
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for i := range 300 {
				from := host(c*7 + i%50)
				s.wrong(from)
				s.right(from)
				s.v.Boxed(from)
				s.c.pass(time.Second)
			}
		})
	}
	clients.Wait()
	if n := s.v.throttle.networks.len(); n > 64 {
		t.Errorf("%d networks", n)
	}
}

func TestDefaultsOfThrottle(t *testing.T) {
	got := ThrottleOptions{MaxDelay: time.Millisecond, NetworkFailures: -1}.withDefaults()
	if got.NetworkFailures != 10 || got.MaxDelay != time.Second || len(got.Exempt) != 2 || got.MaxEntries != 65536 {
		t.Errorf("got %+v", got)
	}
}

func TestNetworkOf(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64"} {
		if got := NetworkOf(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("NetworkOf(%s) = %s, want %s", in, got, want)
		}
	}
	if NetworkOf(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}
