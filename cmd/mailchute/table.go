package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table writes aligned columns. What was put into cells came from clients and
// remote hosts, so control characters are replaced: they could move a
// terminal's cursor or forge lines.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer, header ...any) *table {
	t := &table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

func (t *table) row(cells ...any) {
	line := make([]string, len(cells))
	for i, c := range cells {
		line[i] = cell(c)
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(line, "\t"), "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

func cell(v any) string {
	switch v := v.(type) {
	case time.Time:
		return when(v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	}
	return printable(fmt.Sprint(v))
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// when writes a time for people: UTC, to the second.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// span writes a duration for people, with at most two units.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
