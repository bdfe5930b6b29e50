package confirm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/mailchute/mailchute/api/page"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/compose"
	"github.com/mailchute/mailchute/store"
)

// Submitter takes messages: intake.Intake.
type Submitter interface {
	Submit(ctx context.Context, e intake.Envelope, content io.Reader) (store.ID, error)
}

// Options tunes a Desk. Zero values mean the defaults named.
type Options struct {
	URL    string          // what stands before tokens; required
	Prefix string          // its path; "/"
	From   message.Address // of the messages; required
	// Stream finds the stream that they go through; required.
	Stream   func(*store.Snapshot) (store.Stream, bool)
	Lifetime time.Duration    // of a link; 7 days
	Log      *slog.Logger     // discarded
	Now      func() time.Time // time.Now
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "/"
	}
	if o.Lifetime <= 0 {
		o.Lifetime = 7 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Desk sends questions and takes answers. It is safe for concurrent use.
type Desk struct {
	directory store.Directory
	keys      Keys
	intake    Submitter
	opts      Options
	pages     page.Pages
	questions questions
}

// New returns a Desk.
func New(d store.Directory, k Keys, in Submitter, opts Options) *Desk {
	return &Desk{directory: d, keys: k, intake: in, opts: opts.withDefaults(), pages: page.New(pageText)}
}

// ErrNoStream: the stream that questions go through is not there.
var ErrNoStream = errors.New("the stream for confirmations does not exist")

// Ask sends the question to the signature's address. It is durable when Ask
// returns. A *intake.Refusal says why it is not.
func (d *Desk) Ask(ctx context.Context, g store.Signature) error {
	if !d.questions.allow(g.ID, d.opts.Now()) {
		return &intake.Refusal{Kind: intake.KindBusy, Reason: "the owner of this address has been asked often enough for now"}
	}
	snap := d.directory.Snapshot()
	stream, ok := d.opts.Stream(snap)
	if !ok {
		return ErrNoStream
	}
	to, err := message.ParsePath(g.Email, true)
	if err != nil {
		return fmt.Errorf("address of sender %d: %w", g.ID, err)
	}
	var octets bytes.Buffer
	if _, err := d.letter(snap, g, to).WriteTo(&octets); err != nil {
		return fmt.Errorf("writing to sender %d: %w", g.ID, err)
	}
	id, err := d.intake.Submit(ctx, intake.Envelope{
		Principal:  auth.Principal{Kind: store.CredentialConfirmation, Server: stream.Server, Stream: stream.ID},
		From:       d.opts.From.String(),
		Recipients: []intake.Recipient{{Address: to.String()}},
		UTF8:       !to.ASCII() || !d.opts.From.ASCII(),
		Protocol:   "local",
	}, &octets)
	if err != nil {
		return fmt.Errorf("writing to sender %d: %w", g.ID, err)
	}
	d.opts.Log.Info("sender asked to confirm", "sender", g.ID, "message", id)
	return nil
}

func (d *Desk) letter(snap *store.Snapshot, g store.Signature, to message.Address) *compose.Letter {
	who := snap.Account.Name
	if who == "" {
		who = "Somebody"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Hello,\n\n%s wants to send mail as %s <%s>.\n", who, g.Name, g.Email)
	if g.Note != "" {
		fmt.Fprintf(&text, "\nThey write:\n\n%s\n", quoted(g.Note))
	}
	fmt.Fprintf(&text, "\nIf that is right, follow this link within %d days and press the button:\n\n%s\n\nIf it is not, do nothing: without it, nothing is sent in your name.\n",
		int(d.opts.Lifetime.Hours()/24), d.opts.URL+token(d.keys, g, d.opts.Now().Add(d.opts.Lifetime)))
	return &compose.Letter{
		From: message.Mailbox{Address: d.opts.From}, To: []message.Mailbox{{Name: g.Name, Address: to}},
		Subject: "Confirm your sender address " + g.Email, Text: text.String(),
		Fields: []compose.Field{{Name: "Auto-Submitted", Value: "auto-generated"}}, // RFC 3834 5
	}
}

// quoted marks every line of a stranger's text.
func quoted(note string) string {
	return "> " + strings.Join(strings.Split(strings.ReplaceAll(note, "\r\n", "\n"), "\n"), "\n> ")
}
