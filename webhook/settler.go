package webhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
)

const (
	settleAtOnce  = 1000
	maxUnsettled  = 5000 // results that cannot be recorded; more are not made
	settleRetry   = time.Second
	settleTimeout = 10 * time.Second // at a stop
)

// settler records results in batches: the first at once, and those that come
// within a second of it together, since mail needs the disk. One that is lost in
// a crash is sent again, with its ID.
type settler struct {
	store Store
	opts  *Options

	mu      sync.Mutex
	pending []store.NotificationResult
	wake    chan struct{}
}

func newSettler(s Store, o *Options) *settler {
	return &settler{store: s, opts: o, wake: make(chan struct{}, 1)}
}

func (s *settler) add(r store.NotificationResult) {
	s.mu.Lock()
	s.pending = append(s.pending, r)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// full tells whether so many results wait that no more tries should be made.
func (s *settler) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) >= maxUnsettled
}

// run records until stop is closed, and then what is left. ctx must not end
// before.
func (s *settler) run(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			s.flush(ctx)
			return
		case <-s.wake:
		}
		wait := s.opts.settleEvery
		if err := s.write(ctx); err != nil {
			s.opts.Log.Error("results of webhooks not recorded; they are tried again", "err", err)
			wait = settleRetry
			s.again()
		}
		pause(stop, wait)
	}
}

func (s *settler) again() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func pause(stop <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-stop:
	case <-t.C:
	}
}

// write records all that waits, in batches. What fails stays.
func (s *settler) write(ctx context.Context) error {
	for {
		s.mu.Lock()
		batch := s.pending[:min(len(s.pending), settleAtOnce)]
		s.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		if err := s.store.SettleNotifications(ctx, batch...); err != nil {
			return err
		}
		s.mu.Lock()
		s.pending = append([]store.NotificationResult(nil), s.pending[len(batch):]...)
		s.mu.Unlock()
	}
}

func (s *settler) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := s.write(ctx); err != nil && !errors.Is(err, store.ErrClosed) {
		s.opts.Log.Error("results of webhooks not recorded; they are sent again after the start", "err", err)
	}
}
