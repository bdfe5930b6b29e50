package webhook

import (
	"errors"
	"net/http"
	"time"

	"github.com/mailchute/mailchute/store"
)

// answer is what came of one try.
type answer struct {
	status     int // 0: none came
	retryAfter time.Duration
	err        error // nil with a status
}

// maxRetryAfter bounds for how long an endpoint can ask us to wait.
const maxRetryAfter = time.Hour

// outcome decides what becomes of a notification that was tried attempt times
// before this answer, and after what wait it is tried again.
func outcome(a answer, attempt int, schedule []time.Duration) (store.NotificationOutcome, time.Duration) {
	switch {
	case a.err == nil && a.status/100 == 2:
		return store.NotificationDone, 0
	case final(a) || attempt >= len(schedule):
		return store.NotificationDead, 0
	}
	return store.NotificationAgain, max(schedule[attempt], min(a.retryAfter, maxRetryAfter))
}

// final tells whether another try would end the same way.
func final(a answer) bool {
	if a.err != nil {
		return errors.Is(a.err, ErrInternal) || errors.Is(a.err, ErrURL) || errors.Is(a.err, errRedirects)
	}
	return a.status != http.StatusRequestTimeout && a.status != http.StatusTooManyRequests && a.status/100 != 5
}
