package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The control socket carries command lines to the running server, which alone
// may have the files open. Who can connect to it is the operator: it lies in the
// data directory (mode 0700) and has mode 0600 itself.
//
//	POST /run   {"args": […], "cwd": "…"}
//	200         one frame a line: {"out": base64} | {"err": base64} | {"exit": code}
//
// An answer without exit frame is a server that went away.

// request is one command line.
type request struct {
	Args []string `json:"args"`
	Cwd  string   `json:"cwd"` // what relative paths in it count from
}

// frame is a piece of the answer.
type frame struct {
	Out  []byte `json:"out,omitempty"`
	Err  []byte `json:"err,omitempty"`
	Exit *int   `json:"exit,omitempty"`
}

// errNoServer means that nobody listens, so that the files are free.
var errNoServer = errors.New("no server is running")

// maxSocketPath is what every unix takes in sockaddr_un with its final NUL.
const maxSocketPath = 103

// socketPath returns where the socket of a configuration is. Where the data
// directory's path is too long for a socket it lies below the system's
// temporary directory, in a directory of this user's own; moved tells so.
func socketPath(cfg Config) (path string, moved bool) {
	path = cfg.Control.Socket
	if path == "" {
		path = filepath.Join(cfg.DataDir, "control.sock")
	}
	if len(path) <= maxSocketPath {
		return path, false
	}
	sum := sha256.Sum256([]byte(path))
	return fmt.Sprintf("/tmp/mailchute-%d/%x.sock", os.Getuid(), sum[:8]), true
}

// control is the server's end.
type control struct {
	listener net.Listener
	path     string
	live     *admin
	log      *slog.Logger
}

// listenControl makes the socket. The caller holds the data directory's lock, so
// a socket that nobody answers on is a leftover and is replaced.
func listenControl(cfg Config, live *admin, log *slog.Logger) (*control, error) {
	path, moved := socketPath(cfg)
	if moved {
		if err := privateDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, &exitError{exitCreate, fmt.Errorf("making the control socket (control.socket): %w", err)}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(&exitError{exitCreate, fmt.Errorf("protecting the control socket: %w", err)}, l.Close())
	}
	return &control{l, path, live, log}, nil
}

// privateDir makes a directory that is this user's alone, and refuses one that
// somebody else has put there first.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return &exitError{exitCreate, fmt.Errorf("making the directory of the control socket: %w", err)}
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return &exitError{exitCreate, err}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ok || int(stat.Uid) != os.Getuid() {
		return exitWith(exitPermission, "%s must be a directory of yours with mode 0700; remove it, or set control.socket", dir)
	}
	return nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &exitError{exitCreate, err}
	}
	if info.Mode().Type() != fs.ModeSocket {
		return exitWith(exitCreate, "control.socket: %s is there and is no socket; move it away", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(exitWith(exitBusy, "control.socket: another server answers on %s", path), c.Close())
	}
	return os.Remove(path)
}

// Run serves command lines until ctx ends. Commands under way are cancelled
// then.
func (c *control) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", c.run)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withOperator,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(c.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("control socket: %w", err)
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if srv.Shutdown(bounded) != nil {
		_ = srv.Close() // a client that does not read its answer
	}
	<-served
	return nil
}

const maxRequest = 1 << 20

func (c *control) run(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&req); err != nil {
		http.Error(w, "malformed request", http.StatusBadRequest)
		return
	}
	f := &frames{enc: json.NewEncoder(w), flush: http.NewResponseController(w)}
	a := &app{
		args: req.Args, cwd: req.Cwd, live: c.live,
		in:     http.NoBody,
		out:    frameWriter{f, func(b []byte) frame { return frame{Out: b} }},
		errout: frameWriter{f, func(b []byte) frame { return frame{Err: b} }},
	}
	a.by, _ = r.Context().Value(operatorKey{}).(string)
	code := a.run(r.Context())
	c.log.Log(r.Context(), commandLevel(a.command), "operator command", "command", a.command, "exit", code, "by", a.by)
	_ = f.send(frame{Exit: &code}) // a client that has gone needs no answer
}

// commandLevel keeps commands that only look, which scripts repeat, out of the
// usual log. Arguments are never logged: a slip may put a secret there.
func commandLevel(command string) slog.Level {
	switch command[strings.LastIndexByte(command, ' ')+1:] {
	case "list", "show", "dead", "export", "lanes", "raw", "status", "check", "":
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// frames writes the answer. Its mutex guards the encoder, and is held across the
// write since frames must not mix.
type frames struct {
	mu    sync.Mutex
	enc   *json.Encoder
	flush *http.ResponseController
}

func (f *frames) send(v frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enc.Encode(v); err != nil {
		return err
	}
	return f.flush.Flush()
}

type frameWriter struct {
	f    *frames
	wrap func([]byte) frame
}

func (w frameWriter) Write(b []byte) (int, error) {
	if err := w.f.send(w.wrap(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// forward runs a command line in the running server and returns its exit code.
// errNoServer means that there is none.
func forward(ctx context.Context, cfg Config, req request, out, errout io.Writer) (int, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return 0, err
	}
	path, _ := socketPath(cfg)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://mailchute/run", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		},
	}}
	answer, err := client.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return 0, errNoServer
	case errors.Is(err, fs.ErrPermission):
		return 0, exitWith(exitPermission, "%s: %w; run the command as the user of the server", path, err)
	case err != nil:
		return 0, exitWith(exitUnavailable, "asking the running server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, exitWith(exitUnavailable, "the running server answered %s", answer.Status)
	}
	return relayFrames(answer.Body, out, errout)
}

func relayFrames(r io.Reader, out, errout io.Writer) (int, error) {
	dec := json.NewDecoder(r)
	for {
		var f frame
		if err := dec.Decode(&f); err != nil {
			return 0, exitWith(exitUnavailable, "the running server went away before the command had ended")
		}
		if f.Exit != nil {
			return *f.Exit, nil
		}
		if _, err := out.Write(f.Out); err != nil {
			return 0, err
		}
		if _, err := errout.Write(f.Err); err != nil {
			return 0, err
		}
	}
}
