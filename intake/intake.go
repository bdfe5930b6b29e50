// Package intake is the only way in: a principal, an envelope and octets become
// a message that is checked, routed to one stream and durable. SMTP and HTTP
// both end here, so both have the same rules.
//
// Failure semantics: Submit returns an ID only after the engine has made the
// message and its deliveries durable. With any error nothing has been queued,
// except where the error wraps store.ErrUnknown, when the engine cannot tell.
package intake

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Envelope is what a front end knows of a submission before its octets.
type Envelope struct {
	Principal  auth.Principal
	From       string // reverse-path as message.Address.String writes it; "" is the null reverse-path
	Recipients []Recipient
	UTF8       bool
	EightBit   bool
	Ret        string // RFC 3461 RET
	EnvID      string // RFC 3461 ENVID, decoded
	RequireTLS bool   // RFC 8689 REQUIRETLS
	// Controls are instructions that came beside the header; where they and the
	// X-PM-* fields differ they count, except that two streams are refused.
	Controls message.Controls
	// Request makes the submission take effect once; nil: see store.Stream.Dedupe.
	Request *Request

	Client   netip.Addr
	Hello    string // the client's EHLO name, as given
	Protocol string // RFC 3848 word: ESMTPSA, UTF8SMTPSA, ESMTPA …
	TLS      string // version and cipher for the trace field, "" without TLS
}

// Recipient is one forward-path of an envelope.
type Recipient struct {
	Address string // as message.Address.String writes it
	Notify  string // RFC 3461 NOTIFY, "" when not given
	ORcpt   string // RFC 3461 ORCPT as type;address, decoded
}

// Directory is what intake reads of the store's directory.
type Directory interface {
	Snapshot() *store.Snapshot
}

// Options tunes an Intake. Zero values mean the defaults named.
type Options struct {
	Hostname       string               // our name in trace fields and Message-IDs; required
	MaxSize        int64                // octets of content; 50 MiB
	Header         message.HeaderLimits // 100 KiB and 1,000 fields
	Loop           message.LoopLimits   // 100 Received fields, 3 of them ours
	MaxLine        int                  // octets of a text line; 998
	Expire         time.Duration        // how long delivery is tried; 5 days
	PrivateTrace   bool                 // leave the client's name and address out of Received
	UnsubscribeURL string               // before the tokens of hosted links to unsubscribe, with its last slash; "": none
	Destinations   Destinations         // what is known of domains; nil: nothing
	Suppressions   Suppressions         // the lists of the streams; nil: none
	Known          Known                // what was accepted, for what comes twice; nil: all is new
	Now            func() time.Time     // time.Now
}

const (
	defaultMaxSize = 50 << 20
	defaultExpire  = 5 * 24 * time.Hour
)

func (o Options) withDefaults() Options {
	if o.MaxSize == 0 {
		o.MaxSize = defaultMaxSize
	}
	if o.Expire == 0 {
		o.Expire = defaultExpire
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Intake takes submissions. It is safe for concurrent use and holds no state of
// its own beyond its collaborators.
type Intake struct {
	directory Directory
	store     store.Intake
	opts      Options
	scratch   sync.Pool // of *scratch
	same      sameLocks
}

// scratch is memory that a submission uses from its first octet to its commit.
// A new one for each message would be the greater part of all that a small one
// allocates.
type scratch struct {
	header     [8 << 10]byte  // the header section and what was read with it
	copy       [32 << 10]byte // content on its way into a draft
	source     source
	submission submission
}

// New returns an Intake that stores into s under the rules of d.
func New(d Directory, s store.Intake, opts Options) *Intake {
	i := &Intake{directory: d, store: s, opts: opts.withDefaults()}
	i.scratch.New = func() any { return new(scratch) }
	return i
}

// CheckSender tells whether the principal may use the reverse-path, as far as
// that can be said before the header is known. The null reverse-path is for
// everyone: the From field is still checked. The error is a *Refusal.
func (i *Intake) CheckSender(p auth.Principal, from message.Address) error {
	snap := i.directory.Snapshot()
	if from.IsNull() {
		return nil
	}
	return checkSender(snap, snap.Servers[p.Server], from)
}

func checkSender(snap *store.Snapshot, server store.Server, from message.Address) error {
	if !server.VerifiedOnly && len(snap.Signatures) == 0 {
		return nil
	}
	domain, err := message.Destination(from)
	switch {
	case err == nil && snap.UnconfirmedSender(from.Local, domain):
		return &Refusal{Kind: KindSender, Reason: "sender is a signature of this account that is not confirmed"}
	case !server.VerifiedOnly, err == nil && snap.VerifiedSender(from.Local, domain):
		return nil
	}
	return &Refusal{Kind: KindSender, Reason: "sender is not a verified domain or signature of this account", Err: err}
}

// CheckRecipient tells whether the forward-path can be sent to at all, as far as
// that is known without waiting. The error is a *Refusal.
func (i *Intake) CheckRecipient(p auth.Principal, to message.Address) error {
	domain, err := message.Destination(to)
	if err != nil || to.Domain == "" {
		return &Refusal{Kind: KindRecipient, Reason: "recipient has no domain that mail can be sent to", Err: err}
	}
	if err := drained(i.directory.Snapshot(), domain); err != nil {
		return err
	}
	if why := i.refusing(domain); why != nil && onlyDirect(i.directory.Snapshot(), p) {
		return why
	}
	return nil
}

// Submit reads content to its end and makes it one durable message in the
// stream that the principal and the header select. Content is what stood
// between DATA and the final dot, dots unstuffed, or the octets of BDAT.
//
// A message that came before, as far as Envelope.Request or the stream's Dedupe
// asks to recognise that, is not stored again: the ID is that of the first.
//
// Rules that it breaks give a *Refusal. An error of content's own Read is
// returned wrapped, so that the front end recognises its own; the message error
// classes among them become a *Refusal too.
func (i *Intake) Submit(ctx context.Context, e Envelope, content io.Reader) (store.ID, error) {
	memory := i.scratch.Get().(*scratch)
	defer i.recycle(memory)
	source, s := &memory.source, &memory.submission
	source.r = content
	*s = submission{Intake: i, envelope: e, snap: i.directory.Snapshot(), now: i.opts.Now(), id: store.NewID(), memory: memory}
	s.content = message.NewCanonical(source, message.CanonicalOptions{MaxLine: i.opts.MaxLine, MaxSize: i.opts.MaxSize})
	err := s.run(ctx)
	switch {
	case err == nil:
		return s.id, nil
	case source.err != nil && !refusable(source.err):
		return store.ID{}, fmt.Errorf("reading content: %w", source.err)
	default:
		return store.ID{}, refusal(err)
	}
}

// recycle keeps the memory of a submission for the next one, and nothing that it
// points to.
func (i *Intake) recycle(m *scratch) {
	m.source, m.submission = source{}, submission{}
	i.scratch.Put(m)
}

// source remembers the error of the front end's own reader, which must not be
// taken for one of the engine.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
