package tlsrpt

import (
	"cmp"
	"time"
)

// Day is a day of UTC, in the form 2006-01-02. Days compare as strings.
type Day string

const dayForm = "2006-01-02"

// DayOf returns the day that a time lies in.
func DayOf(t time.Time) Day { return Day(t.UTC().Format(dayForm)) }

// Start returns the first second of the day, or the zero time for what is no day.
func (d Day) Start() time.Time {
	t, err := time.Parse(dayForm, string(d))
	if err != nil {
		return time.Time{}
	}
	return t
}

// End returns the last second of the day.
func (d Day) End() time.Time { return d.Start().AddDate(0, 0, 1).Add(-time.Second) }

// Key names one report.
type Key struct {
	Domain string
	Day    Day
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Day, o.Day), cmp.Compare(k.Domain, o.Domain))
}
