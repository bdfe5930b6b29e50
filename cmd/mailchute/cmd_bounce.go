package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

func (a *app) bounceCommand() *cobra.Command {
	return a.group("bounce", "Bounces: what was refused or came back, and what it means",
		a.bounceList(), a.bounceShow())
}

// bounceView is one entry of a timeline that has a bounce type.
type bounceView struct {
	ID        int64           `json:"id"` // in the API
	Message   store.ID        `json:"message"`
	Stream    string          `json:"stream"`
	At        time.Time       `json:"at"`
	Kind      store.EventKind `json:"kind"`
	Type      string          `json:"type"`
	TypeCode  int             `json:"type_code"`
	Name      string          `json:"name"`
	Recipient string          `json:"recipient"`
	Reply     store.Reply     `json:"reply,omitzero"`
	Detail    string          `json:"detail,omitempty"`
	// Kept is the message that came back, as far as it was kept; zero where the
	// refusal was an answer in the session.
	Kept store.ID `json:"kept,omitzero"`
}

// bouncesOf lists the bounces of a message, newest first.
func bouncesOf(r store.Record) []bounceView {
	out := []bounceView{}
	for _, e := range r.Events {
		if e.Bounce == "" {
			continue
		}
		info := bounce.Type(e.Bounce).Info()
		out = append(out, bounceView{
			ID: e.BounceID(r.Message.ID), Message: r.Message.ID, Stream: r.Message.Stream, At: e.At, Kind: e.Kind, Type: e.Bounce, TypeCode: info.Code, Name: info.Name,
			Recipient: e.Recipient, Reply: e.Reply, Detail: e.Detail, Kept: e.Notice,
		})
	}
	slices.Reverse(out)
	return out
}

func (a *app) bounceList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List what was refused or came back, the newest messages first", Args: noArgs,
		Example: "  mailchute bounce list\n  mailchute bounce list --type HardBounce --since 7d --json",
	}
	flags, limit := a.filterFlags(cmd), limitFlag(cmd)
	kind := cmd.Flags().String("type", "", "of this `type`, by name or code, such as HardBounce, SoftBounce or SpamComplaint")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		f, err := flags.filter(a)
		if err != nil {
			return err
		}
		wanted, err := parseBounceType(*kind)
		if err != nil {
			return err
		}
		bounces, more, err := listBounces(ctx, a, f, wanted, *limit)
		if err != nil {
			return err
		}
		return a.print(bounces, func() error { return printBounces(a, bounces, more) })
	})
	return cmd
}

// parseBounceType reads a name in any case, or a code. "" is any type.
func parseBounceType(text string) (bounce.Type, error) {
	if text == "" {
		return "", nil
	}
	var names []string
	for _, t := range bounce.Types() {
		if strings.EqualFold(text, string(t.Type)) || text == fmt.Sprint(t.Code) {
			return t.Type, nil
		}
		names = append(names, string(t.Type))
	}
	return "", usage("--type: %q is none of %s", text, strings.Join(names, ", "))
}

// listBounces returns the bounces of up to limit messages that have one of the type, and whether there are more.
func listBounces(ctx context.Context, a *admin, f store.Filter, wanted bounce.Type, limit int) (out []bounceView, more bool, err error) {
	if limit < 1 {
		return nil, false, usage("--limit: %d is not positive", limit)
	}
	f.Bounce, out = true, []bounceView{}
	for cursor, messages := "", 0; ; {
		page, next, err := a.store.List(ctx, f, cursor, pageSize)
		if err != nil {
			return nil, false, fmt.Errorf("listing bounces: %w", err)
		}
		for _, r := range page {
			found := slices.DeleteFunc(bouncesOf(r), func(b bounceView) bool { return wanted != "" && b.Type != string(wanted) })
			if len(found) == 0 {
				continue
			}
			if messages++; messages > limit {
				return out, true, nil
			}
			out = append(out, found...)
		}
		if cursor = next; cursor == "" {
			return out, false, a.misnamed(len(out), f.Server, f.Stream)
		}
	}
}

func printBounces(a *admin, bounces []bounceView, more bool) error {
	if len(bounces) == 0 {
		a.say("Nothing was refused or came back that matches.")
		return nil
	}
	t := newTable(a.out, "MESSAGE", "WHEN", "TYPE", "RECIPIENT", "HOW", "ANSWER")
	for _, b := range bounces {
		t.row(b.Message, b.At, b.Type, b.Recipient, b.how(), dash(b.Reply.Line()))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if more {
		a.say("There is more: raise --limit, or filter.")
	}
	return nil
}

// how tells an answer in the session from what came later.
func (b bounceView) how() string {
	switch {
	case b.Kind == store.EventExpired:
		return "expired"
	case b.Kept.IsZero():
		return "refused"
	}
	return "came back"
}

func (a *app) bounceShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show MESSAGE", Short: "Show what was refused or came back of one message", Args: cobra.ExactArgs(1),
		Example: "  mailchute bounce show 01890a5d-ac96-774b-bcce-b302099a8057\n  mailchute bounce show --dump 01890a5d-ac96-774b-bcce-b302099a8057",
	}
	dump := cmd.Flags().Bool("dump", false, "write what came back last, as it came, and nothing else")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		r, err := a.record(ctx, args[0])
		if err != nil {
			return err
		}
		bounces := bouncesOf(r)
		if *dump {
			return dumpBounce(ctx, a, bounces)
		}
		return a.print(bounces, func() error { return printBounceDetails(a, bounces) })
	})
	return cmd
}

func printBounceDetails(a *admin, bounces []bounceView) error {
	if len(bounces) == 0 {
		a.say("Nothing of this message was refused, and nothing came back.")
		return nil
	}
	for i, b := range bounces {
		if i > 0 {
			a.say("")
		}
		t := newTable(a.out)
		t.row("Number", fmt.Sprintf("%d, in the API", b.ID))
		t.row("Recipient", b.Recipient)
		t.row("When", b.At)
		t.row("Type", fmt.Sprintf("%s (%d): %s", b.Type, b.TypeCode, b.Name))
		t.row("How", b.how())
		t.row("Answer", dash(b.Reply.Line()))
		t.row("Host", dash(b.Reply.Host))
		t.row("Detail", dash(b.Detail))
		if !b.Kept.IsZero() {
			t.row("Kept as", b.Kept)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// dumpBounce writes the newest message that came back.
func dumpBounce(ctx context.Context, a *admin, bounces []bounceView) (err error) {
	i := slices.IndexFunc(bounces, func(b bounceView) bool { return !b.Kept.IsZero() })
	if i < 0 {
		return fmt.Errorf("nothing came back that was kept: %w", store.ErrNotFound)
	}
	body, err := a.store.Body(ctx, bounces[i].Kept)
	if err != nil {
		return fmt.Errorf("what came back, message %s: %w", bounces[i].Kept, err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	_, err = io.Copy(a.out, body)
	return err
}
