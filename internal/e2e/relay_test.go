//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// binary is the mailchute under test, built once.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(dyingDir) != "" {
		os.Exit(m.Run()) // it needs no mailchute, and would not live to remove it
	}
	dir, err := os.MkdirTemp("", "mailchute-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "mailchute")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/mailchute").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building mailchute: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Setenv("MAILCHUTE_API_LISTENERS", "127.0.0.1:0/none") // several relays run at once
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// relay is a running mailchute.
type relay struct {
	t        testing.TB
	dir      string
	config   string
	plain    string   // address of the STARTTLS listener
	implicit string   // address of the implicit TLS listener
	program  []string // what serves: a command and its first arguments
	env      []string // of what serves, besides our own
	cmd      *exec.Cmd
	log      *shadow

	serverToken  string
	accountToken string
	accessKey    string // of stream outbound
	secret       string
}

// newRelay starts a relay that hands everything to one receiver.
func newRelay(t testing.TB, receiver string) *relay {
	t.Helper()
	r := startRelay(t, "")
	for _, stream := range []string{"outbound", "broadcast"} {
		r.run("stream", "set", stream, "--mode", "live", "--smarthost", receiver, "--tls", "none")
	}
	return r
}

// startRelay starts a relay whose streams keep their mail. more is added to its
// configuration.
func startRelay(t testing.TB, more string) *relay {
	t.Helper()
	r := relayIn(t, t.TempDir(), more)
	r.begin()
	return r
}

// relayIn is a relay in a directory, not started.
func relayIn(t testing.TB, dir, more string) *relay {
	t.Helper()
	r := &relay{t: t, dir: dir, config: filepath.Join(dir, "mailchute.yaml"), plain: freePort(t), implicit: freePort(t), program: []string{binary}, log: new(shadow)}
	r.write(fmt.Sprintf(`hostname: localhost
data_dir: %s
log: {level: debug}
smtp:
  listeners:
    - {address: "%s", tls: starttls}
    - {address: "%s", tls: implicit}
%s`, filepath.Join(dir, "data"), r.plain, r.implicit, more))
	return r
}

// begin starts a relay for the first time and makes its credentials.
func (r *relay) begin() {
	t := r.t
	t.Helper()
	r.start()
	t.Cleanup(func() { r.stop() })
	r.serverToken = r.made("token", "server", "create", "--name", "e2e")["token"]
	r.accountToken = r.made("token", "account", "create", "--name", "e2e")["token"]
	pair := r.made("smtp-token", "create", "--stream", "outbound", "--name", "e2e")
	r.accessKey, r.secret = pair["access_key"], pair["secret_key"]
	for name, v := range map[string]string{"server token": r.serverToken, "account token": r.accountToken, "access key": r.accessKey, "secret": r.secret} {
		if v == "" {
			t.Fatalf("no %s was made", name)
		}
	}
}

func (r *relay) write(config string) {
	r.t.Helper()
	if err := os.WriteFile(r.config, []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *relay) start() {
	r.t.Helper()
	r.cmd = exec.Command(r.program[0], append(r.program[1:len(r.program):len(r.program)], "serve", "--config", r.config)...)
	r.cmd.Env = append(os.Environ(), r.env...)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for _, address := range []string{r.plain, r.implicit} {
		if !until(10*time.Second, func() bool { return dials(address) }) {
			r.t.Fatalf("mailchute does not listen on %s:\n%s", address, r.log)
		}
	}
}

func (r *relay) stop() {
	if r.cmd.ProcessState == nil {
		r.cmd.Process.Signal(os.Interrupt)
		r.cmd.Wait()
	}
}

// kill ends the process as a power cut of the process would.
func (r *relay) kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// run is the command line of the operator.
func (r *relay) run(args ...string) []byte {
	r.t.Helper()
	cmd := exec.Command(binary, append(args, "--config", r.config)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("mailchute %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return out
}

// made returns the string fields of what a create command printed.
func (r *relay) made(args ...string) map[string]string {
	r.t.Helper()
	var fields map[string]any
	out := r.run(append(args, "--json")...)
	if err := json.Unmarshal(out, &fields); err != nil {
		r.t.Fatalf("mailchute %s printed no JSON: %v", strings.Join(args, " "), err)
	}
	text := map[string]string{}
	for k, v := range fields {
		text[k] = fmt.Sprint(v)
	}
	return text
}

// Ports of servers lie below those that Linux gives out by itself: otherwise another's connection could have one before its
// server listens, or while that is started again.
const lowestPort, ports = 10_000, 22_000

var (
	firstPort = rand.Uint32N(ports) // two test processes may run at once
	tried     atomic.Uint32         // no port is given out twice
)

// freePort is an address that nobody listens on, over TCP or UDP.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", lowestPort+(firstPort+tried.Add(1))%ports)
		if pc, err := net.ListenPacket("udp", address); err == nil {
			pc.Close()
			if l, err := net.Listen("tcp", address); err == nil {
				l.Close()
				return address
			}
		}
	}
	t.Fatal("no port is free")
	return ""
}

func dials(address string) bool {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// until polls for what another process does, with a deadline.
func until(limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}
