package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Dispatcher sends what is due. One goroutine, that of Run, owns the schedule; each attempt has a goroutine to itself, and
// begins only after it has its place within all limits.
type Dispatcher struct {
	queue     store.Queue
	directory store.Directory
	opts      Options
	transport Transport
	log       eventLog

	tickets  chan []store.Ticket
	starts   chan start // with room for all that may be under way
	finished chan flight
	running  sync.Mutex           // held by Run, while it uses what follows
	life     atomic.Pointer[life] // nil while Run does not run
	sched    *schedule            // owned by Run's goroutine

	panicked panics
	clock    *clock

	crew       int // goroutines that make attempts; the loop's, as are the next three
	saving     bool
	notedSites int64
	keptSites  []siteKept
	backs      int // how often the clock had gone back when Run's goroutine looked last
}

// life is one call of Run, for those who ask about it.
type life struct {
	asked chan func(*schedule)
	ended chan struct{}
}

// flight is an attempt that has ended.
type flight struct {
	start   start
	outcome outcome
}

// outcome tells the schedule what became of an attempt.
type outcome struct {
	attempt int   // the fencing number that the claim got
	final   bool  // nothing is left to do
	again   int64 // when to look again, Unix nanoseconds; 0: the store will send a ticket
	contact contact
	legs    []leg // the routes that were tried; none: that of the start, with contact
}

// New returns a Dispatcher over the queue. It fails when the options contradict each other.
func New(q store.Queue, d store.Directory, opts Options) (*Dispatcher, error) {
	opts = opts.withDefaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	transport := opts.Transport
	if transport == nil {
		transport = newNetwork(opts)
	}
	disp := &Dispatcher{
		queue: q, directory: d, opts: opts, transport: transport, log: eventLog{opts.Logger},
		tickets:  make(chan []store.Ticket),
		finished: make(chan flight, opts.Limits.Total),
		panicked: panics{counts: map[store.ID]int{}},
	}
	disp.clock = newClock(opts.Now, disp.log.clockJumped)
	return disp, nil
}

// Run delivers until ctx ends or the engine closes. Then it claims nothing more, cancels the attempts that have not
// reached their final dot, records all results, closes all connections and returns nil, or the error that made the
// engine end its tickets. All goroutines it started have ended by then. A Dispatcher runs once at a time.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.running.Lock()
	defer d.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	d.starts, d.crew = make(chan start, d.opts.Limits.Total), 0
	watched := make(chan error, 1)
	work.Go(func() { watched <- d.watch(ctx) })
	d.sched = newSchedule(d.opts.Limits, d.directory.Snapshot())
	d.saving, d.notedSites = false, unixNano(d.opts.Now())
	d.sched.day.zone = d.opts.QuotaZone
	d.restore(ctx)
	d.sched.longest = d.opts.Policy.longestWait(d.opts.Lease)
	l := &life{asked: make(chan func(*schedule)), ended: make(chan struct{})}
	d.life.Store(l)
	err := d.loop(ctx, l, &work, watched)
	d.life.Store(nil)
	close(l.ended)
	cancel()
	close(d.starts) // an attempt that waits in it claims nothing any more
	work.Wait()
	for len(d.finished) > 0 {
		d.done(<-d.finished)
	}
	for len(d.starts) > 0 { // nobody took them up: what they were charged is given back
		d.done(flight{start: <-d.starts})
	}
	d.noteAll(ctx)
	if cerr := d.transport.Close(); cerr != nil {
		d.log.closing(cerr)
	}
	return err
}

// watch hands the store's tickets to the loop. They are copied, since the slice is the store's.
func (d *Dispatcher) watch(ctx context.Context) error {
	return d.queue.Watch(ctx, func(batch []store.Ticket) {
		select {
		case d.tickets <- append([]store.Ticket(nil), batch...):
		case <-ctx.Done():
		}
	})
}

func (d *Dispatcher) loop(ctx context.Context, l *life, work *sync.WaitGroup, watched <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.launch(ctx, work, timer)
		select {
		case batch := <-d.tickets:
			d.add(batch)
		case f := <-d.finished:
			d.done(f)
		case <-d.directory.Changed(d.sched.snapshot.Revision):
			d.sched.directory(d.directory.Snapshot())
		case look := <-l.asked:
			look(d.sched)
		case <-timer.C:
		case err := <-watched:
			return watchEnd(ctx, err)
		case <-ctx.Done():
			return nil
		}
		d.drain()
	}
}

// drain takes in what has come meanwhile, so that one look at what may start serves all of it.
func (d *Dispatcher) drain() {
	for range cap(d.finished) {
		select {
		case f := <-d.finished:
			d.done(f)
		case batch := <-d.tickets:
			d.add(batch)
		default:
			return
		}
	}
}

func (d *Dispatcher) add(batch []store.Ticket) {
	now := unixNano(d.opts.Now())
	for _, t := range batch {
		d.sched.add(t, now)
	}
}

func (d *Dispatcher) done(f flight) {
	d.sched.done(f.start, f.outcome, unixNano(d.opts.Now()))
	for _, n := range d.sched.news {
		d.log.route(n)
	}
	d.sched.news = d.sched.news[:0]
}

// watchEnd tells an orderly stop from an engine that went away.
func watchEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		return nil
	}
	if err == nil {
		err = errors.New("the store ended it")
	}
	return fmt.Errorf("watching the queue: %w", err)
}

// maxSleep bounds how long a jump of the wall clock can go unnoticed.
const maxSleep = time.Minute

// launch starts everything that may start and sets the timer for what comes next.
func (d *Dispatcher) launch(ctx context.Context, work *sync.WaitGroup, timer *time.Timer) {
	if ctx.Err() != nil {
		return
	}
	_, backs := d.clock.look()
	now := unixNano(d.opts.Now())
	if backs != d.backs {
		d.backs = backs
		d.sched.clockWentBack(now)
	}
	d.sched.newDay(now)
	d.sched.wake(now)
	for {
		st, ok := d.sched.next(now)
		if !ok {
			break
		}
		d.begin(ctx, work, st)
	}
	d.note(ctx, func(f func()) { work.Go(f) })
	d.noteSites(ctx, now, func(f func()) { work.Go(f) })
	sleep := maxSleep
	if due, any := d.sched.wake(now); any { // again: a lane whose first delivery has just started waits for its second
		sleep = min(sleep, time.Duration(due-now))
	}
	timer.Reset(sleep)
}

// begin hands an attempt to a goroutine that made one before, or to a new one where all of them are under way. An attempt is
// many calls deep, and the stack of a new goroutine would grow and be copied for each.
func (d *Dispatcher) begin(ctx context.Context, work *sync.WaitGroup, st start) {
	if d.crew < d.sched.flying {
		d.crew++
		work.Go(func() {
			for st := range d.starts {
				d.finished <- flight{st, d.attempt(ctx, st)}
			}
		})
	}
	d.starts <- st
}

// Status is the state of the schedule at one moment.
type Status struct {
	Running  bool
	Tickets  int // deliveries known, those in flight included
	InFlight int
	Sites    int // places with an attempt under way or lanes that wait for one
	Streams  []StreamStatus
}

// StreamStatus is one stream's part of the schedule.
type StreamStatus struct {
	Key      store.StreamKey
	Tickets  int
	InFlight int
	Lanes    int // destinations
	Ready    int // destinations with something due, waiting for the stream's turn
	Blocked  int // destinations with something due, waiting for a limit of the destination
	Paused   bool
	Weight   int
}

// Status returns the state of the schedule; a Dispatcher that does not run answers with the zero Status.
func (d *Dispatcher) Status() (out Status) {
	d.ask(func(s *schedule) { out = s.status() })
	return out
}

// ask runs look in the goroutine that owns the schedule, and tells whether there is one.
func (d *Dispatcher) ask(look func(*schedule)) bool {
	l := d.life.Load()
	if l == nil {
		return false
	}
	done := make(chan struct{})
	select {
	case l.asked <- func(s *schedule) { look(s); close(done) }:
		<-done
		return true
	case <-l.ended:
		return false
	}
}
