package main

import (
	"fmt"
	"math"

	"github.com/go-analyze/charts"
)

// line is one curve of a plot.
type line struct {
	name   string
	values []float64
}

// rates are the curves of throughput.
func rates(points []run) []line {
	out := []line{{name: "mailchute, messages/s"}}
	base := line{name: "go-smtp that discards"}
	for _, p := range points {
		out[0].values = append(out[0].values, p.Relay.PerSecond)
		if p.Baseline != nil {
			base.values = append(base.values, p.Baseline.PerSecond)
		}
	}
	if base.values != nil {
		out = append(out, base)
	}
	return out
}

// latencies are the curves of the time from DATA to its 250.
func latencies(points []run) []line {
	out := []line{{name: "p50, ms"}, {name: "p99, ms"}}
	for _, p := range points {
		out[0].values = append(out[0].values, p.Relay.Latency.P50/1000)
		out[1].values = append(out[1].values, p.Relay.Latency.P99/1000)
	}
	return out
}

// draw makes an SVG of curves over the same steps, which are equally spaced
// whatever their distance: they grow by factors.
func draw(title string, steps []string, lines []line) ([]byte, error) {
	var values [][]float64
	var names []string
	for _, l := range lines {
		values, names = append(values, l.values), append(names, l.name)
	}
	opt := charts.NewLineChartOptionWithData(values)
	opt.Title.Text = title
	opt.Title.FontStyle.FontSize = 14
	opt.Legend.SeriesNames = names
	opt.Legend.Offset = charts.OffsetStr{Left: charts.PositionRight}
	opt.XAxis.Labels = steps
	opt.YAxis[0].Min = charts.Ptr(0.0)
	opt.ValueFormatter = short
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 720, Height: 320})
	if err := p.LineChart(opt); err != nil {
		return nil, fmt.Errorf("drawing %q: %w", title, err)
	}
	return p.Bytes()
}

// short writes a number for an axis.
func short(f float64) string {
	switch {
	case f >= 10_000:
		return fmt.Sprintf("%.0fk", f/1000)
	case f >= 1000:
		return fmt.Sprintf("%.1fk", f/1000)
	case f == math.Trunc(f):
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.1f", f)
}
