package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) domainSet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set DOMAIN", Short: "Give a domain a host of its own for return paths", Args: cobra.ExactArgs(1),
		Long: `Give a domain a host of its own for the return paths of its mail, and print the record to publish. With
the reverse-path below the author's domain, SPF counts for DMARC. The host is below the domain and has
nothing else; it is used from when DNS was seen to lead it to bounces.host, and no longer than that.

An empty --return-path goes back to bounces.host. What was sent before is still taken at the old one
while its record is there.`,
		Example: "  mailchute domain set example.com --return-path bounces.example.com\n  mailchute domain set example.com --return-path \"\"",
	}
	host := cmd.Flags().String("return-path", "", "`host` below the domain")
	mustMark(cmd.MarkFlagRequired("return-path"))
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		d, err := a.domain(args[0])
		if err != nil {
			return err
		}
		name := *host
		if name != "" {
			if name, err = domainName(name); err != nil {
				return fmt.Errorf("--return-path: %w", err)
			}
		}
		if d, err = a.keeper().SetReturnPath(ctx, d.ID, name); err != nil {
			return err
		}
		v := a.viewDomain(d)
		return a.print(v, func() error {
			a.say("; Return path of %s: %s", d.Name, a.returnPathText(d))
			a.zone(v.Records)
			return nil
		})
	})
	return cmd
}

// returnPathText says where the reverse-paths of a domain's mail are.
func (a *admin) returnPathText(d store.Domain) string {
	ours := a.cfg.Bounces.Host
	switch {
	case ours == "" && d.ReturnPath == "":
		return "the client's own"
	case ours == "":
		return fmt.Sprintf("the client's own: %s needs bounces.host", d.ReturnPath)
	case d.ReturnPath == "":
		return ours
	case d.ReturnPathVerified.IsZero():
		return fmt.Sprintf("%s, until DNS leads %s to it: publish the record, then mailchute domain verify %s", ours, d.ReturnPath, d.Name)
	}
	return fmt.Sprintf("%s, since %s", d.ReturnPath, when(d.ReturnPathVerified))
}
