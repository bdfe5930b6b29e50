package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/store"
)

func (a *app) messageCommand() *cobra.Command {
	return a.group("message", "Messages: everything accepted, with what became of it",
		a.messageList(), a.messageShow(), a.messageRaw())
}

func (a *app) messageList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List messages, newest first", Args: noArgs,
		Example: `  mailchute message list
  mailchute message list --recipient someone@example.org --state bounced
  mailchute message list --server shop --stream outbound --metadata order=4711`,
	}
	flags, limit := a.filterFlags(cmd), limitFlag(cmd)
	subject := cmd.Flags().String("subject", "", "with this `text` in the subject, without regard to case")
	metadata := cmd.Flags().String("metadata", "", "with this `key=value` among the metadata")
	state := cmd.Flags().String("state", "", "with a recipient in this `state`: queued, sent, captured, bounced, expired, cancelled, suppressed")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		f, err := flags.filter(a)
		if err != nil {
			return err
		}
		if f.State, err = parseState(*state); err != nil {
			return err
		}
		f.Subject = *subject
		if *metadata != "" {
			var ok bool
			if f.MetadataKey, f.Metadata, ok = strings.Cut(*metadata, "="); !ok || f.MetadataKey == "" {
				return usage("--metadata: %q is not key=value", *metadata)
			}
		}
		records, more, err := listRecords(ctx, a, f, *limit)
		if err != nil {
			return err
		}
		return a.print(viewRecords(records), func() error { return printMessages(a, records, more) })
	})
	return cmd
}

// recordView is a record for JSON output, with the hash in hexadecimal.
type recordView struct {
	Message    messageView      `json:"message"`
	Deliveries []store.Delivery `json:"deliveries"`
	Events     []store.Event    `json:"events"`
}

type messageView struct {
	store.Message
	BodyHash string `json:"body_hash"` // takes the place of Message's own
}

func viewRecord(r store.Record) recordView {
	return recordView{messageView{r.Message, hex.EncodeToString(r.Message.BodyHash[:])}, r.Deliveries, r.Events}
}

func viewRecords(records []store.Record) []recordView {
	out := make([]recordView, len(records))
	for i, r := range records {
		out[i] = viewRecord(r)
	}
	return out
}

func parseState(text string) (store.State, error) {
	switch s := store.State(text); s {
	case "", store.Queued, store.Sent, store.Captured, store.Bounced, store.Expired, store.Cancelled, store.Suppressed:
		return s, nil
	}
	return "", usage("--state: %q is none of queued, sent, captured, bounced, expired, cancelled, suppressed", text)
}

func printMessages(a *admin, records []store.Record, more bool) error {
	t := newTable(a.out, "MESSAGE", "ACCEPTED", "STREAM", "FROM", "TO", "STATE", "SUBJECT")
	for _, r := range records {
		t.row(r.Message.ID, r.Message.Accepted, r.Message.Stream, sender(r.Message), recipients(r), states(r), dash(r.Message.Header.Subject))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if more {
		a.say("There is more: raise --limit, or filter.")
	}
	return nil
}

func recipients(r store.Record) string {
	first, n := "-", 0
	for _, d := range r.Deliveries {
		for _, rcpt := range d.Recipients {
			if n++; n == 1 {
				first = rcpt.Address
			}
		}
	}
	if n > 1 {
		return fmt.Sprintf("%s +%d", first, n-1)
	}
	return first
}

// states sums up the recipients, as "sent" or "1 sent, 2 queued".
func states(r store.Record) string {
	counts, total := map[store.State]int{}, 0
	for _, d := range r.Deliveries {
		for _, rcpt := range d.Recipients {
			counts[rcpt.State]++
			total++
		}
	}
	var parts []string
	for _, s := range []store.State{store.Queued, store.Sent, store.Captured, store.Bounced, store.Expired, store.Cancelled, store.Suppressed} {
		switch n := counts[s]; {
		case n == 0:
		case n == total:
			return string(s)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return dash(strings.Join(parts, ", "))
}

func (a *app) messageShow() *cobra.Command {
	return &cobra.Command{
		Use: "show MESSAGE", Short: "Show a message with its recipients and timeline", Args: cobra.ExactArgs(1),
		Long: `Show a message with its recipients and timeline. It is named by its ID, or by the return path that
another host has seen it come from.`,
		Example: `  mailchute message show 01890a5d-ac96-774b-bcce-b302099a8057
  mailchute message show b00ahkfm0z9wdc1gmqxh7pr3k2ve0038j4q0w2mzt6y1rcn@bounces.example.com`,
		RunE: a.admin(showMessage),
	}
}

// record finds the message that an argument names: by its ID, or by a return path,
// which is all that other hosts know of it.
func (a *admin) record(ctx context.Context, arg string) (store.Record, error) {
	id, err := store.ParseID(arg)
	if local, host, address := strings.Cut(strings.Trim(arg, "<>"), "@"); address {
		tags := returns.Tags{Keys: a.keyring, Lifetime: a.cfg.Storage.Retention}
		if id, _, err = tags.Check(local, host, a.now()); err != nil {
			return store.Record{}, usage("%s is no return path of ours: %v", arg, err)
		}
	}
	if err != nil {
		return store.Record{}, usage("%v", err)
	}
	return a.store.Record(ctx, id) // its error names the message
}

func showMessage(ctx context.Context, a *admin, args []string) error {
	r, err := a.record(ctx, args[0])
	if err != nil {
		return err
	}
	return a.print(viewRecord(r), func() error { return printRecord(a, r) })
}

// origin says how a message came; one of ours has neither client nor credential.
func origin(m store.Message) string {
	s := dash(m.Protocol)
	if m.Client.IsValid() {
		s += " from " + m.Client.String()
	}
	if m.Credential != "" {
		s += " with " + m.Credential
	}
	return s
}

func printRecord(a *admin, r store.Record) error {
	m := r.Message
	t := newTable(a.out)
	t.row("Message", m.ID)
	t.row("Subject", dash(m.Header.Subject))
	t.row("From", fmt.Sprintf("%s (envelope %s)", dash(m.Header.From), sender(m)))
	t.row("Accepted", when(m.Accepted)+" by "+origin(m))
	t.row("Stream", fmt.Sprintf("%s of server %d", m.Stream, m.Server))
	t.row("Size", fmt.Sprintf("%d octets, SHA-256 %x", m.Size, m.BodyHash[:8]))
	if m.Tag != "" {
		t.row("Tag", m.Tag)
	}
	switch {
	case m.RequireTLS:
		t.row("TLS", "required on all its way (REQUIRETLS)")
	case m.TLSOptional:
		t.row("TLS", "optional, whatever policies say (TLS-Required: No)")
	}
	if m.Bounce || m.Returned {
		t.row("About", m.About)
	}
	if err := t.flush(); err != nil {
		return err
	}
	a.say("")
	if err := printDeliveries(a, r.Deliveries); err != nil {
		return err
	}
	a.say("")
	return printTimeline(a.out, r)
}

func printDeliveries(a *admin, deliveries []store.Delivery) error {
	t := newTable(a.out, "RECIPIENT", "STATE", "TRIES", "DESTINATION", "LAST ANSWER")
	for _, d := range deliveries {
		for _, r := range d.Recipients {
			state := string(r.State)
			if r.State == store.Queued {
				state += ", " + deliveryState(d, a.now())
			}
			t.row(r.Address, state, d.Attempt, d.Destination, dash(r.Last.Line()))
		}
	}
	return t.flush()
}

// printTimeline writes the events with the time since acceptance.
func printTimeline(out io.Writer, r store.Record) error {
	t := newTable(out, "AFTER", "EVENT", "TRY", "RECIPIENT", "WHAT")
	for _, e := range r.Events {
		try := "-"
		if e.Attempt > 0 {
			try = fmt.Sprint(e.Attempt)
		}
		t.row("+"+span(e.At.Sub(r.Message.Accepted)), e.Kind, try, dash(e.Recipient), eventText(e))
	}
	return t.flush()
}

func eventText(e store.Event) string {
	text := e.Reply.Line()
	if e.Reply.Command != "" {
		text = e.Reply.Command + ": " + text
	}
	if e.Bounce != "" {
		text = strings.TrimSuffix(e.Bounce+"; "+text, "; ")
	}
	if e.Detail != "" {
		if text != "" {
			text += "; "
		}
		text += e.Detail
	}
	if e.TLS.Subject != "" {
		text += "; certificate " + e.TLS.Subject
	}
	if !e.Notice.IsZero() {
		text = strings.TrimSpace(text + " " + e.Notice.String())
	}
	return dash(text)
}

func (a *app) messageRaw() *cobra.Command {
	cmd := &cobra.Command{
		Use: "raw MESSAGE", Short: "Write the octets of a message as they are stored, or as they were sent", Args: cobra.ExactArgs(1),
		Long: `Write the octets of a message as they are stored.

With --sent they are as the next hop got them: with the DKIM signatures on top, and the link to
unsubscribe, which is another one for each recipient.`,
		Example: `  mailchute message raw 01890a5d-ac96-774b-bcce-b302099a8057 > message.eml
  mailchute message raw --sent 01890a5d-ac96-774b-bcce-b302099a8057 > sent.eml`,
	}
	sent := cmd.Flags().Bool("sent", false, "as it was handed over")
	recipient := cmd.Flags().String("recipient", "", "with --sent, the copy of this `address` (default: the first handed over)")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		if *recipient != "" && !*sent {
			return usage("--recipient goes with --sent: what is stored is the same for all")
		}
		if *sent {
			return rawSent(ctx, a, args, *recipient)
		}
		return rawMessage(ctx, a, args)
	})
	return cmd
}

// rawSent makes again what the newest copy handed over had on top: that depends
// on nothing but the message, the recipient and the keys.
func rawSent(ctx context.Context, a *admin, args []string, recipient string) error {
	r, err := a.record(ctx, args[0])
	if err != nil {
		return err
	}
	id := r.Message.ID
	at := slices.IndexFunc(r.Events, func(e store.Event) bool {
		return e.Kind == store.EventSent && (recipient == "" || strings.EqualFold(e.Recipient, recipient))
	})
	switch {
	case at < 0 && recipient == "":
		return exitWith(exitUnavailable, "message %s was not handed over to anybody yet", id)
	case at < 0:
		return exitWith(exitUnavailable, "message %s was not handed over for %s", id, recipient)
	}
	top, err := sentTop(ctx, sources{a.store, a.keyring}, r, r.Events[at])
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	if _, err := a.out.Write(top); err != nil {
		return err
	}
	return rawMessage(ctx, a, args)
}

func rawMessage(ctx context.Context, a *admin, args []string) (err error) {
	id, err := store.ParseID(args[0])
	if err != nil {
		return usage("%v", err)
	}
	body, err := a.store.Body(ctx, id)
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if _, err := io.Copy(a.out, body); err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	return nil
}
