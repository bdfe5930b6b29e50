package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Domains and sender signatures work alike: list, add, verify, delete.

func (a *app) domainCommand() *cobra.Command {
	return a.group("domain", "Sender domains of the account",
		a.senderList("List domains", "domain", listDomains),
		a.senderAct("add DOMAIN", "Add a domain", "  mailchute domain add example.com", addDomain),
		a.senderAct("verify DOMAIN", "Mark a domain as verified, on your word", "  mailchute domain verify example.com", verifyDomain),
		a.senderAct("delete DOMAIN", "Delete a domain", "  mailchute domain delete example.com", deleteDomain))
}

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

func listDomains(_ context.Context, a *admin, _ []string) error {
	all := sortedByID(a.store.Snapshot().Domains)
	return a.print(all, func() error {
		t := newTable(a.out, "ID", "DOMAIN", "VERIFIED", "CREATED")
		for _, d := range all {
			t.row(d.ID, d.Name, verified(d.Verified), d.Created)
		}
		return t.flush()
	})
}

// domainName returns the form in which domains are stored and compared.
func domainName(text string) (string, error) {
	address, err := message.ParsePath("x@"+text, true)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w: %w", text, err, store.ErrInvalid)
	}
	name, err := message.Destination(address)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", fmt.Errorf("domain %q is not a domain name: %w", text, store.ErrInvalid)
	}
	return name, nil
}

func addDomain(ctx context.Context, a *admin, args []string) error {
	name, err := domainName(args[0])
	if err != nil {
		return err
	}
	var d store.Domain
	_, err = store.Update(ctx, a.store, func(s *store.Snapshot) ([]store.Change, error) {
		d = store.Domain{ID: s.NextID(0), Name: name, Created: a.now()}
		return []store.Change{{Domain: &d}}, nil
	})
	if err != nil {
		return fmt.Errorf("adding domain: %w", err)
	}
	return a.print(d, func() error {
		a.say("Added domain %d %s, not verified. Mark it with \"mailchute domain verify %s\" when it is yours.", d.ID, d.Name, d.Name)
		return nil
	})
}

func (a *admin) domain(text string) (store.Domain, error) {
	if name, err := domainName(text); err == nil {
		text = name
	}
	return byRef(a.store.Snapshot().Domains, "domain", text, func(d store.Domain) string { return d.Name })
}

func verifyDomain(ctx context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	d.Verified = a.now()
	if err := a.change(ctx, store.Change{Domain: &d}); err != nil {
		return fmt.Errorf("verifying domain: %w", err)
	}
	return a.print(d, func() error {
		a.say("Domain %s is verified: servers with --verified-only take every sender of it.", d.Name)
		return nil
	})
}

func deleteDomain(ctx context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	if err := a.change(ctx, store.Change{Delete: true, Domain: &d}); err != nil {
		return fmt.Errorf("deleting domain: %w", err)
	}
	return a.print(d, func() error { a.say("Deleted domain %d %s.", d.ID, d.Name); return nil })
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
		a.say("Added sender %d %s, not verified. Mark it with \"mailchute sender verify %s\" when it is yours.", g.ID, g.Email, g.Email)
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
		a.say("Sender %s is verified: servers with --verified-only take it.", g.Email)
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
