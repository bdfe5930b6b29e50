package main

import (
	"net/netip"
	"testing"

	"github.com/mailchute/mailchute/store"
)

func TestOrigin(t *testing.T) {
	for _, tc := range []struct {
		m    store.Message
		want string
	}{
		{store.Message{Protocol: "ESMTPSA", Client: netip.MustParseAddr("192.0.2.1"), Credential: "smtp-token 4"}, "ESMTPSA from 192.0.2.1 with smtp-token 4"},
		{store.Message{Protocol: "local"}, "local"}, // a notice
		{store.Message{}, "-"},
	} {
		if got := origin(tc.m); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
