package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
)

func TestLimiter_AMinutesWorthAndSteadilyBack(t *testing.T) {
	l := newLimiter(60)
	now := time.Unix(1_800_000_000, 0)
	one, other := payer{kind: auth.KindServerToken, token: 1}, payer{kind: auth.KindAccountToken, token: 1}
	for i := range 60 {
		if a := l.take(one, now); !a.ok || a.left != 59-i || a.full != time.Duration(i+1)*time.Second {
			t.Fatalf("request %d: %+v", i, a)
		}
	}
	if a := l.take(one, now); a.ok || a.left != 0 || a.wait != time.Second || a.full != time.Minute {
		t.Errorf("request beyond: %+v", a)
	}
	if a := l.take(other, now); !a.ok || a.left != 59 {
		t.Errorf("another token: %+v", a)
	}
	if a := l.take(one, now.Add(1500*time.Millisecond)); !a.ok {
		t.Errorf("after the wait: %+v", a)
	}
	if a := l.take(one, now.Add(1600*time.Millisecond)); a.ok || a.wait != 400*time.Millisecond {
		t.Errorf("too early for the next one: %+v", a)
	}
	if a := l.take(one, now.Add(time.Hour)); !a.ok || a.left != 59 {
		t.Errorf("after an hour: %+v", a)
	}
}

func TestLimiter_RemembersSoManyPayersAtMost(t *testing.T) {
	l := newLimiter(60)
	l.most = 100
	now := time.Unix(1_800_000_000, 0)
	busy := payer{kind: auth.KindServerToken, token: 1}
	for range 60 {
		l.take(busy, now)
	}
	network := func(i int) payer {
		return payer{network: auth.NetworkOf(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))}
	}
	for i := range 99 {
		l.take(network(i), now)
	}
	now = now.Add(2 * time.Second) // the networks have everything back
	l.take(network(1000), now)
	if a := l.take(busy, now); len(l.buckets) != 2 || a.left > 2 {
		t.Errorf("%d payers remembered, the busy one has %d left; want the busy one and the new one", len(l.buckets), a.left)
	}
	for i := range 1000 {
		l.take(network(i), now)
	}
	if len(l.buckets) > 100 {
		t.Errorf("%d payers remembered", len(l.buckets))
	}
}
