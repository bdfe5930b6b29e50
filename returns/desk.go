package returns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// Store is what a Desk needs of an engine.
type Store interface {
	Snapshot() *store.Snapshot
	Begin(ctx context.Context) (store.Draft, error)
	Return(ctx context.Context, r store.Return) error
	Record(ctx context.Context, id store.ID) (store.Record, error)
	Body(ctx context.Context, id store.ID) (io.ReadCloser, error)
}

// Options configures a Desk.
type Options struct {
	Host     string // of the return paths, beside those of the domains; required
	Hostname string // our name in notices and trace fields; required
	Tags     Tags
	Log      *slog.Logger // nil: no log
	// Suppressor is told of addresses that are dead or complained; nil means nobody is.
	Suppressor relay.Suppressor
	// Postmaster is where mail to postmaster and abuse goes, through the stream that PostmasterStream names. Where either
	// is missing, it is kept and goes nowhere.
	Postmaster       string
	PostmasterStream func(*store.Snapshot) (store.Stream, bool)
	// MailboxRate is how many messages an hour postmaster and abuse take together; 0 means 120.
	MailboxRate int
	// NoticeLifetime is how long a notice to the sender, or mail to Postmaster, is tried; 0 means 5 days.
	NoticeLifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MailboxRate == 0 {
		o.MailboxRate = 120
	}
	if o.NoticeLifetime == 0 {
		o.NoticeLifetime = 5 * 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Desk takes what comes back. It is a smtpd.Submitter for a receiving server, and safe for concurrent use.
type Desk struct {
	store   Store
	opts    Options
	mailbox *rate.Limiter
	large   *semaphore.Weighted // messages of more than maxKept in memory
	// turns keep what comes back for one message in turn, so that the limits hold; each is held across the look at the
	// message and the record of what came.
	turns [64]sync.Mutex
}

// NewDesk returns a Desk.
func NewDesk(s Store, opts Options) (*Desk, error) {
	opts = opts.withDefaults()
	if opts.Host == "" || opts.Hostname == "" || opts.Tags.Keys == nil {
		return nil, errors.New("the way back needs a host, a host name and keys")
	}
	opts.Host = strings.ToLower(opts.Host)
	perHour := rate.Limit(float64(opts.MailboxRate) / 3600)
	return &Desk{store: s, opts: opts, mailbox: rate.NewLimiter(perHour, max(opts.MailboxRate/4, 1)), large: semaphore.NewWeighted(largeAtOnce)}, nil
}

// target is whom something is for: the operator, or what a tag stands for.
type target struct {
	mailbox bool
	id      store.ID
	number  int
}

// lookupTime bounds the question whether a message is known.
const lookupTime = 10 * time.Second

// CheckSender takes everybody: hosts bounce with the null reverse-path, programs and persons answer with theirs.
func (d *Desk) CheckSender(auth.Principal, message.Address) error { return nil }

// CheckRecipient takes valid tags of messages that we know, and postmaster and abuse (RFC 5321 4.5.1, RFC 2142). All
// else is refused with a *intake.Refusal here, before any content: what is taken is never bounced.
func (d *Desk) CheckRecipient(_ auth.Principal, to message.Address) error {
	t, err := d.target(to)
	switch {
	case err != nil:
		return err
	case t.mailbox && !d.mailbox.AllowN(d.opts.Now(), 1):
		return &intake.Refusal{Kind: intake.KindBusy, Reason: "too much mail for this address, try again later"}
	case t.mailbox:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	r, err := d.store.Record(ctx, t.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("looking up message %s: %w", t.id, err)
	}
	delivery, index, ok := r.Numbered(t.number)
	if err != nil || !ok {
		return noMailbox(errors.New("message is not known any more"))
	}
	return d.takes(r, delivery, index)
}

// takes tells whether something may come back for a recipient: not too much in all, and not before the result of the
// attempt is known that it may be about. Until then the recipient counts as queued, and a failure would change nothing.
func (d *Desk) takes(r store.Record, delivery store.Delivery, index int) error {
	rcpt := delivery.Recipients[index]
	switch {
	case comeBack(r, rcpt.Address) >= maxReturns:
		return noMailbox(errors.New("too much has come back for this recipient"))
	case rcpt.State == store.Queued && delivery.Lease.After(d.opts.Now()):
		return &intake.Refusal{Kind: intake.KindBusy, Reason: "the message is still being handed over, try again later"}
	}
	return nil
}

// maxReturns is how much is taken for one recipient of a message. Who was sent a tag could else fill the disk with it.
const maxReturns = 20

func comeBack(r store.Record, address string) int {
	n := 0
	for _, e := range r.Events {
		if e.Recipient == address && !e.Notice.IsZero() && e.Kind != store.EventNotice {
			n++
		}
	}
	return n
}

func (d *Desk) target(to message.Address) (target, error) {
	ours := to.Domain == "" || d.serves(to.Domain)
	local := strings.ToLower(to.Local)
	if (local == "postmaster" || local == "abuse") && (ours || strings.EqualFold(to.Domain, d.opts.Hostname)) {
		return target{mailbox: true}, nil
	}
	id, number, err := d.opts.Tags.Check(to.Local, to.Domain, d.opts.Now())
	switch {
	case err == nil: // the MAC covers the host: we made it there, whether or not it is a host of ours still
		return target{id: id, number: number}, nil
	case !ours:
		return target{}, &intake.Refusal{Kind: intake.KindRelaying, Reason: "mail for this domain is not taken here"}
	}
	return target{}, noMailbox(err)
}

// serves tells whether a host is for return paths: ours, or that of a domain of the account.
func (d *Desk) serves(host string) bool {
	if strings.EqualFold(host, d.opts.Host) {
		return true
	}
	_, ok := d.store.Snapshot().ReturnDomain(host)
	return ok
}

// addressed takes an address apart that CheckRecipient has taken: its local part is a tag or a word.
func addressed(s string) message.Address {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return message.Address{Local: s}
	}
	return message.Address{Local: s[:i], Domain: s[i+1:]}
}

func noMailbox(err error) error {
	return &intake.Refusal{Kind: intake.KindNoMailbox, Reason: "no such address here", Err: err}
}

// Submit reads content to its end and makes what it says durable. Its ID names what was kept of it.
func (d *Desk) Submit(ctx context.Context, e intake.Envelope, content io.Reader) (store.ID, error) {
	if len(e.Recipients) != 1 {
		return store.ID{}, fmt.Errorf("%d recipients instead of one", len(e.Recipients))
	}
	t, err := d.target(addressed(e.Recipients[0].Address))
	if err != nil {
		return store.ID{}, err
	}
	raw, forget, err := d.read(content)
	defer forget()
	if err != nil {
		return store.ID{}, err
	}
	report, err := bounce.Parse(bytes.NewReader(raw))
	if err != nil {
		return store.ID{}, err
	}
	in := arrival{envelope: e, raw: raw, report: report, at: d.opts.Now()}
	if t.mailbox {
		if found, ok := d.complained(in); ok {
			return d.record(ctx, found, in)
		}
		return d.toOperator(ctx, in)
	}
	return d.record(ctx, t, in)
}

// largeAtOnce is how many messages of more than maxKept are in memory at a time. Whoever was sent a tag can send them, as
// slowly as the limits of a transfer let him, over as many connections.
const largeAtOnce = 32

// read reads what comes to its end, and keeps all of it until forget, or maxKept of it where too many large ones are
// there: reports come first in it.
func (d *Desk) read(content io.Reader) (raw []byte, forget func(), err error) {
	b := bytes.NewBuffer(make([]byte, 0, 4<<10))
	forget = func() {}
	size, err := io.CopyN(b, content, maxKept)
	var rest io.Writer = io.Discard
	if err == nil && d.large.TryAcquire(1) {
		rest, forget = b, func() { d.large.Release(1) }
	}
	if err == nil {
		var n int64
		n, err = io.Copy(rest, io.LimitReader(content, bounce.MaxSize+1-size))
		size += n
	}
	switch {
	case err != nil && err != io.EOF: // also one that wraps io.EOF: the message is torn
		return nil, forget, fmt.Errorf("reading content: %w", err)
	case size > bounce.MaxSize:
		return nil, forget, &intake.Refusal{Kind: intake.KindTooLarge, Reason: "message is larger than this server accepts"}
	}
	return b.Bytes(), forget, nil
}

// arrival is one message that came in.
type arrival struct {
	envelope intake.Envelope
	raw      []byte
	report   bounce.Report
	at       time.Time
}

var tagInText = regexp.MustCompile(`(?i)\bb[0-9a-z]{46}@[a-z0-9.-]+`)

// maxCandidates is how many tags of a complaint are tried, and complaintSearch where they are looked for.
const (
	maxCandidates   = 20
	complaintSearch = 256 << 10
)

// complained finds the message that a complaint to abuse or postmaster is about by the tag in the copy of its header. A
// tag is proof: only who had the message can have it.
func (d *Desk) complained(in arrival) (target, bool) {
	if in.report.Kind != bounce.Complaint {
		return target{}, false
	}
	text := in.report.ReturnPath + " " + string(in.raw[:min(len(in.raw), complaintSearch)])
	for _, found := range tagInText.FindAllString(text, maxCandidates) {
		local, domain, _ := strings.Cut(found, "@")
		domain = strings.TrimRight(domain, ".-")
		if id, number, err := d.opts.Tags.Check(local, domain, in.at); err == nil {
			return target{id: id, number: number}, true
		}
	}
	return target{}, false
}
