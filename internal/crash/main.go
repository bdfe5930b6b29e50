// Command crash shows that mailchute loses nothing: it builds the real program
// with crash points, loads it over SMTP and HTTP, kills it with SIGKILL at each of
// them and at random, starts it again, and compares what was acknowledged with what
// arrived.
//
//	go run ./internal/crash                 50 kills
//	go run ./internal/crash -kills 1000
//	go run ./internal/crash -seed 7 -json
//	go run ./internal/crash -point relay-dot -kills 20
//	go run ./internal/crash -hold           the stream holds what may have arrived
//
// Every message that was acknowledged must arrive, and its webhook, always with the
// same ID. One may arrive twice only if it was in flight at a kill: claimed, and
// without a result in the journal that the dead process left. What the journal says
// was about to be ended, a relay started after the kill must show as uncertain, and
// nothing else; a stream that holds it must deliver nothing twice before a release. A
// submission whose answer was lost is made again with its idempotency key, and must
// not be stored twice. Every crash point must be come to. Anything else makes the
// exit code 1. The seed decides which kills there are and in which order, and what
// the messages are; when something dies is also the machine's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// options are the command line.
type options struct {
	kills  int
	seed   uint64
	json   bool
	keep   bool
	policy store.UncertainPolicy
	point  failpoint.Point
	module string // the directory of the module
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code, err := crash(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
	}
	os.Exit(code)
}

// crash is one run. The exit code is 1 where a promise was not kept, 2 where the
// run could not be made.
func crash(ctx context.Context, args []string, out, errout io.Writer) (code int, err error) {
	o, err := parse(args, errout)
	if err != nil {
		return 2, err
	}
	dir, err := os.MkdirTemp("", "mailchute-crash-")
	if err != nil {
		return 2, err
	}
	progress := out
	if o.json {
		progress = errout
	}
	v, err := harness(ctx, o, dir, progress)
	if err != nil || !v.ok() || o.keep {
		fmt.Fprintf(errout, "the data directory is kept in %s\n", dir)
	} else {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return 2, err
	}
	if o.json {
		err = v.json(out)
	} else {
		v.text(out)
	}
	if err == nil && !v.ok() {
		return 1, errors.New("a promise was not kept")
	}
	return 0, err
}

func parse(args []string, errout io.Writer) (o options, err error) {
	f := flag.NewFlagSet("crash", flag.ContinueOnError)
	f.SetOutput(errout)
	f.IntVar(&o.kills, "kills", 50, "`number` of kills; at least one for each crash point")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()%1_000_000), "`number` that decides what happens")
	f.BoolVar(&o.json, "json", false, "print the outcome as JSON")
	f.BoolVar(&o.keep, "keep", false, "keep the data directory")
	hold := f.Bool("hold", false, "hold what may have arrived until the end, and then release it: nothing may arrive twice before")
	point := f.String("point", "", "only this crash `point`, and random moments")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.point, o.policy = failpoint.Point(*point), store.UncertainResend
	if *hold {
		o.policy = store.UncertainHold
	}
	if o.point != "" && !slices.Contains(failpoint.Points(), o.point) {
		return o, fmt.Errorf("there is no crash point %q; there are %v", o.point, failpoint.Points())
	}
	if f.NArg() > 0 || o.kills < 1 {
		return o, fmt.Errorf("what is %v?", f.Args())
	}
	mod, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	o.module = strings.TrimSpace(string(mod))
	return o, err
}

func harness(ctx context.Context, o options, dir string, progress io.Writer) (v verdict, err error) {
	binary, err := build(ctx, dir)
	if err != nil {
		return v, err
	}
	begun := time.Now()
	l := newLedger(o.seed)
	s, err := openSink(l)
	if err != nil {
		return v, err
	}
	defer s.close()
	h, err := openHooks(l)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	r, err := newRelay(ctx, dir, binary, s.listener.Addr().String(), h.url, o.policy)
	if err != nil {
		return v, err
	}
	heading(progress, o.seed)
	run := &run{
		opts: o, dir: dir, relay: r, sink: s, ledger: l, rnd: rand.New(rand.NewPCG(o.seed, 0)),
		tell: func(k kill) { k.line(progress) },
	}
	v, err = run.all(ctx)
	v.Seed, v.Took = o.seed, time.Since(begun).Round(time.Second).String()
	return v, err
}
