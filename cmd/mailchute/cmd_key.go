package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/api/unsubscribe"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/store"
)

func (a *app) keyCommand() *cobra.Command {
	return a.group("key", "The key file that seals tokens and DKIM keys",
		&cobra.Command{
			Use: "status", Short: "Show the keys and how many tokens and DKIM keys need each", Args: noArgs,
			Example: "  mailchute key status", RunE: a.admin(keyStatus),
		},
		&cobra.Command{
			Use: "rotate", Short: "Add a key, move the tokens to it, drop keys that nothing needs", Args: noArgs,
			Long: `Add a fresh key to the key file, seal the server and account tokens and the DKIM keys with
it, and remove the keys that nothing needs any more. With bounces.host, a key stays for 35 days
after its successor was made, for the return paths made with it, and with unsubscribe.url for 90
days, for the links. Tokens and DKIM keys do not change. SMTP tokens keep the key that they
were made with, since their secrets are not known: revoke them to be rid of an old key.

Copy the key file to where its backup lies afterwards.`,
			Example: "  mailchute key rotate", RunE: a.admin(keyRotate),
		},
		a.keyReset())
}

func keyStatus(_ context.Context, a *admin, _ []string) error {
	type row struct {
		auth.KeyInfo
		Tokens int
	}
	use := auth.KeysInUse(a.store.Snapshot())
	var rows []row
	for _, k := range a.keyring.Keys() {
		rows = append(rows, row{k, use[k.Number]})
	}
	if err := a.print(rows, func() error {
		a.say("Key file %s\n", a.cfg.KeyFile)
		t := newTable(a.out, "KEY", "CREATED", "USES", "FINGERPRINT")
		for _, r := range rows {
			t.row(fmt.Sprintf("%08x", r.Number), r.Created, r.Tokens, r.Fingerprint)
		}
		return t.flush()
	}); err != nil {
		return err
	}
	return a.keyring.Check(a.store.Snapshot())
}

// keysNeeded counts the tokens of each key, and the keys that made a return path
// or a link to unsubscribe which is still to work.
func keysNeeded(a *admin) map[uint32]int {
	use := auth.KeysInUse(a.store.Snapshot())
	keys := a.keyring.Keys()
	var keep time.Duration
	if a.cfg.Bounces.Host != "" {
		keep = returns.DefaultLifetime
	}
	if a.cfg.Unsubscribe.URL != "" {
		keep = max(keep, unsubscribe.Lifetime)
	}
	for i := 0; i+1 < len(keys); i++ {
		if a.now().Sub(keys[i+1].Created) < keep {
			use[keys[i].Number]++
		}
	}
	return use
}

func keyRotate(ctx context.Context, a *admin, _ []string) error {
	added, err := a.keyring.Rotate(a.now())
	if err != nil {
		return err
	}
	moved, err := a.keyring.Rekey(ctx, a.store)
	if err != nil {
		return err
	}
	removed, err := a.keyring.Prune(keysNeeded(a))
	if err != nil {
		return err
	}
	return a.print(map[string]any{"added": added, "moved": moved, "removed": len(removed)}, func() error {
		a.say("Added key %08x, moved %d tokens and domains to it, removed %d keys that nothing needs.", added.Number, moved, len(removed))
		a.say("Copy %s to where its backup lies.", a.cfg.KeyFile)
		return nil
	})
}

func (a *app) keyReset() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reset", Short: "Delete the tokens and DKIM keys that this key file cannot open, when the right one is lost", Args: noArgs,
		Long: `Delete every token that the present key file can neither verify nor open. This is the way on when
the right key file is lost for good; their clients need new tokens. DKIM keys go in the same way;
"mailchute domain rotate" makes new ones. Servers, streams, domains, queue and messages stay.`,
		Example: "  mailchute key reset --yes",
	}
	yes := cmd.Flags().Bool("yes", false, "really delete them")
	cmd.PreRun = func(*cobra.Command, []string) { a.newKey = *yes }
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		lost := len(a.keyring.Reset(a.store.Snapshot()))
		if !*yes {
			return usage("this would delete %d tokens for good: add --yes", lost)
		}
		if lost > 0 {
			if _, err := store.Update(ctx, a.store, func(s *store.Snapshot) ([]store.Change, error) {
				return a.keyring.Reset(s), nil
			}); err != nil {
				return fmt.Errorf("deleting tokens: %w", err)
			}
		}
		return a.print(map[string]int{"deleted": lost}, func() error {
			a.say("Deleted %d tokens that the key file cannot open.", lost)
			return nil
		})
	})
	return cmd
}
