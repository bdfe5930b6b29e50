//go:build e2e

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dyingDir makes TestOnDeath the process that is killed.
const dyingDir = "MAILCHUTE_E2E_DYING"

// TestOnDeath kills a test process, and looks that what it has started ends.
func TestOnDeath(t *testing.T) {
	if dir := os.Getenv(dyingDir); dir != "" {
		onDeath(t, `touch "$1"`, filepath.Join(dir, "told"))
		daemon(t, nil, "/bin/sh", "-c", `echo $$ > "$0"; exec sleep 1000`, filepath.Join(dir, "pid"))
		put(t, filepath.Join(dir, "ready"), "")
		select {}
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestOnDeath$")
	cmd.Env = append(os.Environ(), dyingDir+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	there := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	if !until(30*time.Second, func() bool { return there("ready") && pidIn(filepath.Join(dir, "pid")) > 0 }) {
		t.Fatal("the other test does not begin")
	}
	if there("told") {
		t.Error("told before it died")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	pid := pidIn(filepath.Join(dir, "pid"))
	if !until(10*time.Second, func() bool { return there("told") && !running(pid) }) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Error("what the test had started outlives it")
	}
}

// running tells whether there is such a process, other than as a zombie that nobody waits for.
func running(pid int) bool {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if state, ok := strings.CutPrefix(lines.Text(), "State:"); ok {
			return !strings.HasPrefix(strings.TrimSpace(state), "Z")
		}
	}
	return false
}

func pidIn(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b))) // 0 until it is written
	return pid
}
