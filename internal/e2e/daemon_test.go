//go:build e2e

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
)

// sharedDir is a directory that is gone after the test and that other users may
// enter, unlike t.TempDir: servers give up root.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mailchute-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// put writes a file of a server's configuration and returns its path.
func put(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// shadow is a log that a process writes while the test reads it.
type shadow struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (s *shadow) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *shadow) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// daemon runs a server in the foreground, in a process group of its own that
// ends with the test, and shows its log if the test fails.
func daemon(t testing.TB, owner *user.User, name string, args ...string) *shadow {
	t.Helper()
	log := &shadow{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 5 * time.Second // a grandchild that keeps the pipe open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential(t, owner)}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v (.ci/run says what must be installed)", name, err)
	}
	onDeath(t, `kill -s KILL -- "-$1"`, strconv.Itoa(cmd.Process.Pid))
	t.Cleanup(func() {
		stopGroup(cmd)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), log)
		}
	})
	return log
}

// onDeath runs a shell command, with its arguments, when the test process ends in the middle of the test, however that comes
// about: by a timeout, a panic or SIGKILL, which no cleanup outlives. A shell waits for the end of a pipe that only we hold open.
func onDeath(t testing.TB, command string, args ...string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", "read -r _; " + command, "onDeath"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a signal to our group leaves it alone
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it ends by this before the pipe is closed
		_ = cmd.Wait()
		_ = pipe.Close()
	})
}

func stopGroup(cmd *exec.Cmd) {
	syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	done := make(chan struct{})
	go func() { defer close(done); cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // also what has outlived the first process
	<-done
}

// credential is that of another user, or nil for our own.
func credential(t testing.TB, u *user.User) *syscall.Credential {
	t.Helper()
	if u == nil {
		return nil
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatalf("user %s has no number", u.Username)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// account looks up a user that the package of a server has made.
func account(t testing.TB, name string) *user.User {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("%v (.ci/run says what must be installed)", err)
	}
	return u
}

// give makes everything below dir the user's.
func give(t testing.TB, dir string, u *user.User) {
	t.Helper()
	c := credential(t, u)
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(c.Uid), int(c.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listening waits until somebody listens.
func listening(t testing.TB, address string, log fmt.Stringer) {
	t.Helper()
	if !until(15*time.Second, func() bool { return dials(address) }) {
		t.Fatalf("nobody listens on %s:\n%s", address, log)
	}
}

// commonPort is a port that is free on all of the addresses.
func commonPort(t testing.TB, hosts ...string) string {
	t.Helper()
	for range 100 {
		_, port, _ := net.SplitHostPort(freePort(t))
		if freeOn(port, hosts) {
			return port
		}
	}
	t.Fatalf("no port is free on all of %v", hosts)
	return ""
}

func freeOn(port string, hosts []string) bool {
	for _, host := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// certificate is a certificate with its key in PEM files.
type certificate struct {
	cert, key string
	leaf      *x509.Certificate
}

func issue(t testing.TB, ca *testmx.CA, dir string, names ...string) certificate {
	t.Helper()
	pair := ca.Certificate(names...)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		cert: put(t, filepath.Join(dir, "cert.pem"), pemOf("CERTIFICATE", leaf.Raw)),
		key:  put(t, filepath.Join(dir, "key.pem"), pemOf("PRIVATE KEY", keyBytes(t, pair))),
		leaf: leaf,
	}
}

func keyBytes(t testing.TB, pair tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
