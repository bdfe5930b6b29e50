//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether the program was built with the tag failpoints.
const Enabled = true

// trap is what happens at a point.
type trap struct {
	err   error // nil: kill
	at    int64
	after bool // also every later time
	seen  atomic.Int64
}

// due counts one more time and tells whether this is the one.
func (t *trap) due() bool {
	n := t.seen.Add(1)
	return n == t.at || (t.after && n > t.at)
}

var armed = sync.OnceValue(func() map[Point]*trap {
	traps := map[Point]*trap{}
	for item := range strings.SplitSeq(os.Getenv("FAILPOINTS"), ",") {
		if item == "" {
			continue
		}
		name, t, err := parse(item)
		if err != nil {
			fmt.Fprintln(os.Stderr, "FAILPOINTS:", err)
			os.Exit(64)
		}
		traps[name] = t
	}
	return traps
})

func parse(item string) (Point, *trap, error) {
	name, what, ok := strings.Cut(item, "=")
	kind, times, ok2 := strings.Cut(what, ":")
	times, after := strings.CutSuffix(times, "+")
	n, err := strconv.ParseInt(times, 10, 64)
	if !ok || !ok2 || err != nil || n < 1 {
		return "", nil, fmt.Errorf("%q is not POINT=KIND:N", item)
	}
	t := &trap{at: n, after: after}
	switch kind {
	case "kill":
	case "eio":
		t.err = syscall.EIO
	case "enospc":
		t.err = syscall.ENOSPC
	case "erofs":
		t.err = syscall.EROFS
	default:
		return "", nil, fmt.Errorf("%q: there is no %q", item, kind)
	}
	return Point(name), t, nil
}

// Hit kills the process, if that is what the environment asks for.
func Hit(p Point) {
	if t := armed()[p]; t != nil && t.err == nil && t.due() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal may take a moment; nothing happens meanwhile
	}
}

// Fail returns the error that the environment asks for.
func Fail(p Point) error {
	if t := armed()[p]; t != nil && t.err != nil && t.due() {
		return t.err
	}
	return nil
}

// Tune returns what the environment says, and normal where it is silent.
func Tune(n Number, normal int64) int64 {
	if v, err := strconv.ParseInt(os.Getenv(string(n)), 10, 64); err == nil {
		return v
	}
	return normal
}
