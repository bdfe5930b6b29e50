package journal_test

import (
	"testing"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/journal/faultfs"
)

// TestSpares_ForSmallGroupsOnly fills segments with groups of one size: octets
// that are written beforehand are worth it only where syncs are many.
func TestSpares_ForSmallGroupsOnly(t *testing.T) {
	for name, c := range map[string]struct {
		size  int
		spare bool
	}{"small": {16 << 10, true}, "large": {256 << 10, false}} {
		t.Run(name, func(t *testing.T) {
			fs := faultfs.New()
			j := mustOpen(t, fs, journal.Options{SegmentSize: 1 << 20, Spares: 1})
			for j.End().Segment < 3 {
				mustAppend(t, j, data(make([]byte, c.size)))
			}
			if c.spare {
				for range 5 { // a sixteenth of the segment
					mustAppend(t, j, data(make([]byte, c.size)))
				}
				waitFor(t, "a spare", func() bool { return j.SpareCount() == 1 })
			}
			mustClose(t, j) // ends the maker of spares
			if n := spareCount(fs); (n > 0) != c.spare {
				t.Errorf("%d spares after groups of %d octets, want some: %v", n, c.size, c.spare)
			}
		})
	}
}
