package auth

import (
	"net/netip"
	"time"
)

// ThrottleOptions bounds how fast credentials can be guessed. Failures are
// counted by client network (one IPv4 address, one IPv6 /64) and by username.
type ThrottleOptions struct {
	NetworkFailures    int            // failures that box a network; 0 means 10
	NetworkWindow      time.Duration  // within which they count; 0 means 10 minutes
	BoxFor             time.Duration  // how long a network stays boxed; 0 means 15 minutes
	CredentialFailures int            // failures that slow a username; 0 means 30
	CredentialWindow   time.Duration  // within which they count; 0 means 1 hour
	FirstDelay         time.Duration  // delay of a network's first failure, doubled by each further one; 0 means 1 s
	MaxDelay           time.Duration  // most that it grows to; 0 means 10 s
	Exempt             []netip.Prefix // networks that are delayed but never boxed; nil means loopback, empty means none
	MaxEntries         int            // networks, usernames and successes remembered, of each; 0 means 65536
}
