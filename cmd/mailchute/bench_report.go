package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// benchReport is the outcome of a measurement, as --json prints it. Times are in
// microseconds.
type benchReport struct {
	System    string        `json:"system"`
	Processor int           `json:"processors"`
	Options   benchOptions  `json:"options"`
	Relay     benchNumbers  `json:"relay"`
	Baseline  *benchNumbers `json:"baseline,omitempty"`
	Disk      *diskNumbers  `json:"disk,omitempty"`
	Signing   *signNumbers  `json:"signing,omitempty"`
	// Search tells of the searches that ran beside the relay's load.
	Search *searchNumbers `json:"search,omitempty"`
	// Ratio is relay to baseline, in messages a second. With delivery, the relay's
	// rate is that of messages that were accepted and delivered.
	Ratio float64 `json:"ratio,omitempty"`
	// Serial, of one connection: the relay's rate to that of a server which takes
	// the baseline's time and one sync for each message.
	Serial float64 `json:"serial_ratio,omitempty"`
	// DiskRatio is octets of content a second, relay to disk.
	DiskRatio float64 `json:"disk_ratio,omitempty"`
}

// benchNumbers tell of one server.
type benchNumbers struct {
	Messages       int       `json:"messages"`
	PerSecond      float64   `json:"messages_per_second"` // median of the rounds
	Rounds         []float64 `json:"rounds"`
	MBPerSecond    float64   `json:"mb_per_second"` // of content, 10^6 octets
	Latency        quantiles `json:"latency_us"`
	CPU            float64   `json:"cpu_us_per_message"`
	GeneratorCPU   float64   `json:"generator_cpu_us_per_message"`
	GeneratorShare float64   `json:"generator_cpu_share"` // of all processors
	SinkCPU        float64   `json:"sink_cpu_us_per_message,omitempty"`
	Allocations    float64   `json:"allocations_per_message"`
	AllocatedBytes float64   `json:"allocated_bytes_per_message"`

	// Of the relay only.
	Syncs          int     `json:"syncs,omitempty"`
	SyncsPerSecond float64 `json:"syncs_per_second,omitempty"`
	OpenedIn       float64 `json:"opened_in_us,omitempty"`
	MemoryBefore   int64   `json:"memory_before_bytes,omitempty"`
	MemoryAfter    int64   `json:"memory_after_bytes,omitempty"`
	MemoryPeak     int64   `json:"memory_peak_bytes,omitempty"`
	MemoryRounds   []int64 `json:"memory_rounds_bytes,omitempty"` // after each round, which shows growth
	IdleConnection int64   `json:"memory_per_idle_connection_bytes,omitempty"`
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// diskNumbers tell of synced writes as the journal makes them.
type diskNumbers struct {
	Batch          int     `json:"batch_bytes"`
	SyncsPerSecond float64 `json:"syncs_per_second"`
	MBPerSecond    float64 `json:"mb_per_second"`
}

func (b *bench) report(before, after benchUsage) *benchReport {
	r := &benchReport{
		System: runtime.GOOS + "/" + runtime.GOARCH, Processor: cpus(), Options: b.benchOptions,
		Relay: b.numbers(b.relay),
	}
	r.Relay.OpenedIn = micros(b.relay.part.ready.Opened)
	r.Relay.MemoryBefore, r.Relay.MemoryAfter, r.Relay.MemoryPeak = before.RSS, after.RSS, max(after.RSS, after.Peak)
	r.Relay.IdleConnection = b.idleCost
	for _, round := range b.relay.rounds {
		r.Relay.MemoryRounds = append(r.Relay.MemoryRounds, round.server.RSS)
	}
	r.Signing, r.Search = b.sign.numbers(r.Relay), b.searches.numbers()
	if b.base == nil {
		return r
	}
	base := b.numbers(b.base)
	r.Baseline = &base
	batch := len(b.disk.batch)
	syncs := median(b.disk.syncs)
	r.Disk = &diskNumbers{Batch: batch, SyncsPerSecond: syncs, MBPerSecond: syncs * float64(batch) / 1e6}
	r.DiskRatio = r.Relay.MBPerSecond / r.Disk.MBPerSecond
	var pairs []float64
	for i, rate := range r.Relay.Rounds {
		pairs = append(pairs, rate/base.Rounds[i])
	}
	r.Ratio = median(pairs)
	if b.Connections == 1 {
		r.Serial = r.Relay.PerSecond * (1/base.PerSecond + 1/syncs)
	}
	return r
}

func (b *bench) numbers(t *benchTarget) benchNumbers {
	var n benchNumbers
	var server benchUsage
	var generator, sink, busy time.Duration
	var latencies []time.Duration
	for _, r := range t.rounds {
		n.Messages += r.total
		n.Rounds = append(n.Rounds, r.rate())
		server.CPU += r.server.CPU
		server.Mallocs += r.server.Mallocs
		server.Allocated += r.server.Allocated
		generator, sink = generator+r.generator, sink+r.sink
		busy += b.Duration / time.Duration(b.Rounds)
		latencies = append(latencies, r.latencies...)
	}
	each := func(v float64) float64 { return v / float64(max(n.Messages, 1)) }
	n.PerSecond = median(n.Rounds)
	n.MBPerSecond = n.PerSecond * float64(b.Size) / 1e6
	n.Latency = quantilesOf(latencies)
	n.CPU, n.GeneratorCPU, n.SinkCPU = each(micros(server.CPU)), each(micros(generator)), each(micros(sink))
	n.GeneratorShare = generator.Seconds() / busy.Seconds() / float64(cpus())
	n.Allocations, n.AllocatedBytes = each(float64(server.Mallocs)), each(float64(server.Allocated))
	return n
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median returns 0 for no numbers.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func quantilesOf(d []time.Duration) quantiles {
	if len(d) == 0 {
		return quantiles{}
	}
	slices.Sort(d)
	at := func(share float64) float64 { return micros(d[min(int(share*float64(len(d))), len(d)-1)]) }
	return quantiles{at(0.5), at(0.9), at(0.99), at(1)}
}

func (r *benchReport) print(out io.Writer) error {
	o := r.Options
	fmt.Fprintf(out, "%s, %d processors; messages of %v over %d connections, %s\n\n", r.System, r.Processor, o.Size, o.Connections, o.describe())
	t := newTable(out, "", "MSG/S", "MB/S", "P50", "P90", "P99", "MAX", "CPU/MSG", "ALLOCS/MSG", "GENERATOR CPU/MSG")
	r.Relay.row(t, "relay")
	if r.Baseline != nil {
		r.Baseline.row(t, "go-smtp, discarding")
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nmemory          %s before, %s after, %s at most\n", mib(r.Relay.MemoryBefore), mib(r.Relay.MemoryAfter), mib(r.Relay.MemoryPeak))
	if len(r.Relay.MemoryRounds) > 1 {
		fmt.Fprintf(out, "each round      %s\n", strings.Join(mibs(r.Relay.MemoryRounds), ", "))
	}
	fmt.Fprintf(out, "generator       %.0f %% of the processors\n", 100*r.Relay.GeneratorShare)
	if r.Relay.Syncs > 0 {
		fmt.Fprintf(out, "journal         %.0f syncs a second, %.1f messages each\n", r.Relay.SyncsPerSecond, float64(r.Relay.Messages)/float64(r.Relay.Syncs))
	}
	if o.Deliver {
		fmt.Fprintf(out, "sink            %s a message\n", microtext(r.Relay.SinkCPU))
	}
	if o.Idle > 0 {
		fmt.Fprintf(out, "idle            %.1f KiB for each of %d connections\n", float64(r.Relay.IdleConnection)/1024, o.Idle)
	}
	if o.Backlog > 0 {
		fmt.Fprintf(out, "backlog         %d messages, opened in %s\n", o.Backlog, microtext(r.Relay.OpenedIn))
	}
	if r.Signing != nil {
		fmt.Fprintln(out, r.Signing)
	}
	if r.Search != nil {
		fmt.Fprintln(out, r.Search)
	}
	r.printRatios(out)
	return nil
}

func (r *benchReport) printRatios(out io.Writer) {
	if r.Baseline == nil {
		return
	}
	fmt.Fprintf(out, "disk            %.0f synced writes of %v a second, %.0f MB/s\n", r.Disk.SyncsPerSecond, Size(r.Disk.Batch), r.Disk.MBPerSecond)
	fmt.Fprintf(out, "relay : base    %.2f (median of %d rounds)\n", r.Ratio, len(r.Relay.Rounds))
	fmt.Fprintf(out, "relay : disk    %.2f, in octets of content\n", r.DiskRatio)
	if r.Serial > 0 {
		fmt.Fprintf(out, "relay : serial  %.2f, of one base submission and one sync after the other\n", r.Serial)
	}
}

func (o benchOptions) describe() string {
	text := "accepted and kept"
	if o.Deliver {
		text = "accepted and delivered"
	}
	if o.Rate > 0 {
		text += fmt.Sprintf(", %d a second offered", o.Rate)
	}
	if o.NewConnection {
		text += ", each on a connection of its own"
	}
	if o.TLS {
		text += ", TLS"
	}
	return text
}

func (n *benchNumbers) row(t *table, name string) {
	t.row(name, fmt.Sprintf("%.0f", n.PerSecond), fmt.Sprintf("%.1f", n.MBPerSecond),
		microtext(n.Latency.P50), microtext(n.Latency.P90), microtext(n.Latency.P99), microtext(n.Latency.Max),
		microtext(n.CPU), fmt.Sprintf("%.0f", n.Allocations), microtext(n.GeneratorCPU))
}

func microtext(us float64) string {
	switch d := time.Duration(us * float64(time.Microsecond)); {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0fµs", us)
	case d < time.Second:
		return fmt.Sprintf("%.1fms", us/1000)
	}
	return fmt.Sprintf("%.1fs", us/1e6)
}

func mibs(octets []int64) (all []string) {
	for _, n := range octets {
		all = append(all, mib(n))
	}
	return all
}

func mib(octets int64) string { return fmt.Sprintf("%.0f MiB", float64(octets)/(1<<20)) }
