package relay

import (
	"strings"
	"time"
)

// longestHint bounds the wait that a reply can ask for.
const longestHint = 4 * time.Hour

// tryAgainIn reads from the text of a reply how long to wait, as in "greylisted, try again in 5 minutes" or "come back in
// 00:04:59". A number counts only with a unit, and only shortly behind a word that speaks of another attempt: replies are
// full of other numbers. The result is capped at four hours.
func tryAgainIn(text string) (time.Duration, bool) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == ':')
	})
	last := -10 // where another attempt was spoken of
	for i, w := range words {
		if againWord(w) {
			last = i
		}
		if i-last > 4 {
			continue
		}
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		if d, ok := spanOf(w, next); ok {
			return min(d, longestHint), true
		}
	}
	return 0, false
}

func againWord(w string) bool {
	switch strings.TrimRight(w, ":") {
	case "again", "retry", "retrying", "back", "wait", "later", "delay", "delayed", "greylisted", "greylisting", "graylisted":
		return true
	}
	return false
}

// spanOf reads "5 minutes", "300s" and "00:05:00".
func spanOf(word, next string) (time.Duration, bool) {
	if parts := strings.Split(strings.Trim(word, ":"), ":"); len(parts) == 3 {
		return clockSpan(parts)
	}
	digits := len(word) - len(strings.TrimLeft(word, "0123456789"))
	n, ok := smallNumber(word[:digits])
	if !ok {
		return 0, false
	}
	unit := word[digits:]
	if unit == "" {
		unit = strings.Trim(next, ":")
	}
	one, ok := unitOf(unit)
	return time.Duration(n) * one, ok && n > 0
}

func clockSpan(parts []string) (time.Duration, bool) {
	var d time.Duration
	for i, one := range []time.Duration{time.Hour, time.Minute, time.Second} {
		n, ok := smallNumber(parts[i])
		if !ok {
			return 0, false
		}
		d += time.Duration(n) * one
	}
	return d, d > 0
}

func unitOf(s string) (time.Duration, bool) {
	switch s {
	case "s", "sec", "secs", "second", "seconds":
		return time.Second, true
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute, true
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour, true
	}
	return 0, false
}

// smallNumber reads up to six digits.
func smallNumber(s string) (int, bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
