// Command mailchute is a self-hosted SMTP submission relay: applications hand
// it mail with tokens, it makes the mail durable and delivers it.
//
// This package holds the wiring, the configuration and the command line. It
// alone reads flags, environment and signals; the packages below get typed
// options.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	go twoSignals(cancel) // ends with the process
	cwd, _ := os.Getwd()  // "" leaves relative paths as they are
	a := &app{
		args:    os.Args[1:],
		environ: os.Environ(),
		cwd:     cwd,
		in:      os.Stdin,
		out:     os.Stdout,
		errout:  os.Stderr,
	}
	os.Exit(a.run(ctx))
}

// twoSignals stops in good order at the first signal, and lets the second one
// end the process as if nobody had listened. None is lost however fast they
// follow each other.
func twoSignals(stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	stop()
	second := <-signals
	signal.Reset(second)
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Signal(second) // nothing is left to report to
	}
}
