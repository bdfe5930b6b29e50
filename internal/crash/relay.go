package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/store"
)

// relay is the real binary with its data directory, started again and again.
type relay struct {
	binary string
	data   string
	config string
	token  string
	keep   time.Duration // retention
	mute   bool          // no endpoint is in its reach
}

// build makes the binary with crash points in it.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "mailchute")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "failpoints", "-o", binary, "github.com/mailchute/mailchute/cmd/mailchute")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building mailchute: %w\n%s", err, out)
	}
	return binary, nil
}

// configuration takes away the limits that keep one client from making load, and
// makes the relay impatient.
const configuration = `data_dir: %s
hostname: relay.example
log: {level: warn, format: json}
smtp:
  listeners: [{address: "127.0.0.1:0", tls: starttls}]
  limits: {connections_per_network: 10000, connection_rate: 100000, messages: 1000000}
api:
  listeners: [{address: "127.0.0.1:0", tls: none}]
delivery:
  concurrency: %d
  per_smarthost: %d
  schedule: [1s]
storage: {min_free: 1B}
webhooks:
  allow: [%s]
  schedule: [100ms, 100ms, 500ms, 1s, 1s, 1s, 1s, 1s]
`

// concurrency is the number of transactions that can be in flight on the way out.
const concurrency = 16

// newRelay makes a data directory with a token, whose streams lead to the sink.
func newRelay(ctx context.Context, dir, binary, sink, hook string, policy store.UncertainPolicy) (*relay, error) {
	r := &relay{keep: retention, binary: binary, data: filepath.Join(dir, "data"), config: filepath.Join(dir, "mailchute.yaml")}
	if err := r.configure(); err != nil {
		return nil, err
	}
	p, err := r.start(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	made, err := r.run(ctx, "token", "server", "create", "--name", "crash", "--json")
	if err == nil {
		_, err = r.run(ctx, "stream", "set", "outbound", "--mode", "live", "--smarthost", sink, "--tls", "none", "--dedupe", "1h", "--uncertain", string(policy))
	}
	if err == nil {
		_, err = r.run(ctx, "webhook", "add", "--url", hook, "--trigger", "delivery", "--trigger", "bounce")
	}
	if err != nil {
		return nil, errors.Join(err, p.kill())
	}
	var token struct{ Token string }
	if err := json.Unmarshal(made, &token); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	r.token = token.Token
	return r, p.stop()
}

func (r *relay) configure() error {
	hooks := "127.0.0.0/8"
	if r.mute {
		hooks = ""
	}
	return os.WriteFile(r.config, fmt.Appendf(nil, configuration, r.data, concurrency, concurrency, hooks), 0o600)
}

// journal is the directory of the relay's journal.
func (r *relay) journal() string { return filepath.Join(r.data, "journal") }

// retention is long against what an event waits for its post, and short against a run.
const retention = 10 * time.Second

// run is the command line of the operator.
func (r *relay) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.binary, append(args, "--config", r.config)...)
	var errout bytes.Buffer
	cmd.Stderr = &errout
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("mailchute %s: %w\n%s%s", strings.Join(args, " "), err, out, &errout)
	}
	return out, nil
}

// process is one life of the relay.
type process struct {
	cmd   *exec.Cmd
	begun time.Time
	gone  chan struct{} // closed when it has ended
	log   *tail

	mu    sync.Mutex
	smtp  string
	api   string
	known chan struct{} // closed when it serves
}

// start begins a life. armed is a value of FAILPOINTS.
func (r *relay) start(ctx context.Context, armed string) (*process, error) {
	p := &process{begun: time.Now(), gone: make(chan struct{}), known: make(chan struct{}), log: &tail{}}
	p.cmd = exec.CommandContext(ctx, r.binary, "serve", "--config", r.config, "--log-level", "info")
	p.cmd.Env = append(os.Environ(),
		"FAILPOINTS="+armed,
		fmt.Sprintf("%s=%d", failpoint.SegmentBytes, 2<<20),
		fmt.Sprintf("%s=%d", failpoint.RetentionNanos, r.keep),
		fmt.Sprintf("%s=%d", failpoint.RetainNanos, 150*time.Millisecond),
	)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.read(out)
		_ = p.cmd.Wait() // ProcessState has it
		close(p.gone)
	}()
	return p, nil
}

// read follows the log, which says where the process listens.
func (p *process) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg            string
			Listeners, API []string
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "serving" || len(line.Listeners)*len(line.API) == 0 {
			p.log.add(lines.Text())
			continue
		}
		p.mu.Lock()
		p.smtp, _, _ = strings.Cut(line.Listeners[0], "/")
		p.api, _, _ = strings.Cut(line.API[0], "/")
		p.mu.Unlock()
		close(p.known)
	}
}

// errDied means that the process ended before it served.
var errDied = errors.New("the relay died before it served")

// ready waits until the process serves.
func (p *process) ready(ctx context.Context) error {
	select {
	case <-p.known:
		return nil
	case <-p.gone:
		return errDied
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("the relay does not serve after a minute\n%s", p.log)
	}
}

func (p *process) addresses() (smtp, api string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.smtp, p.api
}

// killed tells whether the process ended by SIGKILL. It has ended.
func (p *process) killed() bool {
	s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && s.Signaled() && s.Signal() == syscall.SIGKILL
}

// kill ends the process as a crash does.
func (p *process) kill() error {
	_ = p.cmd.Process.Kill() // it may be dead already
	<-p.gone
	return nil
}

// stop ends the process in good order.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.gone:
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the relay does not stop"), p.kill())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the relay stopped with exit code %d\n%s", code, p.log)
	}
	return nil
}

// tail keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const tailLines = 30

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines = append(t.lines, line); len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
