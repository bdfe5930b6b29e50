package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Confirmer asks the owner of a sender address to confirm it.
type Confirmer interface {
	// Ask returns when the question is on its way. A *intake.Refusal says why it
	// is not.
	Ask(ctx context.Context, g store.Signature) error
}

func senderRoutes() []route {
	const one = "/senders/{sender}"
	return []route{
		{method: "GET", path: "/senders", role: forAccount, handle: listSenders},
		{method: "POST", path: "/senders", role: forAccount, handle: createSender},
		{method: "GET", path: one, role: forAccount, handle: getSender},
		{method: "PUT", path: one, role: forAccount, handle: editSender},
		{method: "DELETE", path: one, role: forAccount, handle: deleteSender},
		{method: "POST", path: one + "/resend", role: forAccount, handle: resendSender},
		{method: "POST", path: one + "/verifyspf", role: forAccount, handle: getSender},
		{method: "POST", path: one + "/requestnewdkim", role: forAccount, handle: rotateSender},
	}
}

type senderItem struct {
	ID                  int64
	Domain              string
	EmailAddress        string
	ReplyToEmailAddress string
	Name                string
	Confirmed           bool
}

// senderView is a sender with what its domain has in DNS.
type senderView struct {
	senderItem
	domainState
	domainRecords
	ConfirmationPersonalNote string
}

func itemOf(g store.Signature) senderItem {
	return senderItem{g.ID, hostOf(g.Email), g.Email, g.ReplyTo, g.Name, !g.Verified.IsZero()}
}

func hostOf(email string) string { return email[strings.LastIndexByte(email, '@')+1:] }

func (c *call) viewSender(g store.Signature) senderView {
	d, _ := domainOf(c.snapshot(), hostOf(g.Email))
	return senderView{itemOf(g), stateOf(d), c.recordsOf(d), g.Note}
}

// domainOf returns the domain of the account that signs for a host: itself or
// the nearest above it.
func domainOf(snap *store.Snapshot, host string) (best store.Domain, ok bool) {
	for _, d := range snap.Domains {
		if (host == d.Name || strings.HasSuffix(host, "."+d.Name)) && len(d.Name) > len(best.Name) {
			best, ok = d, true
		}
	}
	return best, ok
}

func listSenders(c *call) (any, *Error) {
	p, e := c.page(CodeSenderQuery)
	if e != nil {
		return nil, e
	}
	all := slices.SortedFunc(maps.Values(c.snapshot().Signatures), func(a, b store.Signature) int { return cmp.Compare(a.ID, b.ID) })
	list := struct {
		TotalCount       int
		SenderSignatures []senderItem
	}{TotalCount: len(all), SenderSignatures: []senderItem{}}
	for _, g := range cut(all, p) {
		list.SenderSignatures = append(list.SenderSignatures, itemOf(g))
	}
	return list, nil
}

type senderRequest struct {
	FromEmail                                                      string
	Name, ReplyToEmail, ReturnPathDomain, ConfirmationPersonalNote *string
}

const maxNote = 400

// apply puts what can be edited into the signature.
func (r senderRequest) apply(g *store.Signature) *Error {
	for _, f := range []struct {
		name string
		from *string
		into *string
		most int
	}{
		{"Name", r.Name, &g.Name, maxName}, {"ReplyToEmail", r.ReplyToEmail, &g.ReplyTo, maxName},
		{"ConfirmationPersonalNote", r.ConfirmationPersonalNote, &g.Note, maxNote},
	} {
		if f.from == nil {
			continue
		}
		*f.into = strings.TrimSpace(*f.from)
		if utf8.RuneCountInString(*f.into) > f.most {
			return refuse(CodeSenderLong, "The '%s' is longer than %d characters.", f.name, f.most)
		}
		text := *f.into
		if f.into == &g.Note { // may have lines
			text = strings.NewReplacer("\r\n", " ", "\n", " ").Replace(text)
		}
		if hasControl(text) {
			return refuse(CodeSenderField, "The '%s' has a control character.", f.name)
		}
	}
	if g.Name == "" {
		return refuse(CodeSenderMissing, "The sender needs a 'Name'.")
	}
	if g.ReplyTo == "" {
		return nil
	}
	if address, err := message.ParsePath(g.ReplyTo, true); err != nil || domainName(address.Domain) == "" || strings.ContainsAny(g.ReplyTo, "<>") {
		return refuse(CodeSenderField, "The 'ReplyToEmail' is not an email address.")
	}
	return nil
}

// senderAddress reads the address of a sender to be added: the form in which it
// is stored, and its parts.
func senderAddress(text string) (email, local, host string, _ *Error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", "", "", refuse(CodeSenderMissing, "The sender needs a 'FromEmail'.")
	case len(text) > maxName:
		return "", "", "", refuse(CodeSenderLong, "The 'FromEmail' is longer than %d characters.", maxName)
	}
	address, err := message.ParsePath(text, true)
	if err == nil && !strings.ContainsAny(text, "<>") {
		host = domainName(address.Domain)
	}
	switch {
	case host == "":
		return "", "", "", refuse(CodeSenderField, "The 'FromEmail' is not an email address.")
	case slices.Contains(publicDomains, host):
		return "", "", "", refuse(CodePublicDomain, "Mail of the public domain '%s' cannot be sent from here.", host)
	}
	return address.Local + "@" + host, address.Local, host, nil
}

// createSender stores an address that waits to be confirmed, with a domain where
// the account has none that signs for it, and asks the owner to confirm it.
func createSender(c *call) (any, *Error) {
	var req senderRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	email, local, host, e := senderAddress(req.FromEmail)
	if e != nil {
		return nil, e
	}
	g := store.Signature{Email: email, Created: c.opts.Now()}
	if e := req.apply(&g); e != nil {
		return nil, e
	}
	exists := refuse(CodeSenderExists, "The sender signature '%s' exists already.", email)
	if _, there := c.snapshot().SignatureOf(local, host); there {
		return nil, exists
	}
	if e := c.domainFor(host, req.ReturnPathDomain); e != nil {
		return nil, e
	}
	if e := c.update(func(snap *store.Snapshot) ([]store.Change, *Error) {
		if _, there := snap.SignatureOf(local, host); there {
			return nil, exists
		}
		g.ID = snap.NextID(0)
		return []store.Change{{Signature: &g}}, nil
	}); e != nil {
		return nil, e
	}
	if c.opts.Confirmer != nil {
		if err := c.opts.Confirmer.Ask(c.context(), g); err != nil { // it can be sent again
			c.opts.Log.Warn("sender not asked to confirm", "request", c.id, "sender", g.ID, "err", err)
		}
	}
	return c.viewSender(g), nil
}

// domainFor sees to it that the account has a domain that signs for the host,
// and gives it the return path, where one is asked for.
func (c *call) domainFor(host string, wanted *string) *Error {
	d, there := domainOf(c.snapshot(), host)
	name := d.Name
	if !there {
		name = host
	}
	path, e := returnPath(textOf(wanted), name, CodeSenderField)
	if e != nil {
		return e
	}
	var err error
	if !there {
		if d, err = c.opts.Domains.Add(c.context(), host); errors.Is(err, store.ErrExists) {
			d, err = domainByName(c.snapshot(), host), nil // somebody was quicker
		}
	}
	if err == nil && wanted != nil {
		_, err = c.opts.Domains.SetReturnPath(c.context(), d.ID, path)
	}
	_, e = c.changedDomain(d, err)
	return e
}

func domainByName(snap *store.Snapshot, name string) store.Domain {
	for _, d := range snap.Domains {
		if d.Name == name {
			return d
		}
	}
	return store.Domain{}
}

var errSenderUnknown = *refuse(CodeSenderUnknown, "The sender signature was not found.")

// sender finds the signature that the path names.
func (c *call) sender(snap *store.Snapshot) (store.Signature, *Error) {
	id, _ := strconv.ParseInt(c.r.PathValue("sender"), 10, 64)
	g, ok := snap.Signatures[id]
	if !ok {
		return g, &errSenderUnknown
	}
	return g, nil
}

func getSender(c *call) (any, *Error) {
	g, e := c.sender(c.snapshot())
	if e != nil {
		return nil, e
	}
	return c.viewSender(g), nil
}

func editSender(c *call) (any, *Error) {
	var req senderRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	g, e := c.sender(c.snapshot())
	switch {
	case e != nil:
		return nil, e
	case req == senderRequest{FromEmail: req.FromEmail}:
		return nil, refuse(CodeNothing, "The request has nothing to change.")
	}
	if e := req.apply(&g); e != nil {
		return nil, e
	}
	if req.ReturnPathDomain != nil {
		if e := c.domainFor(hostOf(g.Email), req.ReturnPathDomain); e != nil {
			return nil, e
		}
	}
	if e := c.update(func(snap *store.Snapshot) (_ []store.Change, e *Error) {
		if g, e = c.sender(snap); e != nil {
			return nil, e
		}
		return []store.Change{{Signature: &g}}, req.apply(&g)
	}); e != nil {
		return nil, e
	}
	return c.viewSender(g), nil
}

func deleteSender(c *call) (any, *Error) {
	var g store.Signature
	e := c.update(func(snap *store.Snapshot) (_ []store.Change, e *Error) {
		g, e = c.sender(snap)
		return []store.Change{{Delete: true, Signature: &g}}, e
	})
	return removed{Message: "Signature " + g.Email + " removed."}, e
}

// askAgain is when somebody who was asked too often can be asked again.
const askAgain = 10 * time.Minute

func resendSender(c *call) (any, *Error) {
	g, e := c.sender(c.snapshot())
	switch {
	case e != nil:
		return nil, e
	case !g.Verified.IsZero():
		return nil, refuse(CodeSenderConfirmed, "This sender signature is already confirmed.")
	case c.opts.Confirmer == nil:
		return nil, refuse(CodeUnsupported, "This server sends no confirmation emails; its operator confirms senders.")
	}
	err := c.opts.Confirmer.Ask(c.context(), g)
	var r *intake.Refusal
	switch {
	case err == nil:
		return removed{Message: "Confirmation email for Sender Signature " + g.Email + " was re-sent."}, nil
	case errors.As(err, &r) && r.Kind == intake.KindSuppressed:
		return nil, inactive(r)
	case errors.As(err, &r) && r.Kind == intake.KindBusy:
		return nil, &Error{Status: http.StatusTooManyRequests, Code: CodeRateLimit, RetryAfter: askAgain, Message: capital(r.Reason) + "."}
	case errors.As(err, &r) && r.Kind == intake.KindFull:
		return nil, &errFull
	}
	return nil, c.unexpected("asking a sender to confirm", err)
}

// rotateSender makes a new key for the domain that signs for the sender.
func rotateSender(c *call) (any, *Error) {
	g, e := c.sender(c.snapshot())
	if e != nil {
		return nil, e
	}
	d, there := domainOf(c.snapshot(), hostOf(g.Email))
	if !there {
		return nil, &errDomainUnknown
	}
	if _, e := c.changedDomain(c.opts.Domains.Rotate(c.context(), d.ID, false)); e != nil {
		return nil, e
	}
	return c.viewSender(g), nil
}

// replyTo is the Reply-To that the sender's signature has, for a message that
// names none.
func (c *call) replyTo(from message.Address) string {
	snap := c.snapshot()
	if len(snap.Signatures) == 0 {
		return ""
	}
	host, err := message.Destination(from)
	if err != nil {
		return ""
	}
	g, _ := snap.SignatureOf(from.Local, host)
	return g.ReplyTo
}
