package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := plot(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

func plot(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("plots", flag.ContinueOnError)
	dir := flags.String("out", filepath.Join("docs", "plots"), "`directory` for the plots and their figures")
	duration := flags.String("duration", "6s", "how long each point is measured")
	rounds := flags.String("rounds", "3", "rounds that a point is split into")
	backlog := flags.Int("backlog", 1_000_000, "the largest backlog")
	only := flags.String("only", "", "one series instead of all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all := slices.DeleteFunc(grown(*backlog), func(s series) bool { return *only != "" && s.Name != *only })
	if len(all) == 0 {
		return fmt.Errorf("-only %s: no such series", *only)
	}
	temp, err := os.MkdirTemp("", "mailchute-plots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	program, err := build(ctx, temp)
	if err != nil {
		return err
	}
	b := &bench{program: program, duration: *duration, rounds: *rounds}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	for _, s := range all {
		if err := one(ctx, b, s, *dir, out); err != nil {
			return err
		}
	}
	return nil
}

// one measures and draws one series.
func one(ctx context.Context, b *bench, s series, dir string, out io.Writer) error {
	points, err := b.measure(ctx, s, func(r run) {
		fmt.Fprintf(out, "%-14s %-8s %8.0f msg/s   p50 %6.1f ms   p99 %6.1f ms   %4.0f µs of processor a message\n",
			s.Name, r.Step, r.Relay.PerSecond, r.Relay.Latency.P50/1000, r.Relay.Latency.P99/1000, r.Relay.CPU)
	})
	if err != nil {
		return err
	}
	figures, err := json.MarshalIndent(points, "", "  ")
	if err != nil {
		return err
	}
	rate, err := draw(s.Title+": throughput", s.steps, rates(points))
	if err != nil {
		return err
	}
	wait, err := draw(s.Title+": latency", s.steps, latencies(points))
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		s.Name + ".json": append(figures, '\n'), s.Name + "-throughput.svg": rate, s.Name + "-latency.svg": wait,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
