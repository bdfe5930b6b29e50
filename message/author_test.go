package message

import (
	"strings"
	"testing"
)

func TestAuthorDomain(t *testing.T) {
	for from, want := range map[string]string{
		"a@Example.COM":                          "example.com",
		"A <a@example.com>":                      "example.com",
		"\"b@evil.test\" <a@example.com>":        "example.com",
		"=?utf-8?q?b=40evil=2Etest?= <a@ok.com>": "ok.com",
		"a@one.test, b@two.test":                 "one.test",
		"a@müller.example":                       "xn--mller-kva.example",
		"a@[192.0.2.1]":                          "",
		"nobody":                                 "",
		"a@example.com b@example.com":            "",
	} {
		h, _, err := ReadHeader(strings.NewReader("From: "+from+"\r\n\r\n"), HeaderLimits{UTF8: true})
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		if got := h.AuthorDomain(); got != want {
			t.Errorf("From %s: %q, want %q", from, got, want)
		}
	}
	h, _, err := ReadHeader(strings.NewReader("To: a@example.com\r\n\r\n"), HeaderLimits{})
	if err != nil || h.AuthorDomain() != "" {
		t.Errorf("without From: %q, %v", h.AuthorDomain(), err)
	}
}
