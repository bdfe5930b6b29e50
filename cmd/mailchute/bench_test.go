package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// These tests are in the package: nothing of it is exported.

func TestBench_ContentHasItsSize(t *testing.T) {
	for _, size := range []int{1024, 4096, 4097, 4098, 65536} {
		text, ok := strings.CutSuffix(string(benchContent(size)), "\r\n.\r\n")
		if len(text)+2 != size || !ok || strings.Contains(text, "\n.") {
			t.Errorf("content for %d octets has %d, ends with the final dot alone: %v", size, len(text)+2, ok)
		}
	}
}

func TestBench_WorkersTakeTurns(t *testing.T) {
	l := &loader{benchOptions: benchOptions{Size: 1024, Streams: 27, Destinations: 10}}
	for i, want := range []int{25, 2} {
		w := newWorker(l, i, []string{"first", "second"})
		if w.streams != want || w.login != []string{"first", "second"}[i] {
			t.Errorf("worker %d has %d streams and login %q, want %d and its own", i, w.streams, w.login, want)
		}
		copyNumber(w.domain[1:6], 7)
		copyNumber(w.stream[6:8], 12)
		if !strings.Contains(string(w.command), "<user@d00007.example>") || !strings.Contains(string(w.content), "Stream: bench-12\r\n") {
			t.Errorf("worker %d sends %q and %q", i, w.command, w.content)
		}
	}
}

func TestBench_Quantiles(t *testing.T) {
	var d []time.Duration
	for i := range 1000 {
		d = append(d, time.Duration(1000-i)*time.Microsecond)
	}
	if got, want := quantilesOf(d), (quantiles{501, 901, 991, 1000}); got != want {
		t.Errorf("quantiles = %v, want %v", got, want)
	}
	if got := fmt.Sprint(median([]float64{3, 1, 2}), median([]float64{4, 1, 2, 3}), median(nil)); got != "2 2.5 0" {
		t.Errorf("medians = %s, want 2 2.5 0", got)
	}
}

// TestBench_CountsCommitsAcrossWrites cuts a dump at every place.
func TestBench_CountsCommitsAcrossWrites(t *testing.T) {
	dump := `{"kind":"record"}` + "\n" + `{"kind":"commit","time":"x"}` + "\n" + `{"kind":"commit"}` + "\n"
	for cut := range len(dump) {
		var c commitCounter
		for _, part := range []string{dump[:cut], dump[cut:]} {
			if _, err := c.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if c.n != 2 {
			t.Errorf("cut at %d: %d commits, want 2", cut, c.n)
		}
	}
}

func TestBench_SinkIsTheHostOfEveryDomain(t *testing.T) {
	for kind, want := range map[dnsmessage.Type]string{
		dnsmessage.TypeMX: "&{10 d00001.example.}", dnsmessage.TypeA: "&{[127 0 0 1]}", dnsmessage.TypeAAAA: "",
	} {
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName("d00001.example."), Type: kind, Class: dnsmessage.ClassINET},
		}}
		packed, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		packed, err = sinkAnswer(packed)
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(packed); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, a := range m.Answers {
			switch r := a.Body.(type) {
			case *dnsmessage.MXResource:
				got = fmt.Sprintf("&{%d %s}", r.Pref, r.MX)
			case *dnsmessage.AResource:
				got = fmt.Sprintf("&{%d}", r.A)
			}
		}
		if m.ID != 7 || !m.Response || got != want {
			t.Errorf("%v: answer %q to %d, want %q to 7", kind, got, m.ID, want)
		}
	}
}

func TestBench_RefusesNonsense(t *testing.T) {
	good := benchOptions{Connections: 1, Size: 4 * KiB, Duration: time.Second, Streams: 1, Destinations: 1}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*benchOptions){
		"no connection":          func(o *benchOptions) { o.Connections = 0 },
		"tiny message":           func(o *benchOptions) { o.Size = 10 },
		"more than half an hour": func(o *benchOptions) { o.Duration = benchMaxDuration + 1 },
		"no stream":              func(o *benchOptions) { o.Streams = 0 },
		"too much memory":        func(o *benchOptions) { o.Connections, o.Size = 1000, 100*MiB },
	} {
		o := good
		spoil(&o)
		if o.validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
