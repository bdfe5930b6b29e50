package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

func (a *app) serverCommand() *cobra.Command {
	return a.group("server", "Servers: projects with their own tokens and streams",
		a.serverList(), a.serverCreate(), a.serverShow(), a.serverSet(), a.serverDelete())
}

func (a *app) serverList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List servers", Args: noArgs,
		Example: "  mailchute server list",
		RunE:    a.admin(listServers),
	}
}

func sortedByID[V any](m map[int64]V) []V {
	out := make([]V, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[id])
	}
	return out
}

func listServers(_ context.Context, a *admin, _ []string) error {
	snap := a.store.Snapshot()
	servers := sortedByID(snap.Servers)
	return a.print(servers, func() error {
		t := newTable(a.out, "ID", "NAME", "DELIVERY", "SMTP", "SENDERS", "STREAMS", "TOKENS", "CREATED")
		for _, v := range servers {
			t.row(v.ID, v.Name, v.DeliveryType, onOff(!v.SMTPDisabled), senders(v), len(snap.StreamsOf(v.ID)), len(tokensOf(snap, v.ID)), v.Created)
		}
		return t.flush()
	})
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func senders(v store.Server) string {
	if v.VerifiedOnly {
		return "verified"
	}
	return "any"
}

func tokensOf(s *store.Snapshot, server int64) []store.ServerToken {
	return slices.DeleteFunc(sortedByID(s.ServerTokens), func(t store.ServerToken) bool { return t.Server != server })
}

func smtpTokensOf(s *store.Snapshot, server int64) []store.SMTPToken {
	out := slices.DeleteFunc(sortedByID(s.SMTPTokens), func(t store.SMTPToken) bool { return t.Server != server })
	slices.SortStableFunc(out, func(x, y store.SMTPToken) int { return cmp.Compare(x.Stream, y.Stream) })
	return out
}

func (a *app) serverCreate() *cobra.Command {
	var mode string
	var v store.Server
	var sandbox bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a server with its three default streams", Args: cobra.ExactArgs(1),
		Example: "  mailchute server create \"Web shop\" --mode live\n  mailchute server create Staging --sandbox",
		RunE: a.admin(func(ctx context.Context, a *admin, args []string) error {
			v.Name, v.DeliveryType = args[0], store.Live
			if sandbox {
				v.DeliveryType = store.Sandbox
			}
			return createServer(ctx, a, v, store.StreamMode(mode))
		}),
	}
	cmd.Flags().StringVar(&mode, "mode", "capture", "`mode` of its outbound streams: live or capture")
	cmd.Flags().BoolVar(&sandbox, "sandbox", false, "capture every message, whatever the streams say")
	cmd.Flags().BoolVar(&v.VerifiedOnly, "verified-only", false, "take only senders of verified domains and signatures")
	cmd.Flags().StringVar(&v.Color, "color", "", "`color` in the console")
	return cmd
}

// addServer creates a server with its default streams in one transaction.
func addServer(ctx context.Context, a *admin, v store.Server, mode store.StreamMode) (store.Server, error) {
	_, err := store.Update(ctx, a.store, func(s *store.Snapshot) ([]store.Change, error) {
		v.ID, v.Created = s.NextID(0), a.now()
		changes := []store.Change{{Server: &v}}
		for _, stream := range store.DefaultStreams(v.ID, mode, v.Created) {
			changes = append(changes, store.Change{Stream: &stream})
		}
		return changes, nil
	})
	return v, err
}

func createServer(ctx context.Context, a *admin, v store.Server, mode store.StreamMode) error {
	if mode != store.ModeLive && mode != store.ModeCapture {
		return usage("--mode: %q is neither live nor capture", mode)
	}
	v, err := addServer(ctx, a, v, mode)
	if err != nil {
		return fmt.Errorf("creating server %q: %w", v.Name, err)
	}
	return a.print(v, func() error {
		a.say("Created server %d %q with the streams outbound, broadcast and inbound; outbound mail: %s.", v.ID, v.Name, mode)
		a.say("Next: mailchute token server create --server %d --name NAME", v.ID)
		return nil
	})
}

func (a *app) serverShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [SERVER]", Short: "Show a server with its streams and tokens", Args: cobra.MaximumNArgs(1),
		Example:           "  mailchute server show\n  mailchute server show \"Web shop\" --json",
		ValidArgsFunction: a.completeServers,
		RunE:              a.admin(showServer),
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// serverView is a server with what belongs to it.
type serverView struct {
	store.Server
	Streams    []store.Stream  `json:"streams"`
	Tokens     []tokenView     `json:"tokens"`
	SMTPTokens []smtpTokenView `json:"smtp_tokens"`
}

func showServer(_ context.Context, a *admin, args []string) error {
	snap := a.store.Snapshot()
	v, err := serverOf(snap, first(args))
	if err != nil {
		return err
	}
	view := serverView{Server: v, Streams: snap.StreamsOf(v.ID), SMTPTokens: []smtpTokenView{}}
	if view.Tokens, err = viewAll(tokensOf(snap, v.ID), false, a.viewServerToken); err != nil {
		return err
	}
	for _, t := range smtpTokensOf(snap, v.ID) {
		view.SMTPTokens = append(view.SMTPTokens, viewSMTPToken(t))
	}
	return a.print(view, func() error { return printServer(a, view) })
}

func printServer(a *admin, v serverView) error {
	t := newTable(a.out)
	t.row("Server", fmt.Sprintf("%d %s", v.ID, v.Name))
	t.row("Delivery", v.DeliveryType)
	t.row("SMTP", onOff(!v.SMTPDisabled))
	t.row("Senders", senders(v.Server))
	t.row("Created", v.Created)
	if err := t.flush(); err != nil {
		return err
	}
	a.say("")
	if err := printStreams(a, v.Streams); err != nil {
		return err
	}
	a.say("")
	t = newTable(a.out, "TOKEN", "KIND", "STREAM", "NAME", "USERNAME", "CREATED")
	for _, k := range v.Tokens {
		t.row(k.ID, "server", "(any)", dash(k.Name), "the token", k.Created)
	}
	for _, k := range v.SMTPTokens {
		t.row(k.ID, "smtp", k.Stream, dash(k.Name), k.AccessKey, k.Created)
	}
	return t.flush()
}

func (a *app) serverSet() *cobra.Command {
	var name, color, smtp, delivery string
	var verified bool
	var weight int
	cmd := &cobra.Command{
		Use: "set [SERVER]", Short: "Change a server's settings", Args: cobra.MaximumNArgs(1),
		Example:           "  mailchute server set \"Web shop\" --verified-only\n  mailchute server set --smtp off",
		ValidArgsFunction: a.completeServers,
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "new `name`")
	f.StringVar(&color, "color", "", "`color` in the console")
	f.StringVar(&smtp, "smtp", "", "SMTP submission: `on|off`")
	f.StringVar(&delivery, "delivery", "", "`type`: live, or sandbox to capture everything")
	f.BoolVar(&verified, "verified-only", false, "take only verified senders (=false: any sender)")
	f.IntVar(&weight, "weight", 10, "share between servers, 1 to 100")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		if smtp != "" && smtp != "on" && smtp != "off" {
			return usage("--smtp: %q is neither on nor off", smtp)
		}
		return updateServer(ctx, a, first(args), func(v *store.Server) {
			set(f.Changed("name"), &v.Name, name)
			set(f.Changed("color"), &v.Color, color)
			set(smtp != "", &v.SMTPDisabled, smtp == "off")
			set(delivery != "", &v.DeliveryType, store.DeliveryType(delivery))
			set(f.Changed("verified-only"), &v.VerifiedOnly, verified)
			set(f.Changed("weight"), &v.Weight, weight)
		})
	})
	return cmd
}

func set[V any](asked bool, field *V, value V) {
	if asked {
		*field = value
	}
}

func updateServer(ctx context.Context, a *admin, ref string, change func(*store.Server)) error {
	var v store.Server
	_, err := store.Update(ctx, a.store, func(s *store.Snapshot) ([]store.Change, error) {
		var err error
		if v, err = serverOf(s, ref); err != nil {
			return nil, err
		}
		change(&v)
		return []store.Change{{Server: &v}}, nil
	})
	if err != nil {
		return fmt.Errorf("changing server: %w", err)
	}
	return a.print(v, func() error {
		a.say("Server %d %q: delivery %s, SMTP %s, senders %s.", v.ID, v.Name, v.DeliveryType, onOff(!v.SMTPDisabled), senders(v))
		return nil
	})
}

func (a *app) serverDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete SERVER", Short: "Delete a server with its streams and tokens", Args: cobra.ExactArgs(1),
		Long: `Delete a server, its streams and its tokens. Clients that use them are refused at once.

A server with mail in its queue is not deleted: finish or delete the mail first.`,
		Example:           "  mailchute server delete Staging --yes",
		ValidArgsFunction: a.completeServers,
		RunE: a.admin(func(ctx context.Context, a *admin, args []string) error {
			if !yes {
				return usage("deleting a server revokes its tokens for good: add --yes")
			}
			return deleteServer(ctx, a, args[0])
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete it")
	return cmd
}

var errQueued = errors.New("mail is still queued")

func deleteServer(ctx context.Context, a *admin, ref string) error {
	v, err := serverOf(a.store.Snapshot(), ref)
	if err != nil {
		return err
	}
	queued, _, err := a.store.List(ctx, store.Filter{Server: v.ID, Queued: true}, "", 1)
	if err != nil {
		return fmt.Errorf("looking for queued mail: %w", err)
	}
	if len(queued) > 0 {
		return &exitError{exitBusy, fmt.Errorf("server %q: %w; see \"mailchute queue list --server %d\", or drop it with \"mailchute queue delete --server %d\"", v.Name, errQueued, v.ID, v.ID)}
	}
	snap, err := store.Update(ctx, a.store, func(*store.Snapshot) ([]store.Change, error) {
		return []store.Change{{Delete: true, Server: &v}}, nil
	})
	if err != nil {
		return fmt.Errorf("deleting server %q: %w", v.Name, err)
	}
	return a.print(v, func() error {
		a.say("Deleted server %d %q with its streams and tokens. %d servers remain.", v.ID, v.Name, len(snap.Servers))
		return nil
	})
}
