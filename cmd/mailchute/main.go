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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	cwd, _ := os.Getwd() // "" leaves relative paths as they are
	a := &app{
		args:    os.Args[1:],
		environ: os.Environ(),
		cwd:     cwd,
		in:      os.Stdin,
		out:     os.Stdout,
		errout:  os.Stderr,
		unstop:  stop,
	}
	code := a.run(ctx)
	stop()
	os.Exit(code)
}
