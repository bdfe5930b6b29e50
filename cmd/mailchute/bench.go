package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// benchOptions are what a measurement is about. They go to the processes that
// take part in it, too.
type benchOptions struct {
	Rate          int           `json:"rate,omitempty"` // messages a second; 0: closed loop
	Connections   int           `json:"connections"`
	Size          Size          `json:"size"` // octets of a message, header included
	Duration      time.Duration `json:"duration_ns"`
	Rounds        int           `json:"rounds"`
	TLS           bool          `json:"tls"`
	NewConnection bool          `json:"new_connection_per_message"`
	Deliver       bool          `json:"deliver"`
	DKIM          bool          `json:"dkim"`
	Streams       int           `json:"streams"`
	Destinations  int           `json:"destinations"`
	Backlog       int           `json:"backlog"`
	Idle          int           `json:"idle"`
	Baseline      bool          `json:"baseline"`
	Fresh         bool          `json:"fresh"`
	Search        bool          `json:"search"`
}

// benchMaxDuration is long enough to see whether memory grows. What fills the
// disk meanwhile is bounded as always: the relay takes nothing when it runs low.
const benchMaxDuration = 30 * time.Minute

func (o benchOptions) validate() error {
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"rate", o.Rate, 0, 1_000_000}, {"connections", o.Connections, 1, 10_000}, {"rounds", o.Rounds, 0, 100},
		{"streams", o.Streams, 1, 1000}, {"destinations", o.Destinations, 1, 10_000},
		{"backlog", o.Backlog, 0, 2_000_000}, {"idle", o.Idle, 0, 50_000},
	} {
		if n.value < n.low || n.value > n.high {
			return usage("--%s %d is not within %d to %d", n.flag, n.value, n.low, n.high)
		}
	}
	switch {
	case o.DKIM && !o.Deliver:
		return usage("--dkim needs --deliver: mail is signed when it leaves")
	case o.Size < 1*KiB || o.Size > 256*MiB:
		return usage("--size %v is not within 1KiB to 256MiB", o.Size)
	case int64(o.Size)*int64(o.Connections) > int64(2*GiB):
		return usage("%d connections with a message of %v each would need more than 2GiB for the generator alone", o.Connections, o.Size)
	case o.Duration < 100*time.Millisecond || o.Duration > benchMaxDuration:
		return usage("--duration %v is not within 100ms to %v", o.Duration, benchMaxDuration)
	}
	return nil
}

func (a *app) benchCommand() *cobra.Command {
	var o benchOptions
	var dir, cpu, memory string
	size := "4KiB"
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure this machine: a temporary relay, a load generator and a sink on loopback", Args: noArgs,
		Long: `Measure what this machine can take. A temporary relay, wired as "mailchute serve" wires it, gets
mail from a generator and, with --deliver, hands it on to a sink that forgets it. All three are
processes of their own on loopback; each one's processor time is shown. The relay's files are in a
temporary directory and are removed afterwards.

Without --rate the loop is closed: each connection sends one message after the other. With --rate it
is open: messages have their times, and latency counts from there, however late the send was.

With --baseline go-smtp with a backend that forgets everything is measured in turns with the relay,
and the disk in between, so that neighbours on the machine disturb all three alike. Rates are medians
of the rounds.`,
		Example: `  mailchute bench
  mailchute bench --connections 10 --baseline --json
  mailchute bench --rate 1000 --size 64KiB --tls
  mailchute bench --deliver --connections 50 --cpuprofile relay.pprof`,
	}
	f := cmd.Flags()
	f.IntVar(&o.Rate, "rate", 0, "messages a second in an open loop (default: closed loop)")
	f.IntVar(&o.Connections, "connections", 50, "connections of the generator")
	f.StringVar(&size, "size", size, "`size` of a message")
	f.DurationVar(&o.Duration, "duration", 5*time.Second, "how long the relay is under load, at most 30m")
	f.IntVar(&o.Rounds, "rounds", 0, "rounds that the duration is split into (default 1, with --baseline 5)")
	f.BoolVar(&o.TLS, "tls", false, "submit under implicit TLS")
	f.BoolVar(&o.NewConnection, "new-connection-per-message", false, "connect, log in, send one message and quit")
	f.BoolVar(&o.Deliver, "deliver", false, "deliver to the sink meanwhile (default: streams are paused)")
	f.BoolVar(&o.DKIM, "dkim", false, "sign what is delivered, and measure in turns what the processors sign when they do nothing else")
	f.IntVar(&o.Streams, "streams", 1, "streams that the messages go to in turns")
	f.IntVar(&o.Destinations, "destinations", 1, "domains that the messages go to in turns; from 2 on over MX")
	f.IntVar(&o.Backlog, "backlog", 0, "deferred messages that are queued beforehand")
	f.IntVar(&o.Idle, "idle", 0, "further connections that log in and stay idle")
	f.BoolVar(&o.Baseline, "baseline", false, "measure go-smtp with a discarding backend, and the disk, in turns")
	f.BoolVar(&o.Fresh, "fresh", false, "begin in an empty directory, not in that of a relay that has run for a while")
	f.BoolVar(&o.Search, "search", false, "search messages over HTTP every 100 ms meanwhile")
	f.StringVar(&dir, "dir", "", "`directory` for the temporary files (default: the system's)")
	f.StringVar(&cpu, "cpuprofile", "", "write a processor profile of the relay to `file`")
	f.StringVar(&memory, "memprofile", "", "write what the relay allocated to `file`")
	cmd.RunE = a.local(func(cmd *cobra.Command, _ []string) (err error) {
		if o.Size, err = parseSize(size); err != nil {
			return usage("--size: %w", err)
		}
		if err := o.validate(); err != nil {
			return err
		}
		return a.bench(cmd.Context(), o.withDefaults(), a.abs(dir), benchOrder{Kind: partRelay, CPU: a.abs(cpu), Memory: a.abs(memory)})
	})
	cmd.AddCommand(a.benchPartCommand())
	return cmd
}

func (o benchOptions) withDefaults() benchOptions {
	if o.Rounds == 0 {
		o.Rounds = 1
		if o.Baseline {
			o.Rounds = 5
		}
	}
	return o
}

// bench measures in a directory of its own below parent. The order is the
// relay's, to be completed.
func (a *app) bench(ctx context.Context, o benchOptions, parent string, order benchOrder) error {
	dir, err := os.MkdirTemp(parent, "mailchute-bench-")
	if err != nil {
		return &exitError{exitCreate, err}
	}
	defer os.RemoveAll(dir)
	if inMemory(dir) {
		fmt.Fprintf(a.errout, "mailchute: %s is in memory, where a sync costs nothing; name a directory on a disk with --dir\n", dir)
	}
	order.Options, order.Dir = o, dir
	b := &bench{app: a, benchOptions: o, dir: dir}
	r, err := b.run(ctx, order)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if a.json {
		return writeJSON(a.out, r)
	}
	return r.print(a.out)
}

// bench is one measurement under way.
type bench struct {
	*app
	benchOptions
	dir string

	parts []*benchPart // all that run
	relay *benchTarget
	base  *benchTarget // nil without --baseline
	sink  *benchPart   // nil without --deliver
	disk  *diskProbe   // nil without --baseline
	sign  *signProbe   // nil without --dkim

	searches *searchProbe // nil without --search

	prepared int   // commits in the journal before the relay began
	idleCost int64 // octets of the relay for each idle connection
}

// benchTarget is a server under load with what was measured of it.
type benchTarget struct {
	part   *benchPart
	logins []string // SASL PLAIN responses, taken in turns by the connections
	rounds []benchRound
}

func (b *bench) run(ctx context.Context, order benchOrder) (_ *benchReport, err error) {
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx, order); err != nil {
		return nil, err
	}
	idle, err := b.park(ctx)
	defer idle.close()
	if err != nil {
		return nil, err
	}
	before, err := b.relay.part.usage()
	if err != nil {
		return nil, err
	}
	for range b.Rounds {
		if err := b.round(ctx); err != nil {
			return nil, err
		}
	}
	after, err := b.relay.part.usage()
	if err != nil {
		return nil, err
	}
	r := b.report(before, after)
	if err := b.stop(); err != nil {
		return nil, err
	}
	return r, b.countSyncs(r)
}

// start fills the directory and starts the processes.
func (b *bench) start(ctx context.Context, order benchOrder) (err error) {
	if b.Deliver {
		if b.sink, err = b.startPart(ctx, benchOrder{Kind: partSink, Options: b.benchOptions}); err != nil {
			return err
		}
		order.Sink, order.Resolver = b.sink.ready.Address, b.sink.ready.Resolver
	}
	if b.DKIM {
		if b.sign, err = newSignProbe(b.Size); err != nil {
			return err
		}
	}
	b.relay = &benchTarget{}
	if b.relay.logins, err = prepareBench(ctx, order); err != nil {
		return fmt.Errorf("filling %s: %w", b.dir, err)
	}
	if b.Backlog == 0 {
		if b.prepared, err = b.commits(); err != nil {
			return err
		}
	}
	if b.relay.part, err = b.startPart(ctx, order); err != nil {
		return err
	}
	if b.Search {
		if b.searches, err = newSearchProbe(b.relay.part.ready.API, b.relay.logins[0]); err != nil {
			return err
		}
	}
	if !b.Baseline {
		return nil
	}
	b.base = &benchTarget{logins: b.relay.logins}
	if b.base.part, err = b.startPart(ctx, benchOrder{Kind: partBase, Options: b.benchOptions}); err != nil {
		return err
	}
	b.disk, err = openDiskProbe(b.dir, b.diskBatch())
	return err
}

// stop ends the processes and returns what they complain of.
func (b *bench) stop() error {
	var err error
	for _, p := range slices.Backward(b.parts) { // the sink, which the relay talks to, last
		err = errors.Join(err, p.stop())
	}
	b.parts = nil
	if b.disk != nil {
		err = errors.Join(err, b.disk.close())
		b.disk = nil
	}
	return err
}

// round loads each target once.
func (b *bench) round(ctx context.Context) error {
	length := b.Duration / time.Duration(b.Rounds)
	if b.base != nil {
		if err := b.load(ctx, b.base, length); err != nil {
			return fmt.Errorf("discarding server: %w", err)
		}
		if err := b.disk.measure(min(length/2, 300*time.Millisecond)); err != nil {
			return fmt.Errorf("measuring the disk: %w", err)
		}
	}
	if b.sign != nil {
		if err := b.sign.measure(min(length/2, 500*time.Millisecond)); err != nil {
			return err
		}
	}
	return b.searches.during(ctx, func() error { return b.load(ctx, b.relay, length) })
}

// cpus is how many processors all the processes share.
func cpus() int { return runtime.GOMAXPROCS(0) }
