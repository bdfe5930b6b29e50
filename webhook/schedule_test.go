package webhook

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

func TestOutcome(t *testing.T) {
	const done, again, dead = store.NotificationDone, store.NotificationAgain, store.NotificationDead
	min := time.Minute
	for _, tc := range []struct {
		answer  answer
		attempt int
		want    store.NotificationOutcome
		wait    time.Duration
	}{
		{answer{status: 200}, 0, done, 0},
		{answer{status: 299}, 6, done, 0},
		{answer{status: 500}, 0, again, min},
		{answer{status: 503}, 1, again, 5 * min},
		{answer{status: 408}, 2, again, 10 * min},
		{answer{status: 429}, 4, again, 10 * min},
		{answer{err: context.DeadlineExceeded}, 5, again, 15 * min},
		{answer{status: 500}, 6, dead, 0},
		{answer{status: 429, retryAfter: 20 * min}, 0, again, 20 * min},
		{answer{status: 429, retryAfter: time.Second}, 0, again, min},
		{answer{status: 429, retryAfter: 24 * time.Hour}, 0, again, time.Hour},
		{answer{status: 400}, 0, dead, 0},
		{answer{status: 403}, 0, dead, 0},
		{answer{status: 410}, 0, dead, 0},
		{answer{status: 303}, 0, dead, 0},
		{answer{err: fmt.Errorf("dial: %w", ErrInternal)}, 0, dead, 0},
		{answer{err: fmt.Errorf("%w", errRedirects)}, 0, dead, 0},
		{answer{err: fmt.Errorf("refused")}, 0, again, min},
	} {
		if got, wait := outcome(tc.answer, tc.attempt, DefaultSchedule()); got != tc.want || wait != tc.wait {
			t.Errorf("outcome(%+v, %d) = %v after %v, want %v after %v", tc.answer, tc.attempt, got, wait, tc.want, tc.wait)
		}
	}
}
