package mtasts

import (
	"strconv"
	"strings"
	"time"
)

// Mode is what a domain wants done where a host does not satisfy its policy.
type Mode string

// The modes of RFC 8461 5.
const (
	None    Mode = "none"
	Testing Mode = "testing"
	Enforce Mode = "enforce"
)

// MaxAge is the longest time that a policy can ask to be kept; longer ones are shortened to it (RFC 8461 3.2).
const MaxAge = 31557600 * time.Second

// Policy is one domain's policy.
type Policy struct {
	// ID is that of the TXT record by which the policy was fetched.
	ID   string `json:"id"`
	Mode Mode   `json:"mode"`
	// MX are the patterns that the names of mail hosts must match, in lower case. Empty only in mode None.
	MX []string `json:"mx,omitempty"`
	// MaxAge is how long the policy is valid after Fetched.
	MaxAge  time.Duration `json:"max_age"`
	Fetched time.Time     `json:"fetched"`
}

// Expires returns the time from which the policy is no longer in force.
func (p Policy) Expires() time.Time { return p.Fetched.Add(p.MaxAge) }

// Match tells whether the policy allows a mail host. A pattern that begins with "*." stands for names with exactly one more label (RFC 8461 4.1).
func (p Policy) Match(mx string) bool {
	mx = strings.ToLower(strings.TrimSuffix(mx, "."))
	for _, pattern := range p.MX {
		if pattern == mx {
			return true
		}
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
			label, rest, found := strings.Cut(mx, ".")
			if found && label != "" && rest == suffix {
				return true
			}
		}
	}
	return false
}

// Strings returns the policy line by line, the form of TLS reports (RFC 8460 4.2).
func (p Policy) Strings() []string {
	out := []string{"version: STSv1", "mode: " + string(p.Mode)}
	for _, mx := range p.MX {
		out = append(out, "mx: "+mx)
	}
	return append(out, "max_age: "+strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
}
