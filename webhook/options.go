package webhook

import (
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Options tune a Sender. Zero values mean the defaults named.
type Options struct {
	Log         *slog.Logger
	Guard       Guard           // what may be connected to; nothing internal
	RootCAs     *x509.CertPool  // who vouches for endpoints; the system's
	Resolver    *net.Resolver   // the system's
	Timeout     time.Duration   // of one try, redirects included; 30 s
	Schedule    []time.Duration // waits after the first, second … try; Postmark's
	PerEndpoint int             // tries of one endpoint at a time; 4
	Total       int             // tries in all at a time; 256
	Rate        int             // tries in all in a second; 250 for each processor
	KeepDead    time.Duration   // how long dead notifications are kept; 7 days
	MaxWaiting  int             // of one webhook; 1,000,000
	MaxDead     int             // of one webhook; 100,000
	Grace       time.Duration   // for tries under way at a stop; 5 s
	Now         func() time.Time

	transport   http.RoundTripper // of tests
	settleEvery time.Duration     // likewise; 1 s
}

// DefaultSchedule is the documented one of Postmark: six retries within an hour.
func DefaultSchedule() []time.Duration {
	return []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute, 10 * time.Minute, 10 * time.Minute, 15 * time.Minute}
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Schedule) == 0 {
		o.Schedule = DefaultSchedule()
	}
	o.Schedule = slices.Clone(o.Schedule)
	o.Timeout = orDefault(o.Timeout, 30*time.Second)
	o.KeepDead = orDefault(o.KeepDead, 7*24*time.Hour)
	o.Grace = orDefault(o.Grace, 5*time.Second)
	o.settleEvery = orDefault(o.settleEvery, time.Second)
	o.PerEndpoint = orDefault(o.PerEndpoint, 4)
	o.Total = orDefault(o.Total, 256)
	o.Rate = orDefault(o.Rate, 250*runtime.GOMAXPROCS(0))
	o.MaxWaiting = orDefault(o.MaxWaiting, 1_000_000)
	o.MaxDead = orDefault(o.MaxDead, 100_000)
	return o
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

func (o *Options) limits(now time.Time) store.NotificationLimits {
	return store.NotificationLimits{DeadSince: now.Add(-o.KeepDead), Waiting: o.MaxWaiting, Dead: o.MaxDead}
}
