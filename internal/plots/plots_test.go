package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDraw_WellFormedWithEveryCurveAndStep(t *testing.T) {
	var points []run
	text := `[{"step":"1","relay":{"messages_per_second":900,"latency_us":{"p50":1000,"p99":2000}},"baseline":{"messages_per_second":1200}},
		{"step":"50","relay":{"messages_per_second":9000.5,"latency_us":{"p50":4000,"p99":20000}},"baseline":{"messages_per_second":16000}}]`
	if err := json.Unmarshal([]byte(text), &points); err != nil {
		t.Fatal(err)
	}
	svg, err := draw("Rates", []string{"1", "50"}, rates(points))
	if err != nil {
		t.Fatal(err)
	}
	words := textOf(t, svg)
	for _, want := range []string{"Rates", "mailchute, messages/s", "go-smtp that discards", "50", "16k"} {
		if !strings.Contains(words, want) {
			t.Errorf("the plot does not say %q: %s", want, words)
		}
	}
	if n := len(latencies(points)); n != 2 {
		t.Errorf("latencies has %d curves, want 2", n)
	}
}

func textOf(t *testing.T, svg []byte) string {
	t.Helper()
	var words strings.Builder
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words.String()
		}
		if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
		if c, ok := token.(xml.CharData); ok {
			words.Write(c)
			words.WriteByte('\n')
		}
	}
}

// The command is run against a program that answers like bench.
func TestOne_WritesFiguresAndPlots(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bench.sh")
	script := "#!/bin/sh\n[ \"$1\" = bench ] || exit 1\necho '{\"relay\":{\"messages_per_second\":5,\"latency_us\":{\"p50\":1,\"p99\":2},\"cpu_us_per_message\":3}}'\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := series{Name: "streams", Title: "T", vary: "--streams", steps: []string{"1", "10"}}
	var out strings.Builder
	if err := one(context.Background(), &bench{program: program, duration: "1s", rounds: "1"}, s, dir, &out); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "streams "); got != 2 {
		t.Errorf("told of %d points, want 2: %s", got, &out)
	}
	for _, name := range []string{"streams.json", "streams-throughput.svg", "streams-latency.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestPlot_UnknownSeries(t *testing.T) {
	if err := plot(context.Background(), []string{"-only", "nonsense", "-out", t.TempDir()}, io.Discard); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("plot -only nonsense = %v", err)
	}
}
