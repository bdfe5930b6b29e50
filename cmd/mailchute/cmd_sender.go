package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

func (a *app) senderCommand() *cobra.Command {
	return a.group("sender", "Sender signatures: single addresses of the account",
		a.senderList("List sender signatures", "sender", listSenders),
		a.senderAct("add ADDRESS", "Add a sender signature", "  mailchute sender add billing@example.com", addSender),
		a.senderAct("verify ADDRESS", "Mark a signature as verified, on your word", "  mailchute sender verify billing@example.com", verifySender),
		a.senderAct("delete ADDRESS", "Delete a signature", "  mailchute sender delete billing@example.com", deleteSender))
}

func (a *app) senderList(short, noun string, run adminFunc) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: short, Args: noArgs,
		Example: fmt.Sprintf("  mailchute %s list", noun),
		RunE:    a.admin(run),
	}
}

func (a *app) senderAct(use, short, example string, run adminFunc) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), Example: example, RunE: a.admin(run)}
}

func verified(at time.Time) string {
	if at.IsZero() {
		return "no"
	}
	return when(at)
}

// change makes one change that does not depend on what is there.
func (a *admin) change(ctx context.Context, c store.Change) error {
	_, err := store.Update(ctx, a.store, func(*store.Snapshot) ([]store.Change, error) { return []store.Change{c}, nil })
	return err
}

func listSenders(_ context.Context, a *admin, _ []string) error {
	all := sortedByID(a.store.Snapshot().Signatures)
	return a.print(all, func() error {
		t := newTable(a.out, "ID", "ADDRESS", "NAME", "VERIFIED", "CREATED")
		for _, g := range all {
			t.row(g.ID, g.Email, dash(g.Name), verified(g.Verified), g.Created)
		}
		return t.flush()
	})
}

// senderAddress returns the form in which signatures are stored.
func senderAddress(text string) (string, error) {
	address, err := message.ParsePath(text, true)
	if err != nil {
		return "", fmt.Errorf("address %q: %w: %w", text, err, store.ErrInvalid)
	}
	domain, err := message.Destination(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w: %w", text, err, store.ErrInvalid)
	}
	return address.Local + "@" + domain, nil
}

func addSender(ctx context.Context, a *admin, args []string) error {
	email, err := senderAddress(args[0])
	if err != nil {
		return err
	}
	var g store.Signature
	_, err = store.Update(ctx, a.store, func(s *store.Snapshot) ([]store.Change, error) {
		g = store.Signature{ID: s.NextID(0), Email: email, Created: a.now()}
		return []store.Change{{Signature: &g}}, nil
	})
	if err != nil {
		return fmt.Errorf("adding sender: %w", err)
	}
	return a.print(g, func() error {
		a.say("Added sender %d %s, not verified: no server takes mail from it before. Mark it with \"mailchute sender verify %s\" when it is yours.", g.ID, g.Email, g.Email)
		return nil
	})
}

func (a *admin) sender(text string) (store.Signature, error) {
	if email, err := senderAddress(text); err == nil {
		text = email
	}
	return byRef(a.store.Snapshot().Signatures, "sender", text, func(g store.Signature) string { return g.Email })
}

func verifySender(ctx context.Context, a *admin, args []string) error {
	g, err := a.sender(args[0])
	if err != nil {
		return err
	}
	g.Verified = a.now()
	if err := a.change(ctx, store.Change{Signature: &g}); err != nil {
		return fmt.Errorf("verifying sender: %w", err)
	}
	return a.print(g, func() error {
		a.say("Sender %s is verified: all servers take it.", g.Email)
		return nil
	})
}

func deleteSender(ctx context.Context, a *admin, args []string) error {
	g, err := a.sender(args[0])
	if err != nil {
		return err
	}
	if err := a.change(ctx, store.Change{Delete: true, Signature: &g}); err != nil {
		return fmt.Errorf("deleting sender: %w", err)
	}
	return a.print(g, func() error { a.say("Deleted sender %d %s.", g.ID, g.Email); return nil })
}
