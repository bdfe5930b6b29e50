package api

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mailchute/mailchute/auth"
)

// payer is whose requests are counted together: a token, or for the trial token,
// which everybody has, a network.
type payer struct {
	kind    auth.Kind
	token   int64
	network netip.Prefix
}

// limiter counts requests in token buckets: each payer has a minute's worth at
// once, and gets them back steadily. It is safe for concurrent use.
type limiter struct {
	perMinute int
	most      int // payers remembered

	mu      sync.Mutex
	buckets map[payer]*rate.Limiter
	swept   time.Time
}

// maxPayers bounds the memory of a limiter to a few MiB: addresses that use the
// trial token are as many as somebody likes.
const maxPayers = 20_000

func newLimiter(perMinute int) *limiter {
	return &limiter{perMinute: perMinute, most: maxPayers, buckets: map[payer]*rate.Limiter{}}
}

// allowance is what a payer has left.
type allowance struct {
	ok   bool
	left int
	full time.Duration // until all is back
	wait time.Duration // until there is one; 0 when ok
}

// take takes one request of a payer.
func (l *limiter) take(p payer, now time.Time) allowance {
	b := l.bucket(p, now)
	a := allowance{ok: b.AllowN(now, 1)}
	left := b.TokensAt(now)
	each := time.Minute / time.Duration(l.perMinute)
	a.left = max(0, int(math.Floor(left)))
	a.full = time.Duration((float64(l.perMinute) - left) * float64(each))
	if !a.ok {
		a.wait = time.Duration((1 - left) * float64(each))
	}
	return a
}

func (l *limiter) bucket(p payer, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[p]
	if b == nil {
		l.makeRoom(now)
		b = rate.NewLimiter(rate.Limit(float64(l.perMinute)/60), l.perMinute)
		l.buckets[p] = b
	}
	return b
}

// makeRoom forgets payers who have everything back, at most once a second, and
// when that is not enough, anybody: one who is forgotten gets more, not less.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.buckets) < l.most {
		return
	}
	if now.Sub(l.swept) >= time.Second {
		l.swept = now
		for p, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.perMinute) {
				delete(l.buckets, p)
			}
		}
	}
	for p := range l.buckets {
		if len(l.buckets) < l.most {
			return
		}
		delete(l.buckets, p)
	}
}

// meter counts the request and tells the client what is left, in the fields of
// draft-ietf-httpapi-ratelimit-headers.
func (c *call) meter(w http.ResponseWriter) *Error {
	p := payer{kind: c.principal.Kind, token: c.principal.Token}
	if c.trial {
		p = payer{network: auth.NetworkOf(c.client())}
	}
	a := c.limits.take(p, c.opts.Now())
	h := w.Header()
	h.Set("RateLimit-Policy", fmt.Sprintf(`"token";q=%d;w=60`, c.limits.perMinute))
	h.Set("RateLimit", fmt.Sprintf(`"token";r=%d;t=%d`, a.left, seconds(a.full)))
	if a.ok {
		return nil
	}
	return &Error{Status: http.StatusTooManyRequests, Code: CodeRateLimit, RetryAfter: a.wait,
		Message: fmt.Sprintf("Too many requests: a token may make %d in a minute. Please try again later.", c.limits.perMinute)}
}

// seconds rounds up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
