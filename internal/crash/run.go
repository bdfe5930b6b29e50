package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// run is one run of the harness.
type run struct {
	opts   options
	dir    string
	relay  *relay
	sink   *sink
	ledger *ledger
	rnd    *rand.Rand
	life   int
	kills  []kill
	missed []failpoint.Point
	faults []string
	shows  map[string]bool // what the operator saw as uncertain after the last kill
	tell   func(kill)
}

// kill is one kill as it happened.
type kill struct {
	Number int    `json:"kill"`
	Life   int    `json:"life"`
	Point  string `json:"point"` // "" at a random moment
	Hit    int    `json:"hit,omitempty"`
	AfterS string `json:"after"` // since the process was started
	// Acknowledged counts the promises of this life.
	Acknowledged int `json:"acknowledged"`
	// InFlight are the transactions on the way out that were claimed and had no
	// result in the journal; PastDot of them are at the sink, and of Uncertain
	// the journal says that their content was about to be ended.
	InFlight  int `json:"in_flight"`
	Uncertain int `json:"uncertain"`
	// Shown are those that a relay started after the kill shows as uncertain: these,
	// and what earlier kills left so.
	Shown      int `json:"shown"`
	PastDot    int `json:"past_dot"`
	Duplicates int `json:"duplicates"`
	Lost       int `json:"lost"`

	open map[string]bool
}

// Limits of a run.
const (
	pointPatience = 6 * time.Second // for a process to come to its point
	pointTries    = 3
	drainPatience = 2 * time.Minute
)

func (r *run) all(ctx context.Context) (verdict, error) {
	steps := plan(r.rnd, r.opts.kills, r.opts.point)
	for len(steps) > 0 {
		s := steps[0]
		steps = steps[1:]
		hit, err := r.step(ctx, s)
		if err != nil {
			return verdict{}, err
		}
		if s.tries++; !hit && s.tries < pointTries {
			s.hit = 1
			steps = append(steps, s)
		} else if !hit {
			r.missed = append(r.missed, s.point)
		}
	}
	if err := r.finish(ctx); err != nil {
		r.faults = append(r.faults, err.Error())
	}
	r.sink.close()
	judged := r.ledger.judge(r.kills)
	judged.Problems, judged.Missed = r.faults, r.missed
	judged.sum(r.kills)
	return judged, nil
}

// step is one kill. hit is false for a process that did not come to its point, and
// was killed all the same.
func (r *run) step(ctx context.Context, s step) (hit bool, err error) {
	if scratch[s.point] {
		return true, r.scratch(ctx, s)
	}
	r.life++
	r.ledger.begin(r.life)
	before := r.ledger.count()
	p, err := r.relay.start(ctx, arm(s))
	if err != nil {
		return false, err
	}
	died, err := r.live(ctx, p, s)
	if err != nil {
		return false, err
	}
	if err := r.sink.quiet(); err != nil {
		return false, err
	}
	left, err := openClaims(r.relay.journal(), p.begun)
	if err != nil {
		return false, fmt.Errorf("reading the journal of a dead relay: %w", err)
	}
	shown, err := r.shown(ctx)
	if err != nil {
		return false, fmt.Errorf("looking at what a dead relay left: %w", err)
	}
	for _, fault := range compare(left.ended, shown, r.shows) {
		r.faults = append(r.faults, fmt.Sprintf("kill %d: %s", len(r.kills)+1, fault))
	}
	r.shows = shown
	k := kill{
		Life: r.life, AfterS: time.Since(p.begun).Round(time.Millisecond).String(), Acknowledged: r.ledger.count() - before,
		InFlight: len(left.open), Uncertain: len(left.ended), Shown: len(shown), PastDot: r.ledger.passed(left.open), open: left.open,
	}
	if died && s.point != "" {
		k.Point, k.Hit = string(s.point), s.hit
	}
	r.note(k)
	return died || s.point == "", nil
}

func (r *run) note(k kill) {
	k.Number = len(r.kills) + 1
	r.kills = append(r.kills, k)
	r.tell(k)
}

func arm(s step) string {
	if s.point == "" {
		return ""
	}
	return fmt.Sprintf("%s=kill:%d", s.point, s.hit)
}

// live makes load until the process dies of its crash point, or its time has come.
func (r *run) live(ctx context.Context, p *process, s step) (died bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := time.NewTimer(s.after)
	defer end.Stop()
	if !s.start {
		if err := p.ready(ctx); err != nil && !errors.Is(err, errDied) {
			return false, errors.Join(err, p.kill())
		}
		end.Reset(s.after)
	}
	if s.point != "" {
		end.Reset(pointPatience)
	}
	l := &load{ledger: r.ledger, token: r.relay.token}
	l.smtp, l.api = p.addresses()
	loading, quiet := context.WithCancel(ctx)
	defer quiet()
	if l.smtp != "" {
		l.start(loading)
		if s.point == failpoint.DirectoryCommitted {
			l.work.Go(func() { _, _ = r.relay.run(ctx, "smtp-token", "create", "--stream", "outbound", "--name", "crash") }) // its server dies
		}
	}
	died = ends(ctx, p, end.C)
	if !died && late[s.point] {
		quiet()
		died = ends(ctx, p, time.After(2*retention))
	}
	err = errors.Join(p.kill(), ctx.Err())
	cancel()
	l.work.Wait()
	if err == nil && !p.killed() {
		err = fmt.Errorf("the relay ended by itself, %v\n%s", p.cmd.ProcessState, p.log)
	}
	return died, err
}

// ends waits for the end of the process, until a time.
func ends(ctx context.Context, p *process, until <-chan time.Time) bool {
	select {
	case <-p.gone:
		return true
	case <-until:
	case <-ctx.Done():
	}
	return false
}

// finish lets the relay deliver all that it has, and has it check itself.
func (r *run) finish(ctx context.Context) error {
	r.life++
	r.ledger.begin(r.life)
	r.sink.relent()
	r.relay.keep = time.Hour // what is delivered now was accepted long ago, and its event needs it
	p, err := r.relay.start(ctx, "")
	if err == nil {
		err = p.ready(ctx)
	}
	if err != nil {
		return err
	}
	if r.opts.policy == store.UncertainHold {
		if err := r.release(ctx); err != nil {
			return errors.Join(err, p.kill())
		}
	}
	queued := ""
	err = await(drainPatience, "the queue to become empty", func() bool {
		out, err := r.relay.run(ctx, "queue", "list", "--json", "--limit", "3")
		queued = string(out)
		return err == nil && emptyList(out) || ctx.Err() != nil
	})
	if err != nil {
		err = fmt.Errorf("%w; it begins with %s", err, queued)
	}
	_ = await(drainPatience, "the last webhook", func() bool { return r.ledger.untold() == 0 || ctx.Err() != nil }) // the verdict counts them
	if err = errors.Join(err, p.stop()); err != nil {
		return err
	}
	_, err = r.relay.run(ctx, "check", "--full")
	return err
}

// release waits until nothing is queued but what is held as uncertain, of which
// nothing may have arrived twice, and decides to send that again.
func (r *run) release(ctx context.Context) error {
	err := await(drainPatience, "all but the held mail to be delivered", func() bool {
		all, err := r.relay.run(ctx, "queue", "list", "--json", "--limit", "10000")
		held, err2 := r.relay.run(ctx, "queue", "list", "--json", "--limit", "10000", "--held", "--uncertain")
		return errors.Join(err, err2) == nil && bytes.Equal(all, held) || ctx.Err() != nil
	})
	if err != nil {
		return err
	}
	if n := r.ledger.repeated(); n > 0 {
		r.faults = append(r.faults, fmt.Sprintf("%d arrivals were second ones although the stream holds what may have arrived", n))
	}
	_, err = r.relay.run(ctx, "queue", "release", "--uncertain")
	return err
}
