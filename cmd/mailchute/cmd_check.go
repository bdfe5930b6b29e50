package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store/journal"
	"github.com/mailchute/mailchute/store/local"
)

func (a *app) journalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dump", Short: "Print every frame of the journal, one a line", Args: noArgs,
		Long: `Print every frame of the journal. It only reads: it works beside a running server and on a
damaged journal, where it shows the damage and goes on behind it.`,
		Example: "  mailchute journal dump\n  mailchute journal dump --segment 3 --payload\n  mailchute journal dump --json",
	}
	segment := cmd.Flags().Uint64("segment", 0, "only this segment, by `number`")
	payload := cmd.Flags().Bool("payload", false, "print the payload of each frame too; it contains mail")
	cmd.RunE = a.local(func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		dir := filepath.Join(cfg.DataDir, "journal")
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return exitWith(exitUnavailable, "there is no journal at %s: name the data directory with --data", dir)
		}
		return journal.Dump(a.out, dir, journal.DumpOptions{Segment: *segment, Payload: *payload, JSON: a.json})
	})
	return a.group("journal", "The journal, frame by frame", cmd)
}

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check configuration, key file and data", Args: noArgs,
		Long: `Check the configuration and print every problem of it, check that the key file belongs to the
tokens, and recount the store against its journal.

With a running server it is the server that checks its own store; --rebuild needs the
server to be stopped.`,
		Example: "  mailchute check\n  mailchute check --full\n  mailchute check --rebuild",
	}
	full := cmd.Flags().Bool("full", false, "read every stored message and check its hash")
	rebuild := cmd.Flags().Bool("rebuild", false, "make the view of the journal anew")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if a.live == nil && !*rebuild {
			if err := a.checkAuthorities(cmd); err != nil {
				return err
			}
		}
		if *rebuild {
			return a.local(func(cmd *cobra.Command, _ []string) error { return a.rebuild(cmd) })(cmd, args)
		}
		if done, err := a.checkBeforeFirstStart(cmd); done {
			return err
		}
		return a.admin(func(ctx context.Context, a *admin, _ []string) error { return checkStore(ctx, a, *full) })(cmd, args)
	}
	return cmd
}

// checkAuthorities reads the roots that the configuration names, as the next start
// does. The server that runs has another configuration, perhaps.
func (a *app) checkAuthorities(cmd *cobra.Command) error {
	a.began = true
	cfg, err := a.config(cmd)
	if err != nil {
		return err
	}
	_, delivery := rootCAs("delivery.ca_file", cfg.Delivery.CAFile)
	_, hooks := rootCAs("webhooks.ca_file", cfg.Webhooks.CAFile)
	if err := errors.Join(delivery, hooks); err != nil {
		return faultyConfig(err)
	}
	return nil
}

// finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func found(check string, err error, detail string) finding {
	if err != nil {
		return finding{check, false, err.Error()}
	}
	return finding{check, true, detail}
}

// checkBeforeFirstStart checks what there is before a data directory has been
// made: the configuration alone.
func (a *app) checkBeforeFirstStart(cmd *cobra.Command) (done bool, err error) {
	if a.live != nil {
		return false, nil
	}
	a.began = true
	cfg, err := a.config(cmd)
	if err != nil {
		return true, err
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, printFindings(&admin{out: a.out, json: a.json}, []finding{
		found("configuration", nil, configDetail(cfg)),
		found("certificate", checkCertificate(cfg), certificateDetail(cfg)),
		found("data directory", nil, cfg.DataDir+" is not there yet; the first start makes it"),
	})
}

func checkStore(ctx context.Context, a *admin, full bool) error {
	snap := a.store.Snapshot()
	report, err := a.store.Check(ctx, local.CheckOptions{Full: full})
	if err != nil {
		return fmt.Errorf("checking the store: %w", err)
	}
	findings := []finding{
		found("configuration", nil, configDetail(a.cfg)),
		found("key file", a.keyring.Check(snap), fmt.Sprintf("opens all of %d tokens and the DKIM keys of %d domains", len(snap.AccountTokens)+len(snap.ServerTokens)+len(snap.SMTPTokens), len(snap.Domains))),
		found("certificate", checkCertificate(a.cfg), certificateDetail(a.cfg)),
		found("streams", missingStreams(a.cfg, snap), "all that the configuration names are there"),
		found("health", a.store.Ready(), "takes mail"),
	}
	if a.clock != nil {
		findings = append(findings, found("clock", a.clock(), "has not jumped since the server began"))
	}
	for _, p := range report.Problems {
		findings = append(findings, finding{"store", false, p})
	}
	if report.More > 0 {
		findings = append(findings, finding{"store", false, fmt.Sprintf("and %d more", report.More)})
	}
	if report.OK() {
		findings = append(findings, found("store", nil, fmt.Sprintf("%d messages, %d deliveries unfinished, %d bodies read, %d addresses suppressed, %d events wait for webhooks", report.Messages, report.Unfinished, report.Bodies, report.Suppressions, report.Notifications)))
	}
	return printFindings(a, findings)
}

func printFindings(a *admin, findings []finding) error {
	faults := 0
	t := newTable(a.out)
	for _, f := range findings {
		verdict := "ok"
		if !f.OK {
			verdict = "FAULT"
			faults++
		}
		t.row(f.Check, verdict, f.Detail)
	}
	if err := a.print(findings, t.flush); err != nil {
		return err
	}
	if faults > 0 {
		return exitWith(exitData, "%d of %d checks found a fault", faults, len(findings))
	}
	return nil
}

func configDetail(cfg Config) string {
	if cfg.Source == "" {
		return "no file: defaults and environment"
	}
	return cfg.Source + " is valid"
}

// checkCertificate looks at the configured pair only: the self-signed one is
// made anew where it is missing.
func checkCertificate(cfg Config) error {
	if cfg.SMTP.TLS.CertFile == "" {
		return nil
	}
	_, err := openCertificate(cfg, slog.New(slog.DiscardHandler))
	return err
}

func certificateDetail(cfg Config) string {
	if cfg.SMTP.TLS.CertFile == "" {
		return "self-signed: clients that verify will refuse it"
	}
	return cfg.SMTP.TLS.CertFile
}

// rebuild needs the files to itself.
func (a *app) rebuild(cmd *cobra.Command) error {
	cfg, err := a.config(cmd)
	if err != nil {
		return err
	}
	if err := checkDir(cfg.DataDir); err != nil {
		return err
	}
	r, err := local.Rebuild(cmd.Context(), cfg.DataDir, storeOptions(cfg, slog.New(slog.DiscardHandler)))
	if errors.Is(err, local.ErrLocked) {
		return exitWith(exitBusy, "mailchute is running on %s: stop it first", cfg.DataDir)
	}
	if err != nil {
		return &exitError{exitIO, err}
	}
	out := &admin{out: a.out, json: a.json}
	if err := out.print(r, func() error { return sayRebuilt(out, r) }); err != nil {
		return err
	}
	if len(r.Lost) > 0 {
		return exitWith(exitData, "%d things could not be kept", len(r.Lost))
	}
	return nil
}

func sayRebuilt(a *admin, r local.Rebuilt) error {
	a.say("Rebuilt the view: %d messages, %d deliveries unfinished, %d directory records, %d suppressions, %d events for webhooks.", r.Messages, r.Unfinished, r.Records, r.Suppressions, r.Notifications)
	if r.Old != "" {
		a.say("The old file is kept as %s.", r.Old)
	}
	for _, lost := range r.Lost {
		a.say("Lost: %s", printable(lost))
	}
	return nil
}
