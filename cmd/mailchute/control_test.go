package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// These tests are in the package: the control socket is not exported.

func configIn(t *testing.T) Config {
	t.Helper()
	cfg := Default()
	cfg.DataDir = t.TempDir()
	return cfg.resolved(nil)
}

func TestControl_ReplacesSocketThatNobodyAnswersOn(t *testing.T) {
	cfg := configIn(t)
	path, _ := socketPath(cfg)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := listenControl(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.listener.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestControl_LeavesLivingSocketAlone(t *testing.T) {
	cfg := configIn(t)
	first, err := listenControl(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.listener.Close()
	second, err := listenControl(cfg, nil, nil)
	if err == nil {
		_ = second.listener.Close()
		t.Fatal("took over a socket that somebody answers on")
	}
	if got := exitCode(err); got != exitBusy {
		t.Errorf("exit code %d, want %d: %v", got, exitBusy, err)
	}
}

func TestControl_LeavesOtherFilesAlone(t *testing.T) {
	cfg := configIn(t)
	cfg.Control.Socket = filepath.Join(cfg.DataDir, "precious")
	if err := os.WriteFile(cfg.Control.Socket, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(cfg, nil, nil); exitCode(err) != exitCreate {
		t.Errorf("listenControl = %v, want exit code %d", err, exitCreate)
	}
	if b, err := os.ReadFile(cfg.Control.Socket); err != nil || string(b) != "data" {
		t.Errorf("the file is %q, %v afterwards", b, err)
	}
}

func TestControl_LongPathsMove(t *testing.T) {
	cfg := configIn(t)
	cfg.DataDir = "/" + strings.Repeat("long/", 30)
	path, moved := socketPath(cfg)
	if !moved || len(path) > maxSocketPath {
		t.Errorf("socketPath = %q, %v", path, moved)
	}
	other := cfg
	other.DataDir += "x"
	if p, _ := socketPath(other); p == path {
		t.Error("two data directories share a socket")
	}
}

func TestForward_NoServer(t *testing.T) {
	cfg := configIn(t)
	_, err := forward(context.Background(), cfg, request{}, new(bytes.Buffer), new(bytes.Buffer))
	if !errors.Is(err, errNoServer) {
		t.Errorf("forward = %v, want errNoServer", err)
	}
}

func TestForward_ServerThatGoesAwayIsNoSuccess(t *testing.T) {
	for _, answer := range []string{
		"",
		"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"out\":\"aGVsbG8\"}",
		"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
	} {
		cfg := configIn(t)
		path, _ := socketPath(cfg)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- answerOnce(l, answer) }()
		code, err := forward(context.Background(), cfg, request{Args: []string{"x"}}, new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || errors.Is(err, errNoServer) {
			t.Errorf("answer %q: forward = %d, %v, want an error that keeps the files closed", answer, code, err)
		}
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func answerOnce(l net.Listener, answer string) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	buf := make([]byte, 4096)
	_, rerr := c.Read(buf)
	_, werr := c.Write([]byte(answer))
	return errors.Join(rerr, werr, c.Close())
}

func TestControl_RefusesWhatRunsElsewhere(t *testing.T) {
	for _, command := range []string{"serve", "demo", "version"} {
		var out, errout bytes.Buffer
		a := &app{args: []string{command}, live: &admin{}, out: &out, errout: &errout}
		if code := a.run(context.Background()); code != exitUsage {
			t.Errorf("%s in the server: exit code %d, want %d: %s", command, code, exitUsage, errout.String())
		}
	}
}
