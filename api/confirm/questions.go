package confirm

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// An address is asked that often: it may be a stranger's.
const (
	askBurst = 5
	askEvery = 10 * time.Minute
	maxAsked = 10_000 // signatures that are remembered
)

// questions counts those to each signature, since the start. Its memory is
// bounded: when there are too many signatures all start afresh.
type questions struct {
	mu    sync.Mutex // guards asked
	asked map[int64]*rate.Limiter
}

func (q *questions) allow(id int64, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, ok := q.asked[id]
	if !ok {
		if q.asked == nil || len(q.asked) >= maxAsked {
			q.asked = map[int64]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(askEvery), askBurst)
		q.asked[id] = l
	}
	return l.AllowN(now, 1)
}
