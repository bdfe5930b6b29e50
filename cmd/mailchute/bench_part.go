package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/internal/smtpbase"
)

// The kinds of processes of a measurement. Each is a process of its own, so that
// the generator's garbage is not collected on the relay's account, and the
// processor time of each one is known.
const (
	partRelay = "relay"
	partBase  = "base"
	partSink  = "sink"
)

// benchOrder is the first line that a part gets.
type benchOrder struct {
	Kind     string       `json:"kind"`
	Options  benchOptions `json:"options"`
	Dir      string       `json:"dir,omitempty"`
	Sink     string       `json:"sink,omitempty"`
	Resolver string       `json:"resolver,omitempty"`
	CPU      string       `json:"cpu_profile,omitempty"`
	Memory   string       `json:"memory_profile,omitempty"`
}

// benchReady is the first line that it answers.
type benchReady struct {
	Address  string        `json:"address"`
	TLS      string        `json:"tls,omitempty"`
	Resolver string        `json:"resolver,omitempty"`
	API      string        `json:"api,omitempty"`
	Opened   time.Duration `json:"opened"`
}

// benchUsage is the answer to each further line.
type benchUsage struct {
	CPU       time.Duration `json:"cpu"`
	RSS       int64         `json:"rss"`  // octets; 0 where the system does not tell
	Peak      int64         `json:"peak"` // octets
	Mallocs   uint64        `json:"mallocs"`
	Allocated uint64        `json:"allocated"`
	Taken     int64         `json:"taken"` // messages that the sink took
}

// benchPart is a process seen from the one that measures.
type benchPart struct {
	kind  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	ready benchReady
}

// startPart starts this program once more. Closing its input ends it, and so
// does our own end.
func (b *bench) startPart(ctx context.Context, order benchOrder) (*benchPart, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, "bench", "part")
	cmd.Args[0] = os.Args[0] // the tests' binary is told by its name what to be
	cmd.Stderr = b.errout
	cmd.WaitDelay = 30 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = in.Close
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &benchPart{kind: order.Kind, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	b.parts = append(b.parts, p)
	if err := p.ask(order, &p.ready); err != nil {
		return nil, err
	}
	return p, nil
}

// ask sends one line and reads the answer.
func (p *benchPart) ask(question, answer any) error {
	if err := json.NewEncoder(p.in).Encode(question); err != nil {
		return fmt.Errorf("%s process: %w", p.kind, err)
	}
	if !p.out.Scan() {
		return fmt.Errorf("%s process ended: %w", p.kind, errors.Join(p.out.Err(), io.ErrUnexpectedEOF))
	}
	return json.Unmarshal(p.out.Bytes(), answer)
}

func (p *benchPart) usage() (u benchUsage, err error) {
	err = p.ask(askUsage, &u)
	return u, err
}

// settled is usage after a collection, as the runtime makes one every two
// minutes anyway: what the process needs, not what it left lying about.
func (p *benchPart) settled() (u benchUsage, err error) {
	err = p.ask(askSettled, &u)
	return u, err
}

const (
	askUsage   = "usage"
	askSettled = "settled"
)

func (p *benchPart) stop() error {
	_ = p.in.Close() // it may have ended already, which Wait tells
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s process: %w", p.kind, err)
	}
	return nil
}

// address is where the generator connects to.
func (p *benchPart) address(implicit bool) string {
	if implicit {
		return p.ready.TLS
	}
	return p.ready.Address
}

func (a *app) benchPartCommand() *cobra.Command {
	return &cobra.Command{
		Use: "part", Short: "One process of a measurement; started by bench itself", Hidden: true, Args: noArgs,
		Example: "  mailchute bench part",
		RunE:    a.local(func(cmd *cobra.Command, _ []string) error { return a.benchPart(cmd.Context()) }),
	}
}

// benchWork is a part from the inside.
type benchWork struct {
	ready benchReady
	run   func(context.Context) error
	taken func() int64
}

// benchPart does one part until its input ends.
func (a *app) benchPart(ctx context.Context) error {
	lines := bufio.NewScanner(a.in)
	var order benchOrder
	if !lines.Scan() {
		return usage("bench part is started by bench")
	}
	if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
		return usage("bench part: %w", err)
	}
	work, err := a.openPart(order)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- work.run(ctx) }()
	err = profiled(order, func() error { return a.answerPart(lines, work) })
	stop()
	return errors.Join(err, <-ended)
}

// answerPart answers lines until there are no more.
func (a *app) answerPart(lines *bufio.Scanner, work benchWork) error {
	out := json.NewEncoder(a.out)
	if err := out.Encode(work.ready); err != nil {
		return err
	}
	for lines.Scan() {
		if lines.Text() == strconv.Quote(askSettled) {
			debug.FreeOSMemory()
		}
		if err := out.Encode(measureSelf(work.taken())); err != nil {
			return err
		}
	}
	return lines.Err()
}

// profiled writes the profiles that were ordered of what happens in run.
func profiled(order benchOrder, run func() error) error {
	if order.CPU == "" {
		return errors.Join(run(), writeAllocations(order.Memory))
	}
	f, err := os.Create(order.CPU)
	if err != nil {
		return &exitError{exitCreate, err}
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = run()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close(), writeAllocations(order.Memory))
}

func writeAllocations(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return &exitError{exitCreate, err}
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

func measureSelf(taken int64) benchUsage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	cpu, peak := processTime()
	return benchUsage{CPU: cpu, RSS: residentNow(), Peak: peak, Mallocs: m.Mallocs, Allocated: m.TotalAlloc, Taken: taken}
}

// processTime returns the processor time that this process has used, and the
// most memory that it had.
func processTime() (cpu time.Duration, peak int64) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil { // cannot fail with these arguments
		return 0, 0
	}
	peak = int64(u.Maxrss)
	if runtime.GOOS != "darwin" {
		peak <<= 10
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), peak
}

// residentNow returns the memory of this process, 0 where there is no /proc.
func residentNow() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, resident int64
	if _, err := fmt.Sscan(string(text), &total, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

func inMemory(dir string) bool {
	const tmpfs = 0x01021994 // statfs(2)
	var st syscall.Statfs_t
	return runtime.GOOS == "linux" && syscall.Statfs(dir, &st) == nil && int64(st.Type) == tmpfs
}

func (a *app) openPart(order benchOrder) (benchWork, error) {
	switch order.Kind {
	case partRelay:
		return a.openRelayPart(order)
	case partBase:
		return openBasePart()
	case partSink:
		return openSinkPart()
	}
	return benchWork{}, usage("bench part %q", order.Kind)
}

func nothingTaken() int64 { return 0 }

// openRelayPart is "serve" with the configuration of the measurement.
func (a *app) openRelayPart(order benchOrder) (benchWork, error) {
	begun := time.Now()
	log, _ := newLogger(LogConfig{Level: "warn", Format: "text"}, a.errout)
	s, err := openServer(benchConfig(order), log)
	if err != nil {
		return benchWork{}, err
	}
	ready := benchReady{Opened: time.Since(begun)}
	for implicit, to := range map[bool]*string{false: &ready.Address, true: &ready.TLS} {
		e, _ := endpointOf(s.cfg, implicit)
		*to = e.String()
	}
	for _, l := range s.cfg.API.Listeners {
		ready.API = l.Address
	}
	return benchWork{ready: ready, run: s.run, taken: nothingTaken}, nil
}

func openBasePart() (benchWork, error) {
	cert, key, err := selfSigned("base.example", time.Now())
	if err != nil {
		return benchWork{}, err
	}
	pair, err := keyPair(cert, key)
	if err != nil {
		return benchWork{}, err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return benchWork{}, err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return benchWork{}, errors.Join(err, plain.Close())
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, Certificates: []tls.Certificate{pair}}
	return benchWork{
		ready: benchReady{Address: plain.Addr().String(), TLS: secure.Addr().String()},
		run:   func(ctx context.Context) error { return smtpbase.Run(ctx, plain, secure, config) },
		taken: nothingTaken,
	}, nil
}
