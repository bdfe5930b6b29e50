package message

import "strings"

// Domains for tests of a client, whose hosts nobody asks: mail to them never leaves.
const (
	// BounceTests refuses every message, in the way that the local part of the address names.
	BounceTests = "bounce-testing.postmarkapp.com"
	// Blackhole takes every message and keeps none.
	Blackhole = "blackhole.postmarkapp.com"
)

// TestDomain tells whether a destination is one of the domains for tests.
func TestDomain(destination string) bool {
	return strings.EqualFold(destination, BounceTests) || strings.EqualFold(destination, Blackhole)
}
