//go:build failpoints

package failpoint

import (
	"errors"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		item  string
		err   error
		at    int64
		after bool
	}{
		{"relay-dot=kill:3", nil, 3, false},
		{"write-file=enospc:1+", syscall.ENOSPC, 1, true},
	} {
		name, got, err := parse(tc.item)
		if err != nil || name == "" || !errors.Is(got.err, tc.err) || got.at != tc.at || got.after != tc.after {
			t.Errorf("parse(%q) = %q, %+v, %v", tc.item, name, got, err)
		}
	}
	for _, item := range []string{"relay-dot", "relay-dot=kill", "relay-dot=kill:0", "relay-dot=fire:1", "relay-dot=kill:x"} {
		if _, _, err := parse(item); err == nil {
			t.Errorf("parse(%q) succeeded", item)
		}
	}
}

func TestTrap_DueOnceOrFromThenOn(t *testing.T) {
	for _, tc := range []struct {
		after bool
		want  [4]bool
	}{
		{false, [4]bool{false, true, false, false}},
		{true, [4]bool{false, true, true, true}},
	} {
		trap := &trap{at: 2, after: tc.after}
		for i, want := range tc.want {
			if got := trap.due(); got != want {
				t.Errorf("after %v, time %d: due = %v", tc.after, i+1, got)
			}
		}
	}
}
