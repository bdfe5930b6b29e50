package message

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var traceTime = time.Date(2024, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))

func TestReceived(t *testing.T) {
	full := TraceInfo{
		Hello: "client.example", ClientIP: netip.MustParseAddr("192.0.2.1"), By: "relay.example", Protocol: "ESMTPSA",
		TLSVersion: "TLS 1.3", TLSCipher: "TLS_AES_128_GCM_SHA256", ID: "0190-abc", Time: traceTime,
	}
	with := func(f func(*TraceInfo)) TraceInfo {
		t := full
		f(&t)
		return t
	}
	const end = "Sat, 03 Feb 2024 04:05:06 +0100\r\n"
	const tls = "(TLS 1.3 TLS_AES_128_GCM_SHA256)"
	tests := []struct {
		name string
		in   TraceInfo
		want string
	}{
		{"full", full, "Received: from client.example ([192.0.2.1]) by relay.example with ESMTPSA\r\n\t" + tls + " id 0190-abc;\r\n\t" + end},
		{"in the clear", with(func(t *TraceInfo) { t.TLSVersion, t.Protocol = "", "ESMTPA" }), "Received: from client.example ([192.0.2.1]) by relay.example with ESMTPA\r\n\tid 0190-abc; " + end},
		{"IPv6", with(func(t *TraceInfo) { t.ClientIP = netip.MustParseAddr("fe80::1%eth0") }), "Received: from client.example ([IPv6:fe80::1]) by relay.example with ESMTPSA\r\n\t" + tls + " id 0190-abc;\r\n\t" + end},
		{"mapped IPv4", with(func(t *TraceInfo) { t.ClientIP = netip.MustParseAddr("::ffff:192.0.2.1") }), "Received: from client.example ([192.0.2.1]) by relay.example with ESMTPSA\r\n\t" + tls + " id 0190-abc;\r\n\t" + end},
		{"one recipient", with(func(t *TraceInfo) { t.For = &Address{"a b", "example.org"} }), "Received: from client.example ([192.0.2.1]) by relay.example with ESMTPSA\r\n\t" + tls + " id 0190-abc for <\"a b\"@example.org>;\r\n\t" + end},
		{"UTF-8 recipient left out", with(func(t *TraceInfo) { t.For = &Address{"ä", "example.org"} }), "Received: from client.example ([192.0.2.1]) by relay.example with ESMTPSA\r\n\t" + tls + " id 0190-abc;\r\n\t" + end},
		{"private", with(func(t *TraceInfo) { t.HideClient = true }), "Received: from hidden.invalid (client not shown) by relay.example\r\n\twith ESMTPSA " + tls + " id 0190-abc;\r\n\t" + end},
		{"HTTP", with(func(t *TraceInfo) { t.Hello, t.Protocol, t.TLSVersion = "", "HTTP", "" }), "Received: from [192.0.2.1] ([192.0.2.1]) by relay.example with HTTP\r\n\tid 0190-abc; " + end},
		{"nothing known", TraceInfo{By: "relay.example", Time: traceTime}, "Received: from unknown.invalid by relay.example;\r\n\t" + end},
		{"hostile hello", TraceInfo{Hello: "x (a\r\nBcc: b@c);\x00é", By: "relay.example", Time: traceTime}, "Received: from x??a??Bcc:?b?c???? by relay.example;\r\n\t" + end},
		{"literal hello", TraceInfo{Hello: "[IPv6:::1]", By: "relay.example", Time: traceTime}, "Received: from [IPv6:::1] by relay.example; " + end},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(Received(tt.in))); diff != "" {
				t.Error(diff)
			}
			for line := range strings.SplitSeq(tt.want, "\r\n") {
				if len(line) > 78 {
					t.Errorf("%d columns: %q", len(line), line)
				}
			}
		})
	}
}

func TestProtocolWord(t *testing.T) {
	tests := []struct {
		extended, utf8, tls, auth bool
		want                      string
	}{
		{false, false, false, false, "SMTP"},
		{true, false, false, false, "ESMTP"},
		{true, false, true, false, "ESMTPS"},
		{true, false, false, true, "ESMTPA"},
		{true, false, true, true, "ESMTPSA"},
		{true, true, false, false, "UTF8SMTP"},
		{true, true, true, false, "UTF8SMTPS"},
		{true, true, false, true, "UTF8SMTPA"},
		{true, true, true, true, "UTF8SMTPSA"},
	}
	for _, tt := range tests {
		if got := ProtocolWord(tt.extended, tt.utf8, tt.tls, tt.auth); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestNewMessageID(t *testing.T) {
	tests := []struct{ id, host, want string }{
		{"0190-abc", "Relay.Example", "<0190-abc@relay.example>"},
		{"a", "localhost", "<a@localhost>"},
		{"a", "bücher.example", "<a@xn--bcher-kva.example>"},
		{"a>\r\nBcc: x@y.é", "relay.example", "<aBccxy@relay.example>"},
		{"a", "", "<a@localhost>"},
		{"a", "x y>", "<a@localhost>"},
	}
	for _, tt := range tests {
		if got := NewMessageID(tt.id, tt.host); got != tt.want {
			t.Errorf("%q, %q: %s, want %s", tt.id, tt.host, got, tt.want)
		}
	}
}

func TestAddMissing(t *testing.T) {
	const date, id = "Date: Sat, 03 Feb 2024 04:05:06 +0100\r\n", "Message-ID: <a@b>\r\n"
	tests := []struct {
		name, in, want string
		added          []string
	}{
		{"S41 both absent", "From: x\n", "From: x\r\n" + date + id, []string{"Date", "Message-ID"}},
		{"S41 both there", "date:  odd\nMESSAGE-id:   odd \n", "date:  odd\r\nMESSAGE-id:   odd \r\n", nil},
		{"S41 Date absent", "Message-Id: <x@y>\nFrom: x\n", "Message-Id: <x@y>\r\nFrom: x\r\n" + date, []string{"Date"}},
		{"S41 Message-ID empty", "Message-Id: \n \nDate: x\n", "Date: x\r\n" + id, []string{"Message-ID"}},
		{"S41 no header", "", date + id, []string{"Date", "Message-ID"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustHeader(t, tt.in)
			added := AddMissing(h, traceTime, "<a@b>")
			if diff := cmp.Diff(tt.added, added); diff != "" {
				t.Errorf("added: %s", diff)
			}
			if diff := cmp.Diff(tt.want+"\r\n", string(h.Bytes())); diff != "" {
				t.Error(diff)
			}
		})
	}
	h := mustHeader(t, "Date: x\n")
	if AddMissing(h, traceTime, "<a@b>\r\n\r\nbody\x00"); string(h.Bytes()) != "Date: x\r\nMessage-ID: <a@b>body\r\n\r\n" {
		t.Errorf("hostile Message-ID: %q", h.Bytes())
	}
}

func FuzzReceived(f *testing.F) {
	f.Add("client.example", "relay.example", "ESMTPSA", "TLS 1.3", "TLS_AES_128_GCM_SHA256", "id", "a b")
	f.Add("x\r\nBcc: y", "\n", "\x00", "(", "\\", ";", ">\r\n")
	f.Add(strings.Repeat("x", 5000), "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, hello, by, protocol, version, cipher, id, local string) {
		raw := Received(TraceInfo{Hello: hello, By: by, Protocol: protocol, TLSVersion: version, TLSCipher: cipher, ID: id,
			For: &Address{Local: local, Domain: "example.org"}, ClientIP: netip.MustParseAddr("192.0.2.1"), Time: traceTime})
		h, _, err := ReadHeader(bytes.NewReader(raw), HeaderLimits{})
		if err != nil || h.Len() != 1 || !h.Field(0).Is("Received") {
			t.Fatalf("%q: %v", raw, err)
		}
		if out, err := readIn(NewCanonical(bytes.NewReader(raw), CanonicalOptions{}), 512); err != nil || !bytes.Equal(out, raw) {
			t.Fatalf("%q is not canonical: %v", raw, err)
		}
		if n := bytes.Count(raw, []byte{';'}); n != 1 && !strings.Contains(local, ";") || !bytes.HasSuffix(raw, []byte(Date(traceTime)+"\r\n")) {
			t.Fatalf("%q: clause ended early", raw)
		}
	})
}
