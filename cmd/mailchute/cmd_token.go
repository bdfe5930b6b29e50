package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

func (a *app) tokenCommand() *cobra.Command {
	return a.group("token", "API tokens of the account and of servers",
		a.group("account", "Account API tokens: for account endpoints, never for SMTP",
			a.accountTokenList(), a.accountTokenCreate(), a.accountTokenShow(), a.accountTokenRevoke()),
		a.group("server", "Server API tokens: for a server's endpoints, and for SMTP as username and password at once",
			a.serverTokenList(), a.serverTokenCreate(), a.serverTokenShow(), a.serverTokenRevoke()))
}

// tokenView is an API token for output. Token is masked unless it was asked for.
type tokenView struct {
	ID      int64     `json:"id"`
	Server  int64     `json:"server,omitempty"`
	Name    string    `json:"name"`
	Token   string    `json:"token"`
	Created time.Time `json:"created"`
}

// mask leaves the last four characters, enough to tell tokens apart.
func mask(token string) string {
	if len(token) < 12 {
		return "****"
	}
	return "****" + token[len(token)-4:]
}

func (a *admin) viewAccountToken(t store.AccountToken, reveal bool) (tokenView, error) {
	token, err := auth.RevealAccountToken(a.keyring, t)
	if err == nil && !reveal {
		token = mask(token)
	}
	return tokenView{ID: t.ID, Name: t.Name, Token: token, Created: t.Created}, err
}

func (a *admin) viewServerToken(t store.ServerToken, reveal bool) (tokenView, error) {
	token, err := auth.RevealServerToken(a.keyring, t)
	if err == nil && !reveal {
		token = mask(token)
	}
	return tokenView{ID: t.ID, Server: t.Server, Name: t.Name, Token: token, Created: t.Created}, err
}

func (a *admin) printTokens(views []tokenView) error {
	return a.print(views, func() error {
		t := newTable(a.out, "ID", "NAME", "TOKEN", "CREATED")
		for _, v := range views {
			t.row(v.ID, dash(v.Name), v.Token, v.Created)
		}
		return t.flush()
	})
}

func viewAll[T any](tokens []T, reveal bool, view func(T, bool) (tokenView, error)) ([]tokenView, error) {
	out := []tokenView{}
	for _, t := range tokens {
		v, err := view(t, reveal)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func nameFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", "", "`name` by which you will know it")
}

func revealFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("reveal", false, "print the tokens in full")
}

func (a *app) accountTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List account tokens, masked", Args: noArgs,
		Example: "  mailchute token account list\n  mailchute token account list --reveal --json",
	}
	reveal := revealFlag(cmd)
	cmd.RunE = a.admin(func(_ context.Context, a *admin, _ []string) error {
		views, err := viewAll(sortedByID(a.store.Snapshot().AccountTokens), *reveal, a.viewAccountToken)
		if err != nil {
			return err
		}
		return a.printTokens(views)
	})
	return cmd
}

func (a *app) accountTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create an account token", Args: noArgs,
		Example: "  mailchute token account create --name terraform",
	}
	name := nameFlag(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		token, t, err := auth.CreateAccountToken(ctx, a.store, a.keyring, *name, a.now())
		if err != nil {
			return err
		}
		return a.print(tokenView{ID: t.ID, Name: t.Name, Token: token, Created: t.Created}, func() error {
			a.say("Account token %d %s\n\n  %s\n\nIt is sent as X-Postmark-Account-Token. SMTP does not take it.", t.ID, dash(t.Name), token)
			return nil
		})
	})
	return cmd
}

func (a *app) accountTokenShow() *cobra.Command {
	return &cobra.Command{
		Use: "show TOKEN", Short: "Print an account token in full, by number or name", Args: cobra.ExactArgs(1),
		Example: "  mailchute token account show 2",
		RunE: a.admin(func(_ context.Context, a *admin, args []string) error {
			t, err := byRef(a.store.Snapshot().AccountTokens, "account token", args[0], accountTokenName)
			if err != nil {
				return err
			}
			v, err := a.viewAccountToken(t, true)
			if err != nil {
				return err
			}
			return a.print(v, func() error { a.say("%s", v.Token); return nil })
		}),
	}
}

func accountTokenName(t store.AccountToken) string { return t.Name }

func (a *app) accountTokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "Revoke an account token at once, by number or name", Args: cobra.ExactArgs(1),
		Example: "  mailchute token account revoke terraform",
		RunE: a.admin(func(ctx context.Context, a *admin, args []string) error {
			t, err := byRef(a.store.Snapshot().AccountTokens, "account token", args[0], accountTokenName)
			if err != nil {
				return err
			}
			if err := auth.RevokeAccountToken(ctx, a.store, t.ID); err != nil {
				return err
			}
			return a.revoked("account token", t.ID, t.Name)
		}),
	}
}

func (a *admin) revoked(kind string, id int64, name string) error {
	done := struct {
		Revoked int64  `json:"revoked"`
		Name    string `json:"name"`
	}{id, name}
	return a.print(done, func() error {
		a.say("Revoked %s %d %s. It is refused from now on, on open connections too.", kind, id, dash(name))
		return nil
	})
}

func (a *app) serverTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the API tokens of a server, masked", Args: noArgs,
		Example: "  mailchute token server list",
	}
	server, reveal := a.serverFlag(cmd), revealFlag(cmd)
	cmd.RunE = a.admin(func(_ context.Context, a *admin, _ []string) error {
		snap := a.store.Snapshot()
		v, err := serverOf(snap, *server)
		if err != nil {
			return err
		}
		views, err := viewAll(tokensOf(snap, v.ID), *reveal, a.viewServerToken)
		if err != nil {
			return err
		}
		return a.printTokens(views)
	})
	return cmd
}

func (a *app) serverTokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: fmt.Sprintf("Create an API token of a server, which has at most %d", store.MaxServerTokens), Args: noArgs,
		Example: "  mailchute token server create --name production",
	}
	server, name := a.serverFlag(cmd), nameFlag(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		v, err := serverOf(a.store.Snapshot(), *server)
		if err != nil {
			return err
		}
		token, t, err := auth.CreateServerToken(ctx, a.store, a.keyring, v.ID, *name, a.now())
		if err != nil {
			return err
		}
		return a.print(tokenView{t.ID, t.Server, t.Name, token, t.Created}, func() error {
			a.say("Server token %d %s of server %d %q\n\n  %s\n", t.ID, dash(t.Name), v.ID, v.Name, token)
			return pasteLines(a.out, a.cfg, token, token)
		})
	})
	return cmd
}

// serverTokenOf finds a server token by number among all, or by name among those
// of the server named.
func serverTokenOf(s *store.Snapshot, serverRef, ref string) (store.ServerToken, error) {
	own := s.ServerTokens
	if serverRef != "" || len(s.Servers) == 1 {
		v, err := serverOf(s, serverRef)
		if err != nil {
			return store.ServerToken{}, err
		}
		own = map[int64]store.ServerToken{}
		for _, t := range tokensOf(s, v.ID) {
			own[t.ID] = t
		}
	}
	return byRef(own, "server token", ref, func(t store.ServerToken) string { return t.Name })
}

func (a *app) serverTokenShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show TOKEN", Short: "Print a server token in full, by number or name", Args: cobra.ExactArgs(1),
		Example: "  mailchute token server show production",
	}
	server := a.serverFlag(cmd)
	cmd.RunE = a.admin(func(_ context.Context, a *admin, args []string) error {
		t, err := serverTokenOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		v, err := a.viewServerToken(t, true)
		if err != nil {
			return err
		}
		return a.print(v, func() error { a.say("%s", v.Token); return nil })
	})
	return cmd
}

func (a *app) serverTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke TOKEN", Short: "Revoke a server token at once, by number or name", Args: cobra.ExactArgs(1),
		Example: "  mailchute token server revoke production",
	}
	server := a.serverFlag(cmd)
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		t, err := serverTokenOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		if err := auth.RevokeServerToken(ctx, a.store, t.ID); err != nil {
			return err
		}
		return a.revoked("server token", t.ID, t.Name)
	})
	return cmd
}
