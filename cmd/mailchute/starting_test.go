package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A command that comes while a server starts, which has the files and takes no
// commands yet, waits for it instead of failing.
func TestCommand_WaitsForAServerThatStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	held, err := openOrCreate(Config{DataDir: dir, KeyFile: filepath.Join(dir, "mailchute.key")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var out, errout strings.Builder
	a := &app{args: []string{"server", "list", "--data", dir}, cwd: t.TempDir(), in: strings.NewReader(""), out: &out, errout: &errout}
	done := make(chan int, 1)
	go func() { done <- a.run(t.Context()) }()
	select {
	case code := <-done:
		t.Fatalf("it ended with %d while the files were held: %s", code, &errout)
	case <-time.After(1500 * time.Millisecond): // the engine itself waits for one second
	}
	if err := held.close(); err != nil {
		t.Fatal(err)
	}
	if code := <-done; code != exitOK {
		t.Errorf("it ended with %d: %s", code, &errout)
	}
}
