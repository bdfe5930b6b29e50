package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// figures are what is kept of one side of a run.
type figures struct {
	PerSecond float64 `json:"messages_per_second"`
	Latency   struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"latency_us"`
	CPU float64 `json:"cpu_us_per_message"`
}

// run is one point of a series.
type run struct {
	Step     string   `json:"step"`
	Relay    figures  `json:"relay"`
	Baseline *figures `json:"baseline,omitempty"`
}

// bench runs the benchmark of one built program.
type bench struct {
	program  string
	duration string
	rounds   string
}

// build makes the program of this checkout in dir.
func build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "mailchute")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/mailchute")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building mailchute: %w", err)
	}
	return program, nil
}

// measure runs all points of a series.
func (b *bench) measure(ctx context.Context, s series, tell func(run)) ([]run, error) {
	var points []run
	for _, step := range s.steps {
		r, err := b.point(ctx, s, step)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", s.vary, step, err)
		}
		tell(r)
		points = append(points, r)
	}
	return points, nil
}

func (b *bench) point(ctx context.Context, s series, step string) (run, error) {
	args := slices.Concat([]string{"bench", "--json", "--duration", b.duration, "--rounds", b.rounds}, s.flags, []string{s.vary, step})
	if s.base {
		args = append(args, "--baseline")
	}
	cmd := exec.CommandContext(ctx, b.program, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return run{}, fmt.Errorf("%w: %s", err, complaint.Bytes())
	}
	r := run{Step: step}
	return r, json.Unmarshal(out.Bytes(), &r)
}
