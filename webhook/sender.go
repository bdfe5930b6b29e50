package webhook

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// Store is what a Sender needs of the engine.
type Store interface {
	Mail
	Snapshot() *store.Snapshot
	WatchNotifications(ctx context.Context, fn func(webhooks []int64)) error
	ClaimNotifications(ctx context.Context, webhook int64, now, lease time.Time, limit int) ([]store.Notification, time.Time, error)
	SettleNotifications(ctx context.Context, results ...store.NotificationResult) error
	SweepNotifications(ctx context.Context, now time.Time, limits store.NotificationLimits) (int, error)
}

// Keys opens the secrets of webhooks: auth.Keyring.
type Keys interface {
	OpenWebhook(w store.Webhook) (store.WebhookSecrets, error)
}

// Sender sends notifications. It is safe for concurrent use.
type Sender struct {
	store  Store
	keys   Keys
	opts   Options
	poster *poster
	verify *semaphore.Weighted // verifications under way
}

// New returns a Sender that does nothing before Run.
func New(s Store, k Keys, opts Options) *Sender {
	opts = opts.withDefaults()
	return &Sender{store: s, keys: k, opts: opts, poster: newPoster(&opts), verify: semaphore.NewWeighted(maxVerify)}
}

// Run sends until ctx ends. Tries under way then have the grace time; those that
// are cut off are made again after the next start.
func (s *Sender) Run(ctx context.Context) error {
	defer s.poster.client.CloseIdleConnections()
	g, running := errgroup.WithContext(ctx)
	settled := newSettler(s.store, &s.opts)
	d := newDispatcher(s, settled)
	stopped := make(chan struct{})
	g.Go(func() error { settled.run(context.WithoutCancel(running), stopped); return nil })
	g.Go(func() error { defer close(stopped); d.run(running); return nil })
	g.Go(func() error { return s.sweep(running) })
	g.Go(func() error { return s.watch(running, d) })
	err := g.Wait()
	if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		return nil
	}
	return err
}

func (s *Sender) watch(ctx context.Context, d *dispatcher) error {
	err := s.store.WatchNotifications(ctx, func(webhooks []int64) {
		select {
		case d.hints <- webhooks:
		case <-ctx.Done():
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching for events to send: %w", err)
}

const sweepEvery = 10 * time.Minute

func (s *Sender) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		now := s.opts.Now()
		n, err := s.store.SweepNotifications(ctx, now, s.opts.limits(now))
		switch {
		case err != nil && ctx.Err() == nil:
			s.opts.Log.Error("old events for webhooks not removed", "err", err)
		case n > 0:
			s.opts.Log.Warn("events for webhooks given up or forgotten", "events", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// try sends one notification and returns what to record. A panic, which would be
// a fault of ours, counts as a failed try.
func (s *Sender) try(ctx context.Context, n *store.Notification) (r store.NotificationResult, ok bool) {
	a := answer{err: errors.New("internal fault")}
	func() {
		defer func() {
			if p := recover(); p != nil {
				s.opts.Log.Error("webhook panicked", "webhook", n.Webhook, "event", n.ID, "panic", p, "stack", string(debug.Stack()))
			}
		}()
		a = s.send(ctx, n)
	}()
	failpoint.Hit(failpoint.WebhookPosted)
	if ctx.Err() != nil {
		return r, false // cut off at a stop: not the endpoint's fault
	}
	now := s.opts.Now()
	r = store.NotificationResult{Webhook: n.Webhook, Key: n.Key, Attempt: n.Attempt, Try: store.Try{At: now, Status: a.status, Error: explain(a)}}
	var wait time.Duration
	r.Outcome, wait = outcome(a, n.Attempt, s.opts.Schedule)
	r.Due = now.Add(wait)
	s.log(n, a, r)
	return r, true
}

func (s *Sender) send(ctx context.Context, n *store.Notification) answer {
	w, there := s.store.Snapshot().Webhooks[n.Webhook]
	if !there || !w.Triggers.Wants(n.Trigger) {
		return answer{status: 200} // done with
	}
	secrets, err := s.keys.OpenWebhook(w)
	if err != nil {
		return answer{err: err}
	}
	body, err := payload(ctx, s.store, n, w.Triggers)
	if err != nil {
		return answer{err: err}
	}
	return s.poster.post(ctx, &letter{
		url: w.URL, secrets: secrets, id: n.ID.String(), remaining: max(len(s.opts.Schedule)-n.Attempt, 0), body: body,
	})
}

func (s *Sender) log(n *store.Notification, a answer, r store.NotificationResult) {
	args := []any{"webhook", n.Webhook, "server", n.Server, "stream", n.Stream, "trigger", n.Trigger, "event", n.ID, "attempt", n.Attempt + 1, "status", a.status}
	if !n.Message.IsZero() {
		args = append(args, "message", n.Message)
	}
	switch r.Outcome {
	case store.NotificationDone:
		s.opts.Log.Debug("webhook sent", args...)
	case store.NotificationAgain:
		s.opts.Log.Info("webhook failed", append(args, "err", r.Try.Error, "next", r.Due)...)
	case store.NotificationDead:
		s.opts.Log.Warn("webhook given up", append(args, "err", r.Try.Error)...)
	}
}
