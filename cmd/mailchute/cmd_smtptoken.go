package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

func (a *app) smtpTokenCommand() *cobra.Command {
	return a.group("smtp-token", "SMTP tokens: access key and secret key for one stream",
		a.smtpTokenList(), a.smtpTokenCreate(), a.smtpTokenRevoke())
}

// smtpTokenView is an SMTP token for output. SecretKey is set at creation only:
// nobody knows it afterwards.
type smtpTokenView struct {
	ID        int64     `json:"id"`
	Server    int64     `json:"server"`
	Stream    string    `json:"stream"`
	Name      string    `json:"name"`
	AccessKey string    `json:"access_key"`
	SecretKey string    `json:"secret_key,omitempty"`
	Created   time.Time `json:"created"`
}

func viewSMTPToken(t store.SMTPToken) smtpTokenView {
	return smtpTokenView{ID: t.ID, Server: t.Server, Stream: t.Stream, Name: t.Name, AccessKey: t.AccessKey, Created: t.Created}
}

func (a *app) smtpTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the SMTP tokens of a server", Args: noArgs,
		Example: "  mailchute smtp-token list\n  mailchute smtp-token list --stream broadcast",
	}
	server := a.serverFlag(cmd)
	stream := cmd.Flags().String("stream", "", "only those of one `stream`")
	a.completeFlag(cmd, "stream", a.completeStreams)
	cmd.RunE = a.admin(func(_ context.Context, a *admin, _ []string) error {
		snap := a.store.Snapshot()
		v, err := serverOf(snap, *server)
		if err != nil {
			return err
		}
		views := []smtpTokenView{}
		for _, t := range smtpTokensOf(snap, v.ID) {
			if *stream == "" || t.Stream == *stream {
				views = append(views, viewSMTPToken(t))
			}
		}
		if err := a.misnamed(len(views), v.ID, *stream); err != nil {
			return err
		}
		return a.print(views, func() error {
			t := newTable(a.out, "ID", "STREAM", "NAME", "ACCESS KEY", "CREATED")
			for _, v := range views {
				t.row(v.ID, v.Stream, dash(v.Name), v.AccessKey, v.Created)
			}
			return t.flush()
		})
	})
	return cmd
}

func (a *app) smtpTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create an SMTP token; its secret key is printed this once", Args: noArgs,
		Example: "  mailchute smtp-token create --stream outbound --name \"web shop\"",
	}
	server, name := a.serverFlag(cmd), nameFlag(cmd)
	stream := cmd.Flags().String("stream", "outbound", "the `stream` that it may send to")
	a.completeFlag(cmd, "stream", a.completeStreams)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		_, s, err := streamOf(a.store.Snapshot(), *server, *stream)
		if err != nil {
			return err
		}
		pair, t, err := auth.CreateSMTPToken(ctx, a.store, a.keyring, store.StreamKey{Server: s.Server, Stream: s.ID}, *name, a.now())
		if err != nil {
			return err
		}
		view := viewSMTPToken(t)
		view.SecretKey = pair.Secret
		return a.print(view, func() error {
			a.say("SMTP token %d %s for stream %q of server %d\n", t.ID, dash(t.Name), t.Stream, t.Server)
			a.say("  access key (username)  %s\n  secret key (password)  %s\n", pair.AccessKey, pair.Secret)
			a.say("The secret key is not stored and will not be shown again.\n")
			return pasteLines(a.out, a.cfg, pair.AccessKey, pair.Secret)
		})
	})
	return cmd
}

func (a *app) smtpTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke TOKEN", Short: "Revoke an SMTP token at once, by number, access key or name", Args: cobra.ExactArgs(1),
		Example: "  mailchute smtp-token revoke \"web shop\"",
	}
	server := a.serverFlag(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		t, err := smtpTokenOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		if err := auth.RevokeSMTPToken(ctx, a.store, t.ID); err != nil {
			return err
		}
		return a.revoked("SMTP token", t.ID, t.Name)
	})
	return cmd
}

func smtpTokenOf(s *store.Snapshot, serverRef, ref string) (store.SMTPToken, error) {
	own := s.SMTPTokens
	if serverRef != "" {
		v, err := serverOf(s, serverRef)
		if err != nil {
			return store.SMTPToken{}, err
		}
		own = map[int64]store.SMTPToken{}
		for _, t := range smtpTokensOf(s, v.ID) {
			own[t.ID] = t
		}
	}
	for _, t := range own {
		if t.AccessKey == ref {
			return t, nil
		}
	}
	return byRef(own, "SMTP token", ref, func(t store.SMTPToken) string { return t.Name })
}
