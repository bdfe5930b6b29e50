package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/relay/tlsrpt"
)

func (a *app) tlsrptCommand() *cobra.Command {
	return a.group("tlsrpt", "TLS reports: how TLS fared towards other domains (RFC 8460)", &cobra.Command{
		Use: "show [DOMAIN]", Short: "Show what is counted and not reported yet", Args: cobra.MaximumNArgs(1),
		Long: `Show the sessions counted by day, domain and policy, of today and of days whose report has not been
sent. With --json they are the reports as they go out.`,
		Example: "  mailchute tlsrpt show\n  mailchute tlsrpt show example.org --json",
		RunE:    a.admin(showTLSReports),
	})
}

func showTLSReports(_ context.Context, a *admin, args []string) error {
	if a.cfg.TLSReports.From == "" {
		return exitWith(exitConfig, "tls_reports is not configured: nothing is counted")
	}
	if a.tlsReports == nil {
		return exitWith(exitUnavailable, "no server runs that counts")
	}
	reports := []tlsrpt.Report{}
	for _, r := range a.tlsReports() {
		if len(args) == 0 || strings.EqualFold(args[0], r.Domain()) {
			reports = append(reports, r)
		}
	}
	return a.print(reports, func() error { return printTLSReports(a, reports) })
}

func printTLSReports(a *admin, reports []tlsrpt.Report) error {
	if len(reports) == 0 {
		a.say("Nothing is counted that was not reported.")
		return nil
	}
	t := newTable(a.out, "DAY", "DOMAIN", "POLICY", "GOOD", "FAILED", "WHY")
	for _, r := range reports {
		for _, p := range r.Policies {
			var why []string
			for _, f := range p.Failures {
				why = append(why, fmt.Sprintf("%d %s", f.Count, strings.TrimSpace(string(f.Result)+" "+f.ReceivingMX)))
			}
			t.row(tlsrpt.DayOf(r.Range.Start), r.Domain(), p.Policy.Type, p.Summary.Successful, p.Summary.Failed, dash(strings.Join(why, ", ")))
		}
	}
	return t.flush()
}
