package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

func (a *app) suppressionCommand() *cobra.Command {
	return a.group("suppression", "Suppressions: the addresses that a stream does not write to",
		a.suppressionList(), a.suppressionShow(), a.suppressionAdd(), a.suppressionRemove(),
		a.suppressionImport(), a.suppressionExport())
}

// listFlags name one list, or several.
type listFlags struct{ server, stream, reason, origin string }

func (a *app) listFlags(cmd *cobra.Command, which string) *listFlags {
	v := &listFlags{}
	f := cmd.Flags()
	f.StringVar(&v.server, "server", "", "server, by `name` or number (default: the only one)")
	f.StringVar(&v.stream, "stream", "", which)
	a.completeFlag(cmd, "server", a.completeServers)
	a.completeFlag(cmd, "stream", a.completeStreams)
	return v
}

// one returns the only stream that the flags name.
func (v *listFlags) one(a *admin) (store.Stream, error) {
	if v.stream == "" {
		return store.Stream{}, usage("name the stream with --stream")
	}
	_, s, err := streamOf(a.store.Snapshot(), v.server, v.stream)
	if err == nil && !s.Outbound() {
		err = usage("--stream: stream %q is inbound and writes to nobody", v.stream)
	}
	return s, err
}

// filter selects a server's lists, or one of them. A list can be named whose
// stream is gone.
func (v *listFlags) filter(a *admin) (store.SuppressionFilter, error) {
	server, err := serverOf(a.store.Snapshot(), v.server)
	f := store.SuppressionFilter{Server: server.ID, Stream: v.stream}
	if err != nil {
		return f, err
	}
	f.Reason, f.Origin, err = v.why()
	return f, err
}

// why reads --reason and --origin.
func (v *listFlags) why() (reason store.SuppressionReason, origin store.SuppressionOrigin, err error) {
	if reason, err = parseReason(v.reason); err == nil {
		origin, err = parseOrigin(v.origin)
	}
	if err != nil {
		return "", "", usage("--%v", err)
	}
	return reason, origin, nil
}

// parseReason reads a reason in any case; "" is none.
func parseReason(text string) (store.SuppressionReason, error) {
	for _, r := range []store.SuppressionReason{"", store.SuppressedHardBounce, store.SuppressedSpamComplaint, store.SuppressedManually} {
		if strings.EqualFold(text, string(r)) {
			return r, nil
		}
	}
	return "", usage("reason: %q is none of HardBounce, SpamComplaint, ManualSuppression", text)
}

func parseOrigin(text string) (store.SuppressionOrigin, error) {
	for _, o := range []store.SuppressionOrigin{"", store.OriginRecipient, store.OriginCustomer, store.OriginAdmin} {
		if strings.EqualFold(text, string(o)) {
			return o, nil
		}
	}
	return "", usage("origin: %q is none of Recipient, Customer, Admin", text)
}

func mailboxKey(address string) (string, error) {
	key, err := message.MailboxKey(strings.TrimSpace(address))
	if err != nil {
		return "", fmt.Errorf("address %q: %w: %w", address, err, store.ErrInvalid)
	}
	return key, nil
}

func mailboxKeys(addresses []string) ([]string, error) {
	keys := make([]string, len(addresses))
	for i, text := range addresses {
		var err error
		if keys[i], err = mailboxKey(text); err != nil {
			return nil, err
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

func (a *app) suppressionList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List suppressed addresses, by stream and address", Args: noArgs,
		Example: "  mailchute suppression list --stream outbound\n  mailchute suppression list --reason SpamComplaint --since 7d --json",
	}
	flags := a.listFlags(cmd, "of this `stream` (default: of all)")
	f := cmd.Flags()
	f.StringVar(&flags.reason, "reason", "", "for this `reason`: HardBounce, SpamComplaint or ManualSuppression")
	f.StringVar(&flags.origin, "origin", "", "of this `origin`: Recipient, Customer or Admin")
	since := f.String("since", "", "put there at or after this `time`, or within this duration")
	until := f.String("until", "", "put there before this `time`, or longer ago than this duration")
	limit := f.Int("limit", 50, "at most this many `addresses`")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		filter, err := flags.filter(a)
		if err != nil {
			return err
		}
		if filter.Since, err = parseTime("since", *since, a.now()); err != nil {
			return err
		}
		if filter.Until, err = parseTime("until", *until, a.now()); err != nil {
			return err
		}
		if *limit < 1 {
			return usage("--limit: %d is not positive", *limit)
		}
		return listSuppressions(ctx, a, filter, *limit)
	})
	return cmd
}

func listSuppressions(ctx context.Context, a *admin, f store.SuppressionFilter, limit int) error {
	all, more := []store.Suppression{}, true
	for cursor := ""; more && len(all) < limit; {
		page, next, err := a.store.ListSuppressions(ctx, f, cursor, min(pageSize, limit-len(all)))
		if err != nil {
			return err
		}
		all, cursor, more = append(all, page...), next, next != ""
	}
	if err := a.misnamed(len(all), f.Server, f.Stream); err != nil {
		return err
	}
	return a.print(all, func() error {
		if len(all) == 0 {
			a.say("No address is suppressed that matches.")
			return nil
		}
		t := newTable(a.out, "STREAM", "ADDRESS", "REASON", "ORIGIN", "SINCE", "BY")
		for _, s := range all {
			t.row(s.Stream, s.Address, s.Reason, s.Origin, s.Created, dash(s.By))
		}
		if err := t.flush(); err != nil {
			return err
		}
		if more {
			a.say("There is more: raise --limit, or filter.")
		}
		return nil
	})
}

func (a *app) suppressionShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ADDRESS", Short: "Show on which lists an address is and was, and why", Args: cobra.ExactArgs(1),
		Example: "  mailchute suppression show ada@example.org",
	}
	flags := a.listFlags(cmd, "only this `stream`")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		key, err := mailboxKey(args[0])
		if err != nil {
			return err
		}
		server, err := serverOf(a.store.Snapshot(), flags.server)
		if err != nil {
			return err
		}
		history := []store.SuppressionChange{}
		for _, stream := range a.store.Snapshot().StreamsOf(server.ID) {
			if flags.stream != "" && flags.stream != stream.ID {
				continue
			}
			changes, err := a.store.SuppressionHistory(ctx, server.ID, stream.ID, key)
			if err != nil {
				return err
			}
			history = append(history, changes...)
		}
		if err := a.misnamed(len(history), server.ID, flags.stream); err != nil {
			return err
		}
		return a.print(history, func() error { return printHistory(a, key, history) })
	})
	return cmd
}

func printHistory(a *admin, address string, history []store.SuppressionChange) error {
	if len(history) == 0 {
		a.say("%s is on no list and never was.", printable(address))
		return nil
	}
	t := newTable(a.out, "STREAM", "PUT THERE", "REASON", "ORIGIN", "BY", "MESSAGE", "TAKEN OFF", "BY")
	for _, c := range history {
		about := "-"
		if !c.Message.IsZero() {
			about = c.Message.String()
		}
		t.row(c.Stream, c.Created, c.Reason, c.Origin, dash(c.By), about, c.Removed, dash(c.RemovedBy))
	}
	return t.flush()
}

// suppressionResult is what add, remove and import print.
type suppressionResult struct {
	DryRun  bool                `json:"dry_run"`
	Changed int                 `json:"changed"`
	Same    int                 `json:"same"` // were so already
	Kept    []store.Suppression `json:"kept,omitempty"`
	Invalid int                 `json:"invalid,omitempty"`
}

func (a *app) suppressionAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add ADDRESS...", Short: "Suppress addresses: the stream writes to them no more", Args: cobra.MinimumNArgs(1),
		Example: "  mailchute suppression add --stream outbound ada@example.org\n  mailchute suppression add --stream broadcast --origin Recipient ada@example.org",
	}
	flags := a.listFlags(cmd, "the `stream`")
	cmd.Flags().StringVar(&flags.reason, "reason", string(store.SuppressedManually), "the `reason`: HardBounce, SpamComplaint or ManualSuppression")
	cmd.Flags().StringVar(&flags.origin, "origin", string(store.OriginAdmin), "the `origin`: Recipient, Customer or Admin")
	dryRun := cmd.Flags().Bool("dry-run", false, "only count")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		stream, err := flags.one(a)
		if err != nil {
			return err
		}
		draft, err := flags.draft(a, stream)
		if err != nil {
			return err
		}
		keys, err := mailboxKeys(args)
		if err != nil {
			return err
		}
		batch := make([]store.Suppression, len(keys))
		for i, key := range keys {
			batch[i] = draft
			batch[i].Address = key
		}
		r := suppressionResult{DryRun: *dryRun}
		if err := addSuppressions(ctx, a, batch, &r); err != nil {
			return err
		}
		return a.print(r, func() error { a.say("%s", r.added(stream.ID)); return nil })
	})
	return cmd
}

// draft is a suppression without its address.
func (v *listFlags) draft(a *admin, stream store.Stream) (s store.Suppression, err error) {
	s = store.Suppression{Server: stream.Server, Stream: stream.ID, Created: a.now(), By: a.by}
	s.Reason, s.Origin, err = v.why()
	return s, err
}

// addSuppressions adds to the counts. In a dry run it only looks.
func addSuppressions(ctx context.Context, a *admin, batch []store.Suppression, r *suppressionResult) error {
	if !r.DryRun {
		n, err := a.store.Suppress(ctx, batch...)
		r.Changed, r.Same = r.Changed+n, r.Same+len(batch)-n
		return err
	}
	for _, s := range batch {
		found, err := a.store.Suppressed(ctx, s.Server, s.Stream, s.Address)
		if err != nil {
			return err
		}
		r.Changed, r.Same = r.Changed+1-len(found), r.Same+len(found)
	}
	return nil
}

func (r suppressionResult) added(where string) string {
	what := fmt.Sprintf("%d addresses suppressed on %s, %d were already.", r.Changed, where, r.Same)
	if r.DryRun {
		what = fmt.Sprintf("Dry run: %d addresses would be suppressed on %s, %d are already.", r.Changed, where, r.Same)
	}
	if r.Invalid > 0 {
		what += fmt.Sprintf(" %d lines were left out.", r.Invalid)
	}
	return what
}

func (a *app) suppressionRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove ADDRESS...", Short: "Reactivate addresses: the stream writes to them again", Args: cobra.MinimumNArgs(1),
		Long: `Reactivate addresses. Complaints and unsubscriptions stand for what a person said: they stay
unless --force says that this person wants the mail after all.`,
		Example: "  mailchute suppression remove --stream outbound ada@example.org --dry-run",
	}
	flags := a.listFlags(cmd, "the `stream`")
	force := cmd.Flags().Bool("force", false, "take off complaints and unsubscriptions too")
	dryRun := cmd.Flags().Bool("dry-run", false, "only count")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		stream, err := flags.one(a)
		if err != nil {
			return err
		}
		keys, err := mailboxKeys(args)
		if err != nil {
			return err
		}
		r := suppressionResult{DryRun: *dryRun}
		if err := removeSuppressions(ctx, a, stream, keys, *force, &r); err != nil {
			return err
		}
		return a.print(r, func() error { return printRemoved(a, stream, r) })
	})
	return cmd
}

func removeSuppressions(ctx context.Context, a *admin, stream store.Stream, keys []string, force bool, r *suppressionResult) (err error) {
	if !r.DryRun {
		r.Changed, r.Kept, err = a.store.Reactivate(ctx, store.Reactivation{
			Server: stream.Server, Stream: stream.ID, Addresses: keys, Binding: force, By: a.by, At: a.now(),
		})
		r.Same = len(keys) - r.Changed - len(r.Kept)
		return err
	}
	found, err := a.store.Suppressed(ctx, stream.Server, stream.ID, keys...)
	for _, s := range found {
		if s.Binding() && !force {
			r.Kept = append(r.Kept, s)
		}
	}
	r.Changed, r.Same = len(found)-len(r.Kept), len(keys)-len(found)
	return err
}

func printRemoved(a *admin, stream store.Stream, r suppressionResult) error {
	if r.DryRun {
		a.say("Dry run: %d addresses would be reactivated on %s, %d are not suppressed.", r.Changed, stream.ID, r.Same)
	} else {
		a.say("%d addresses reactivated on %s, %d were not suppressed.", r.Changed, stream.ID, r.Same)
	}
	for _, s := range r.Kept {
		a.say("Kept: %s, %s by the %s since %s; --force takes it off.", printable(s.Address), s.Reason, s.Origin, when(s.Created))
	}
	return nil
}
