package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/webhook"
)

func (a *app) webhookCommand() *cobra.Command {
	return a.group("webhook", "Webhooks: endpoints that the events of a stream are sent to",
		a.webhookList(), a.webhookAdd(), a.webhookRemove(), a.webhookKey(), a.webhookTest(), a.webhookDead(), a.webhookReplay())
}

// webhookView is a webhook for output, without its secrets.
type webhookView struct {
	ID       int64                   `json:"id"`
	Server   int64                   `json:"server"`
	Stream   string                  `json:"stream"`
	URL      string                  `json:"url"`
	Triggers []store.Trigger         `json:"triggers"`
	Created  time.Time               `json:"created"`
	Key      string                  `json:"signing_key,omitempty"`
	Queue    store.NotificationQueue `json:"queue,omitzero"`
}

func viewWebhook(w store.Webhook) webhookView {
	v := webhookView{ID: w.ID, Server: w.Server, Stream: w.Stream, URL: w.URL, Triggers: w.Triggers.List(), Created: w.Created}
	if v.Triggers == nil {
		v.Triggers = []store.Trigger{}
	}
	return v
}

func triggerNames(all []store.Trigger) string {
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = string(t)
	}
	return dash(strings.Join(names, ","))
}

func (a *app) webhookList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List webhooks, with what waits for each and its last error", Args: noArgs,
		Example: "  mailchute webhook list\n  mailchute webhook list --stream outbound --json",
	}
	server := a.serverFlag(cmd)
	stream := cmd.Flags().String("stream", "", "only those of one `stream`")
	a.completeFlag(cmd, "stream", a.completeStreams)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		snap := a.store.Snapshot()
		v, err := serverOf(snap, *server)
		if err != nil {
			return err
		}
		views := []webhookView{}
		for _, w := range snap.WebhooksOf(v.ID) {
			if *stream != "" && w.Stream != *stream {
				continue
			}
			queues, err := a.store.NotificationQueues(ctx, w.ID)
			if err != nil {
				return err
			}
			view := viewWebhook(w)
			for _, q := range queues { // one, unless it was removed meanwhile
				view.Queue = q
			}
			views = append(views, view)
		}
		if err := a.misnamed(len(views), v.ID, *stream); err != nil {
			return err
		}
		return a.print(views, func() error { return printWebhooks(a, views) })
	})
	return cmd
}

func printWebhooks(a *admin, views []webhookView) error {
	if len(views) == 0 {
		a.say("There is no webhook.")
		return nil
	}
	t := newTable(a.out, "ID", "STREAM", "URL", "TRIGGERS", "WAITING", "DEAD", "OLDEST", "NEXT TRY", "LAST ERROR")
	for _, v := range views {
		t.row(v.ID, v.Stream, printable(v.URL), triggerNames(v.Triggers), v.Queue.Waiting, v.Queue.Dead, v.Queue.Oldest, v.Queue.NextDue, dash(printable(v.Queue.Last.Error)))
	}
	return t.flush()
}

// webhookFlags say what a webhook is to be.
type webhookFlags struct {
	server, stream, url   string
	triggers              []string
	content               bool
	authFile, headersFile string
}

func (a *app) webhookAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add", Short: "Add a webhook; prints its signing key", Args: noArgs,
		Long: `Add a webhook. Passwords do not belong into a command line: the login is in a file as
user:password, further header fields in another, one "Name: value" a line.`,
		Example: `  mailchute webhook add --stream outbound --url https://app.example.com/hooks --trigger bounce --trigger spamcomplaint
  mailchute webhook add --stream broadcast --url https://app.example.com/hooks --trigger all --auth-file hook.auth`,
	}
	v := &webhookFlags{}
	f := cmd.Flags()
	f.StringVar(&v.server, "server", "", "server, by `name` or number (default: the only one)")
	f.StringVar(&v.stream, "stream", "outbound", "the `stream` whose events are sent")
	f.StringVar(&v.url, "url", "", "where to: a `URL` that begins with https:// or http://")
	f.StringSliceVar(&v.triggers, "trigger", nil, "a `kind` of event: delivery, bounce, spamcomplaint, subscriptionchange, open, click or all; repeatable")
	f.BoolVar(&v.content, "content", false, "send with bounces and complaints what came back")
	f.StringVar(&v.authFile, "auth-file", "", "`file` that holds user:password")
	f.StringVar(&v.headersFile, "headers-file", "", "`file` that holds header fields")
	a.completeFlag(cmd, "server", a.completeServers)
	a.completeFlag(cmd, "stream", a.completeStreams)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		w, err := v.add(ctx, a)
		if err != nil {
			return err
		}
		return a.print(w, func() error {
			a.say("Webhook %d of stream %q: %s to %s\n", w.ID, w.Stream, triggerNames(w.Triggers), printable(w.URL))
			a.say("  signing key  %s\n", w.Key)
			a.say("\"mailchute webhook key %d\" shows it again; \"mailchute webhook test %d\" sends a sample of each event.", w.ID, w.ID)
			return nil
		})
	})
	return cmd
}

func (v *webhookFlags) add(ctx context.Context, a *admin) (webhookView, error) {
	_, stream, err := streamOf(a.store.Snapshot(), v.server, v.stream)
	if err != nil {
		return webhookView{}, err
	}
	w := store.Webhook{Server: stream.Server, Stream: stream.ID, URL: v.url, Created: a.now()}
	if w.Triggers, err = v.wanted(); err != nil {
		return webhookView{}, err
	}
	secrets, err := v.secrets(a)
	if err != nil {
		return webhookView{}, err
	}
	u, err := a.cfg.Webhooks.guard().CheckURL(v.url)
	switch {
	case errors.Is(err, webhook.ErrInternal):
		return webhookView{}, exitWith(exitData, "--url: %w; webhooks.allow could permit it", err)
	case err != nil:
		return webhookView{}, exitWith(exitData, "--url: %w", err)
	case u.User != nil:
		return webhookView{}, usage("--url: user and password would be in the list of processes; use --auth-file")
	case !stream.Archived.IsZero():
		return webhookView{}, exitWith(exitData, "--stream: stream %q is archived", stream.ID)
	}
	_, err = store.Update(ctx, a.store, func(snap *store.Snapshot) (_ []store.Change, err error) {
		w.ID = snap.NextID(0)
		w.Sealed, err = a.keyring.SealWebhook(w.ID, secrets)
		return []store.Change{{Webhook: &w}}, err
	})
	view := viewWebhook(w)
	view.Key = webhook.FormatKey(secrets.Key)
	return view, err
}

// wanted reads the triggers.
func (v *webhookFlags) wanted() (t store.Triggers, err error) {
	if len(v.triggers) == 0 {
		return t, usage("name at least one event with --trigger")
	}
	for _, name := range v.triggers {
		known := false
		for k, to := range map[store.Trigger]*bool{
			store.TriggerOpen: &t.Open, store.TriggerClick: &t.Click, store.TriggerDelivery: &t.Delivery, store.TriggerBounce: &t.Bounce,
			store.TriggerSpamComplaint: &t.SpamComplaint, store.TriggerSubscriptionChange: &t.SubscriptionChange,
		} {
			if strings.EqualFold(name, string(k)) || strings.EqualFold(name, "all") {
				*to, known = true, true
			}
		}
		if !known {
			return t, usage("--trigger: %q is none of delivery, bounce, spamcomplaint, subscriptionchange, open, click, all", name)
		}
	}
	t.BounceContent, t.ComplaintContent = v.content && t.Bounce, v.content && t.SpamComplaint
	return t, nil
}

func (v *webhookFlags) secrets(a *admin) (store.WebhookSecrets, error) {
	s := store.WebhookSecrets{Key: webhook.NewKey()}
	if v.authFile != "" {
		text, err := os.ReadFile(a.abs(v.authFile))
		if err != nil {
			return s, fmt.Errorf("--auth-file: %w", err)
		}
		var ok bool
		if s.Username, s.Password, ok = strings.Cut(strings.TrimRight(string(text), "\r\n"), ":"); !ok {
			return s, exitWith(exitData, "--auth-file: %s does not hold user:password", v.authFile)
		}
	}
	if v.headersFile == "" {
		return s, nil
	}
	text, err := os.ReadFile(a.abs(v.headersFile))
	if err != nil {
		return s, fmt.Errorf("--headers-file: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		s.Headers = append(s.Headers, store.HeaderField{Name: name, Value: strings.TrimSpace(value)})
	}
	if err := webhook.CheckHeaders(s.Headers); err != nil {
		return s, fmt.Errorf("--headers-file: %w", err)
	}
	return s, nil
}

func webhookOf(s *store.Snapshot, ref string) (store.Webhook, error) {
	id, err := strconv.ParseInt(ref, 10, 64)
	if w, there := s.Webhooks[id]; err == nil && there {
		return w, nil
	}
	return store.Webhook{}, fmt.Errorf("webhook %q: %w; \"mailchute webhook list\" shows them", ref, store.ErrNotFound)
}

func (a *app) webhookRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove WEBHOOK", Short: "Remove a webhook, by number, and what waits for it", Args: cobra.ExactArgs(1),
		Example: "  mailchute webhook remove 12",
	}
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		var w store.Webhook
		_, err := store.Update(ctx, a.store, func(snap *store.Snapshot) (_ []store.Change, err error) {
			w, err = webhookOf(snap, args[0])
			return []store.Change{{Delete: true, Webhook: &w}}, err
		})
		if err != nil {
			return err
		}
		return a.print(viewWebhook(w), func() error { a.say("Webhook %d removed.", w.ID); return nil })
	})
	return cmd
}

func (a *app) webhookKey() *cobra.Command {
	cmd := &cobra.Command{
		Use: "key WEBHOOK", Short: "Show the signing key of a webhook", Args: cobra.ExactArgs(1),
		Example: "  mailchute webhook key 12",
	}
	cmd.RunE = a.admin(func(_ context.Context, a *admin, args []string) error {
		w, err := webhookOf(a.store.Snapshot(), args[0])
		if err != nil {
			return err
		}
		s, err := a.keyring.OpenWebhook(w)
		if err != nil {
			return err
		}
		view := viewWebhook(w)
		view.Key = webhook.FormatKey(s.Key)
		return a.print(view, func() error { a.say("%s", view.Key); return nil })
	})
	return cmd
}

func (a *app) webhookTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test WEBHOOK", Short: "Send a sample of each event that a webhook wants", Args: cobra.ExactArgs(1),
		Example: "  mailchute webhook test 12",
	}
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		w, err := webhookOf(a.store.Snapshot(), args[0])
		if err != nil {
			return err
		}
		s, err := a.keyring.OpenWebhook(w)
		if err != nil {
			return err
		}
		opts, err := a.cfg.Webhooks.options(nil, a.cfg.Delivery.Resolver)
		if err != nil {
			return err
		}
		results := webhook.New(a.store, a.keyring, opts).Verify(ctx, w, s)
		failed := 0
		for _, r := range results {
			if !r.OK {
				failed++
			}
		}
		err = a.print(results, func() error {
			t := newTable(a.out, "TRIGGER", "OK", "ANSWER")
			for _, r := range results {
				ok := "no"
				if r.OK {
					ok = "yes"
				}
				t.row(r.Trigger, ok, printable(r.Text))
			}
			return t.flush()
		})
		if err == nil && failed > 0 {
			return exitWith(exitFailed, "%d of %d events were not accepted", failed, len(results))
		}
		return err
	})
	return cmd
}

func (a *app) webhookDead() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dead WEBHOOK", Short: "List the events of a webhook that were given up, newest first", Args: cobra.ExactArgs(1),
		Example: "  mailchute webhook dead 12",
	}
	limit := cmd.Flags().Int("limit", 50, "at most this many `events`")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		w, err := webhookOf(a.store.Snapshot(), args[0])
		if err != nil {
			return err
		}
		if *limit < 1 {
			return usage("--limit: %d is not positive", *limit)
		}
		all, more := []store.Notification{}, true
		for cursor := ""; more && len(all) < *limit; {
			page, next, err := a.store.DeadNotifications(ctx, w.ID, cursor, min(pageSize, *limit-len(all)))
			if err != nil {
				return err
			}
			all, cursor, more = append(all, page...), next, next != ""
		}
		return a.print(all, func() error { return printDead(a, all, more) })
	})
	return cmd
}

func printDead(a *admin, all []store.Notification, more bool) error {
	if len(all) == 0 {
		a.say("No event was given up.")
		return nil
	}
	t := newTable(a.out, "KEY", "TRIGGER", "HAPPENED", "MESSAGE", "RECIPIENT", "TRIES", "GIVEN UP", "LAST ERROR")
	for _, n := range all {
		about, to := "-", n.Event.Recipient
		if !n.Message.IsZero() {
			about = n.Message.String()
		}
		if n.Change != nil {
			to = n.Change.Address
		}
		t.row(n.Key, n.Trigger, n.At(), about, dash(printable(to)), n.Attempt, n.Dead, dash(printable(n.Last.Error)))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if more {
		a.say("There is more: raise --limit.")
	}
	return nil
}

func (a *app) webhookReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay WEBHOOK [KEY...]", Short: "Send events again that were given up: all, or those with the keys", Args: cobra.MinimumNArgs(1),
		Long:    "Send events again that were given up. Each keeps its Webhook-Id, so that the endpoint can tell what it has already.",
		Example: "  mailchute webhook replay 12",
	}
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		w, err := webhookOf(a.store.Snapshot(), args[0])
		if err != nil {
			return err
		}
		n, err := a.store.ReplayNotifications(ctx, w.ID, a.now(), args[1:]...)
		if err != nil {
			return err
		}
		return a.print(struct {
			Replayed int `json:"replayed"`
		}{n}, func() error { a.say("%d events are sent again.", n); return nil })
	})
	return cmd
}
