package message

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTakeControls(t *testing.T) {
	yes, no := true, false
	tag := strings.Repeat("ä", 1000)
	ten := ""
	for i := range 10 {
		ten += fmt.Sprintf("X-PM-Metadata-k%d: v\n", i)
	}
	tests := []struct {
		name, in string
		want     Controls
		bad      string // name of the field in the error
	}{
		{name: "none", in: "X-Priority: 1\nX-PMail: 2\n"},
		{name: "all", in: "X-PM-Message-Stream: broadcast\nX-PM-Tag: welcome\nX-PM-TrackOpens: True\nX-PM-TrackLinks: htmlonly\nX-PM-KeepID: true\nX-PM-Bounce-Type: HardBounce\n",
			want: Controls{Stream: "broadcast", Tag: "welcome", TrackOpens: &yes, TrackLinks: "HtmlOnly", KeepID: true, BounceType: "HardBounce"}},
		{name: "any case", in: "x-pm-message-stream: a\nX-PM-TRACKOPENS: FALSE\n", want: Controls{Stream: "a", TrackOpens: &no}},
		{name: "encoded and folded", in: "X-PM-Tag: =?utf-8?q?caf=C3=A9?=\n =?utf-8?q?_noir?=\n", want: Controls{Tag: "café noir"}},
		{name: "empty ones ask for nothing", in: "X-PM-Message-Stream:\nX-PM-Tag: \nX-PM-TrackOpens:\nX-PM-TrackLinks:\nX-PM-KeepID:\n"},
		{name: "unknown ones", in: "X-PM-Message-Options: v1\nX-PM-RCPT: a\nX-PM-RCPT: b\nX-PM-: c\n", want: Controls{Unknown: []string{"X-PM-Message-Options", "X-PM-RCPT", "X-PM-RCPT", "X-PM-"}}},
		{name: "metadata", in: "X-PM-Metadata-Order-Id: 7\nX-PM-Metadata-x:\n", want: Controls{Metadata: []Metadatum{{"Order-Id", "7"}, {"x", ""}}}},
		{name: "metadata repeated", in: "X-PM-Metadata-c: 1\nX-PM-Metadata-C1: 2\nX-PM-Metadata-C: 3\nX-PM-Metadata-c: 4\n", want: Controls{Metadata: []Metadatum{{"c", "1"}, {"C1", "2"}, {"C2", "3"}, {"c3", "4"}}}},
		{name: "tag of 1,000", in: "X-PM-Tag: " + tag + "\n", want: Controls{Tag: tag}},
		{name: "key of 20, value of 80", in: "X-PM-Metadata-" + strings.Repeat("k", 20) + ": " + tag[:160] + "\n", want: Controls{Metadata: []Metadatum{{strings.Repeat("k", 20), tag[:160]}}}},

		{name: "tag of 1,001", in: "x-pm-TAG: " + tag + "a\n", bad: "x-pm-TAG"},
		{name: "stream too long", in: "X-PM-Message-Stream: " + strings.Repeat("a", 101) + "\n", bad: "X-PM-Message-Stream"},
		{name: "stream twice", in: "X-PM-Message-Stream: a\nX-PM-Message-STREAM: a\n", bad: "X-PM-Message-STREAM"},
		{name: "tag twice", in: "X-PM-Tag:\nX-PM-Tag: a\n", bad: "X-PM-Tag"},
		{name: "opens neither true nor false", in: "X-PM-TrackOpens: yes\n", bad: "X-PM-TrackOpens"},
		{name: "keep neither true nor false", in: "X-PM-KeepID: 1\n", bad: "X-PM-KeepID"},
		{name: "unknown link tracking", in: "X-PM-TrackLinks: All\n", bad: "X-PM-TrackLinks"},
		{name: "metadata without key", in: "X-PM-Metadata-: a\n", bad: "X-PM-Metadata-"},
		{name: "metadata key of 21", in: "X-PM-Metadata-" + strings.Repeat("k", 21) + ": a\n", bad: "X-PM-Metadata-" + strings.Repeat("k", 21)},
		{name: "metadata key too long with its suffix", in: strings.Repeat("X-PM-Metadata-"+strings.Repeat("k", 20)+": a\n", 2), bad: "X-PM-Metadata-" + strings.Repeat("k", 20)},
		{name: "metadata value of 81", in: "X-PM-Metadata-k: " + tag[:162] + "\n", bad: "X-PM-Metadata-k"},
		{name: "eleven of metadata", in: ten + "X-PM-Metadata-last: v\n", bad: "X-PM-Metadata-last"},
		{name: "line end in an encoded word", in: "X-PM-Tag: =?utf-8?q?a=0D=0ABcc:_x?=\n", bad: "X-PM-Tag"},
		{name: "escape in metadata", in: "X-PM-Metadata-k: \x1b[2J\n", bad: "X-PM-Metadata-k"},
		{name: "line end in the stream", in: "X-PM-Message-Stream: =?utf-8?b?YQo=?=\n", bad: "X-PM-Message-Stream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustHeader(t, "From: a@example.org\n"+tt.in+"Subject: s\n")
			got, err := TakeControls(h)
			if left := h.Remove("X-PM-*"); left != nil {
				t.Errorf("left behind: %q", left)
			}
			if h.Get("From") != "a@example.org" || h.Get("Subject") != "s" {
				t.Error("took more than controls")
			}
			if diff := cmp.Diff(tt.want, got); tt.bad == "" && (diff != "" || err != nil) {
				t.Fatalf("%v, %s", err, diff)
			}
			var ce *ControlError
			if tt.bad != "" && (!errors.As(err, &ce) || ce.Header != tt.bad || !strings.HasPrefix(ce.Error(), tt.bad+": ")) {
				t.Fatalf("error %v, want one about %s", err, tt.bad)
			}
		})
	}
}

func TestStrip(t *testing.T) {
	tests := []struct {
		name, in string
		removed  []string
	}{
		{"S43 nothing to remove", "From: a\nTo: b\nCc: c\n", nil},
		{"S43 Bcc", "bcc: secret@example.org\nBcc:\n", []string{"bcc", "Bcc"}},
		{"S43 Resent-Bcc", "Resent-Bcc: secret@example.org\n", []string{"Resent-Bcc"}},
		{"S43 Return-Path", "Return-Path: <a@example.org>\n", []string{"Return-Path"}},
		{"S43 own fields", "X-Mailchute-Id: 1\nx-mailchute-: 2\nX-Mailchutes: 3\n", []string{"X-Mailchute-Id", "x-mailchute-"}},
		{"S43 our authentication results", "Authentication-Results: Relay.Example; dkim=pass\n", []string{"Authentication-Results"}},
		{"S43 ours with version", "authentication-results: relay.example 1; none\n", []string{"authentication-results"}},
		{"S43 ours behind a comment", "Authentication-Results: (a \\) (b)) relay.example(c); none\n", []string{"Authentication-Results"}},
		{"S43 ours quoted", "Authentication-Results: \"relay.example\"; none\n", []string{"Authentication-Results"}},
		{"S43 ours alone", "Authentication-Results:\n relay.example\n", []string{"Authentication-Results"}},
		{"S43 foreign authentication results", "Authentication-Results: mx.example; spf=pass relay.example;\nAuthentication-Results: (relay.example\n", nil},
		{"S43 foreign DKIM with l=", "DKIM-Signature: v=1; l=10; d=example.org\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustHeader(t, tt.in)
			n := h.Len()
			if diff := cmp.Diff(tt.removed, Strip(h, "relay.example")); diff != "" || h.Len() != n-len(tt.removed) {
				t.Fatalf("%d of %d fields left: %s", h.Len(), n, diff)
			}
		})
	}
	h := mustHeader(t, "Authentication-Results: ; none\n")
	if got := Strip(h, ""); got != nil || h.Len() != 1 {
		t.Errorf("without an id of ours: removed %q", got)
	}
}
