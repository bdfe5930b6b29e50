package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of octets. Its text form always has a unit, since nobody can
// tell what a bare 50 is meant to be.
type Size int64

// Units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// String returns the text form, in the largest unit that is exact.
func (s Size) String() string {
	switch {
	case s != 0 && s%GiB == 0:
		return fmt.Sprintf("%dGiB", s/GiB)
	case s != 0 && s%MiB == 0:
		return fmt.Sprintf("%dMiB", s/MiB)
	case s != 0 && s%KiB == 0:
		return fmt.Sprintf("%dKiB", s/KiB)
	}
	return fmt.Sprintf("%dB", int64(s))
}

func parseSize(text string) (Size, error) {
	number := strings.TrimRight(text, "KMGTiB")
	unit, ok := map[string]Size{"B": 1, "KiB": KiB, "MiB": MiB, "GiB": GiB, "TiB": GiB << 10}[text[len(number):]]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, fmt.Errorf("%q is not a size; write a whole number with a unit: B, KiB, MiB or GiB, such as 50MiB", text)
	}
	return Size(n) * unit, nil
}

// parseDuration reads Go's notation, and days as in 45d. A unit is needed.
func parseDuration(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < 36500 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || strings.Trim(text, "0123456789.") == "" || text[0] == '+' {
		return 0, fmt.Errorf("%q is not a duration; write a number with a unit: ms, s, m, h or d, such as 30s", text)
	}
	return d, nil
}
