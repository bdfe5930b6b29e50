package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a count within a time: "10/s", "600/min" or "1000/h" as text. The zero
// Rate is no bound.
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
}

var rateUnits = [...]struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"min", time.Minute}, {"h", time.Hour}}

// ParseRate reads the text of a rate; "" and "0" are no bound.
func ParseRate(text string) (Rate, error) {
	if text == "" || text == "0" {
		return Rate{}, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	count, err := strconv.Atoi(number)
	for _, u := range rateUnits {
		if err == nil && count > 0 && count <= MaxRate && unit == u.name {
			return Rate{count, u.per}, nil
		}
	}
	return Rate{}, invalid("rate", "%q is not a number a second, minute or hour, such as 10/s, 600/min or 1000/h", text)
}

// IsZero tells whether the rate bounds nothing.
func (r Rate) IsZero() bool { return r.Count == 0 }

// String returns the text that ParseRate reads.
func (r Rate) String() string {
	if r.IsZero() {
		return "0"
	}
	for _, u := range rateUnits {
		if r.Per == u.per {
			return fmt.Sprintf("%d/%s", r.Count, u.name)
		}
	}
	return fmt.Sprintf("%d/%v", r.Count, r.Per)
}

// Gap is the time between two of a steady stream at this rate.
func (r Rate) Gap() time.Duration { return r.Per / time.Duration(max(r.Count, 1)) }

// MarshalText returns String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseRate.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

func (r Rate) check() error {
	if parsed, err := ParseRate(r.String()); err != nil || parsed != r {
		return invalid("route rate", "%q is not a number a second, minute or hour, such as 10/s", r)
	}
	return nil
}
