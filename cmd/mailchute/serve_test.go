package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/store"
)

// These tests are in the package: the server is not exported.

func TestFaulted_EndsWithIOError(t *testing.T) {
	faults := make(chan error, 1)
	faults <- store.ErrUnknown
	if err := faulted(context.Background(), faults); exitCode(err) != exitIO || !errors.Is(err, store.ErrUnknown) {
		t.Errorf("faulted = %v, exit code %d, want %d", err, exitCode(err), exitIO)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if err := faulted(stopped, make(chan error)); err != nil {
		t.Errorf("faulted = %v at an orderly stop", err)
	}
}

func TestEnded_TellsOrderlyStopFromSilence(t *testing.T) {
	running, stop := context.WithCancel(context.Background())
	if err := ended(running, "dispatcher", nil); err == nil {
		t.Error("a part that ended by itself is no error")
	}
	stop()
	if err := ended(running, "dispatcher", nil); err != nil {
		t.Errorf("ended = %v at an orderly stop", err)
	}
	if err := ended(running, "dispatcher", io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ended = %v, want the part's own error", err)
	}
}

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{usage("x"), exitUsage},
		{errors.Join(io.EOF, exitWith(exitConfig, "x")), exitConfig},
		{store.ErrNotFound, exitUnavailable},
		{store.ErrLimit, exitData},
		{store.ErrNotDue, exitBusy},
		{store.ErrUnknown, exitIO},
		{io.EOF, exitUnavailable},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestPasteLines_OfferOnlyWhatWorks(t *testing.T) {
	for _, tt := range []struct {
		name         string
		listeners    []ListenerConfig
		has, doesNot []string
	}{
		{"default", Default().SMTP.Listeners, []string{"127.0.0.1:2525 --from", "127.0.0.1:2525 --tls", "127.0.0.1:4465 --tls-on-connect", "SMTP_URL=smtp://u:p@127.0.0.1:2525"}, nil},
		{"public", []ListenerConfig{{Address: "[::]:587", TLS: tlsStart}}, []string{"relay.example:587 --tls"}, []string{"relay.example:587 --from", "--tls-on-connect"}},
		{"no TLS", []ListenerConfig{{Address: "[::1]:25", TLS: tlsNone}}, []string{"[::1]:25 --from", "SMTP_PORT=25"}, []string{"--tls"}},
		{"implicit only", []ListenerConfig{{Address: "0.0.0.0:465", TLS: tlsImplicit}}, []string{"relay.example:465 --tls-on-connect", "SMTP_URL=smtps://u:p@relay.example:465"}, []string{"--tls --from"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Default()
			cfg.Hostname, cfg.SMTP.Listeners = "relay.example", tt.listeners
			var out strings.Builder
			if err := pasteLines(&out, cfg, "u", "p"); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %q:\n%s", want, out.String())
				}
			}
			for _, not := range tt.doesNot {
				if strings.Contains(out.String(), not) {
					t.Errorf("has %q:\n%s", not, out.String())
				}
			}
		})
	}
}
