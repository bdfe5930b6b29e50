package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// app is one run of the command line: in the process that a person started, or
// inside the running server on behalf of such a process.
type app struct {
	args    []string
	environ []string
	cwd     string // of the person's shell
	in      io.Reader
	out     io.Writer
	errout  io.Writer

	live *admin // the running server's; nil in a process of its own
	by   string // who gives the command, where that is another process's user

	configFile string
	dataDir    string
	json       bool
	newKey     bool   // make a key file if there is none, whatever the tokens need
	began      bool   // a command was found and its arguments were right
	command    string // which one it was, without its arguments
}

// adminFunc is the one implementation of an administrative command. It runs in
// the server when one is running, and else on the files.
type adminFunc func(ctx context.Context, a *admin, args []string) error

// run executes the command line and returns the exit code. Errors have been
// written to errout by then.
func (a *app) run(ctx context.Context) (code int) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(a.errout, "mailchute: internal fault: %v\n%s", p, debug.Stack())
			code = exitSoftware
		}
	}()
	root := a.root()
	root.SetArgs(a.args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errout)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if code = exitCode(err); !a.began {
		code = exitUsage
	}
	var coded *exitError
	if !errors.As(err, &coded) || coded.err != nil {
		fmt.Fprintf(a.errout, "mailchute: %v\n", err)
	}
	if !a.began {
		fmt.Fprintln(a.errout, "Run the command with --help to see how it is used.")
	}
	return code
}

// local wraps a command that always runs in its own process.
func (a *app) local(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began = true
		if a.live != nil {
			return usage("%s does not run inside the server", cmd.CommandPath())
		}
		return run(cmd, args)
	}
}

// admin wraps an administrative command.
func (a *app) admin(run adminFunc) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began, a.command = true, cmd.CommandPath()
		if a.live != nil {
			return run(cmd.Context(), a.live.on(a), args)
		}
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		return a.somewhere(cmd.Context(), cfg, run, args)
	}
}

// startPatience is how long a command waits for a server that has its files and
// does not take commands yet, or for another command to end.
const startPatience = 10 * time.Second

// somewhere runs a command in the server, or here where none is running.
func (a *app) somewhere(ctx context.Context, cfg Config, run adminFunc, args []string) error {
	for end := time.Now().Add(startPatience); ; {
		code, err := forward(ctx, cfg, request{Args: a.args, Cwd: a.cwd}, a.out, a.errout)
		if !errors.Is(err, errNoServer) {
			return orCode(code, err)
		}
		err = a.onFiles(ctx, cfg, run, args)
		if !errors.As(err, new(lockedError)) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// config loads the configuration for a command, with what its flags say.
func (a *app) config(cmd *cobra.Command) (Config, error) {
	flags := map[string]any{}
	if a.dataDir != "" {
		flags["data_dir"] = a.dataDir
	}
	if f := cmd.Flags(); cmd.Name() == "serve" {
		for flag, key := range map[string]string{"hostname": "hostname", "log-level": "log.level"} {
			if v, err := f.GetString(flag); err == nil && f.Changed(flag) {
				flags[key] = v
			}
		}
		if v, err := f.GetStringSlice("listen"); err == nil && f.Changed("listen") {
			flags["smtp.listeners"] = v
		}
	}
	return loadConfig(configSource{file: a.configFile, environ: a.environ, cwd: a.cwd, flags: flags})
}

func orCode(code int, err error) error {
	if err != nil || code == exitOK {
		return err
	}
	return &exitError{code: code}
}

// onFiles runs the command in this process on the files of the data directory.
func (a *app) onFiles(ctx context.Context, cfg Config, run adminFunc, args []string) (err error) {
	files, err := openExisting(cfg, a.newKey)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	return run(ctx, newAdmin(files, cfg).on(a), args)
}

func (a *app) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(a.cwd, path)
}

// root builds the command tree. Each run has its own, since cobra keeps the
// flags' values in it.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mailchute",
		Short: "A self-hosted SMTP submission relay with servers, streams and tokens",
		Long: `mailchute takes mail from your applications over SMTP, keeps it safe, and delivers it.

Start with "mailchute demo" to see the whole path in a few seconds, or with "mailchute serve"
in an empty directory: it makes everything it needs and prints what to paste into your client.`,
		Example: `  mailchute demo
  mailchute serve
  mailchute smtp-token create --stream outbound --name "web shop"
  mailchute queue list`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.began = true
			return cmd.Help()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.configFile, "config", "c", "", "configuration `file` (default mailchute.yaml or /etc/mailchute.yaml, where there is one)")
	flags.StringVar(&a.dataDir, "data", "", "data `directory` (default \"mailchute-data\")")
	flags.BoolVar(&a.json, "json", false, "print JSON for scripts")
	root.AddCommand(a.serveCommand(), a.demoCommand(), a.checkCommand(), a.doctorCommand(), a.healthCommand(), a.serverCommand(), a.streamCommand(),
		a.tokenCommand(), a.smtpTokenCommand(), a.domainCommand(), a.senderCommand(), a.keyCommand(),
		a.queueCommand(), a.messageCommand(), a.bounceCommand(), a.statsCommand(), a.suppressionCommand(), a.tlsrptCommand(), a.webhookCommand(), a.journalCommand(), a.benchCommand(), a.versionCommand())
	return root
}

// group is a command that only holds others.
func (a *app) group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: exampleOf(subs),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.began = true
			return cmd.Help()
		},
	}
	cmd.AddCommand(subs...)
	return cmd
}

func exampleOf(subs []*cobra.Command) string {
	for _, s := range subs {
		if s.Example != "" {
			return s.Example
		}
	}
	return ""
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command or argument %q for %q", args[0], cmd.CommandPath())
	}
	return nil
}
