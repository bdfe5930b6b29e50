package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxPolicy is the largest policy file, in octets (RFC 8461 3.3).
	maxPolicy = 64 << 10
	// maxPatterns bounds what one domain can make us keep.
	maxPatterns = 256
)

// ParsePolicy reads a policy file: lines that end with LF or CRLF, the last also without (RFC 8461 3.2). Unknown keys are ignored, and of a key given
// twice the first counts, but for mx. ID and Fetched are the caller's to set.
func ParsePolicy(file []byte) (Policy, error) {
	if len(file) > maxPolicy {
		return Policy{}, fmt.Errorf("policy is larger than %d octets", maxPolicy)
	}
	if !utf8.Valid(file) {
		return Policy{}, errors.New("policy is not UTF-8")
	}
	d := policyDraft{seen: map[string]bool{}}
	lines := strings.Split(string(file), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i, line := range lines {
		if err := d.line(strings.TrimSuffix(line, "\r")); err != nil {
			return Policy{}, fmt.Errorf("policy line %d: %w", i+1, err)
		}
	}
	return d.finish()
}

type policyDraft struct {
	Policy
	seen map[string]bool
}

func (d *policyDraft) line(s string) error {
	key, value, ok := strings.Cut(s, ":")
	value = strings.Trim(value, " \t")
	if !ok || !fieldName(key) || value == "" {
		return errors.New("want key: value")
	}
	if key == "mx" {
		return d.pattern(value)
	}
	if d.seen[key] {
		return nil
	}
	switch key {
	case "version":
		if value != "STSv1" {
			return errors.New("version is not STSv1")
		}
	case "mode":
		d.Mode = Mode(value)
		if d.Mode != None && d.Mode != Testing && d.Mode != Enforce {
			return errors.New("mode is none of enforce, testing and none")
		}
	case "max_age":
		if len(value) > 10 || !all(value, func(c byte) bool { return '0' <= c && c <= '9' }) {
			return errors.New("max_age is not a number of at most 10 digits")
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return errors.New("max_age is not a number")
		}
		d.MaxAge = time.Duration(min(n, int64(MaxAge/time.Second))) * time.Second // in this order: ten digits of seconds overflow
	default:
		return nil
	}
	d.seen[key] = true
	return nil
}

func (d *policyDraft) pattern(value string) error {
	value = strings.ToLower(value)
	if !hostname(strings.TrimPrefix(value, "*.")) {
		return errors.New("mx is neither a host name nor *. before one")
	}
	if len(d.MX) == maxPatterns {
		return fmt.Errorf("more than %d mx", maxPatterns)
	}
	d.MX = append(d.MX, value)
	return nil
}

func (d *policyDraft) finish() (Policy, error) {
	for _, key := range []string{"version", "mode", "max_age"} {
		if !d.seen[key] {
			return Policy{}, fmt.Errorf("policy has no %s", key)
		}
	}
	if d.Mode != None && len(d.MX) == 0 {
		return Policy{}, errors.New("policy has no mx")
	}
	return d.Policy, nil
}

// hostname tells whether s is a domain of letters, digits, hyphens and underscores, in lower case and without final dot.
func hostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if !all(label, func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' }) {
			return false
		}
	}
	return true
}
