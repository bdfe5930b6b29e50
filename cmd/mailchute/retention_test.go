package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pruneFunc is the store of a retention.
type pruneFunc func(before time.Time) (int, error)

func (f pruneFunc) Prune(_ context.Context, before time.Time) (int, error) { return f(before) }

// TestRetention_ClockJumpMakesNothingOlder: finished mail is history that nobody gets
// back, so a clock that runs wrong must not remove it.
func TestRetention_ClockJumpMakesNothingOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep, year = 45 * 24 * time.Hour, 365 * 24 * time.Hour
		var jumped atomic.Int64
		var ages []time.Duration
		r := retention{keep: keep, every: time.Hour, log: slog.New(slog.DiscardHandler)}
		r.jumped = func() time.Duration { return time.Duration(jumped.Load()) }
		r.store = pruneFunc(func(before time.Time) (int, error) {
			ages = append(ages, time.Since(before))
			return 0, nil
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.run(ctx) }()
		synctest.Wait()
		jumped.Store(int64(year))
		time.Sleep(time.Hour)
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(ages) != 2 || ages[0] != keep || ages[1] != keep+year {
			t.Errorf("removed what is older than %v, want %v and, after a jump of a year, a year more", ages, keep)
		}
	})
}
