package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

func bounceRoutes() []route {
	const one = "/bounces/{bounce}"
	return []route{
		{method: "GET", path: "/deliverystats", handle: deliveryStats},
		{method: "GET", path: "/bounces", handle: listBounces},
		{method: "GET", path: one, handle: getBounce},
		{method: "GET", path: one + "/dump", handle: dumpBounce},
		{method: "PUT", path: one + "/activate", handle: activateBounce},
	}
}

type bounceView struct {
	RecordType    string
	ID            int64
	Type          bounce.Type
	TypeCode      int
	Name          string
	Tag           string
	MessageID     string
	ServerID      int64
	MessageStream string
	Description   string
	Details       string
	Email         string
	From          string
	BouncedAt     string
	DumpAvailable bool
	Inactive      bool
	CanActivate   bool
	Subject       string
	Content       *string `json:",omitempty"` // where one is asked for
}

// found is a bounce with what is known of its message.
type found struct {
	store.Bounce
	event store.Event
	in    store.Record
}

// of finds the event that a bounce is.
func (b *found) of(r store.Record) bool {
	i := slices.IndexFunc(r.Events, func(e store.Event) bool { return e.Bounce != "" && e.BounceID(r.Message.ID) == b.ID })
	if i < 0 {
		return false
	}
	b.in, b.event = r, r.Events[i]
	return true
}

// view makes an answer of a bounce. off is the suppression of its recipient on
// its stream, nil where there is none.
func (b *found) view(off *store.Suppression) bounceView {
	info := bounce.Type(b.Type).Info()
	v := bounceView{
		RecordType: "Bounce", ID: b.ID, Type: info.Type, TypeCode: info.Code, Name: info.Name, Description: info.Description,
		Tag: b.Tag, MessageID: b.Message.String(), ServerID: b.Server, MessageStream: b.Stream, Details: b.event.Diagnostic(), Email: b.Recipient,
		From: b.in.Message.Author(), BouncedAt: stamp(b.At), DumpAvailable: !b.in.Dump(b.event).IsZero(), Subject: b.in.Message.Header.Subject,
	}
	v.Inactive = off != nil && deactivates(b.Type)
	v.CanActivate = v.Inactive && !off.Binding()
	return v
}

// deactivates tells whether a bounce of the type puts the address on the list.
func deactivates(kind string) bool {
	return kind == string(bounce.HardBounce) || kind == string(bounce.SpamComplaint)
}

// listsOf returns which of the recipients of bounces are on the list of their
// stream, by the form that is compared. The bounces are of one stream.
func (c *call) listsOf(all []store.Bounce) (map[string]*store.Suppression, *Error) {
	var keys []string
	for _, b := range all {
		if key, err := message.MailboxKey(b.Recipient); err == nil && deactivates(b.Type) {
			keys = append(keys, key)
		}
	}
	list := map[string]*store.Suppression{}
	if len(keys) == 0 {
		return list, nil
	}
	slices.Sort(keys)
	off, err := c.store.Suppressed(c.context(), all[0].Server, all[0].Stream, slices.Compact(keys)...)
	if err != nil {
		return nil, c.unexpected("looking up suppressions", err)
	}
	for i := range off {
		list[off[i].Address] = &off[i]
	}
	return list, nil
}

func keyOf(address string) string {
	key, _ := message.MailboxKey(address) // "" is on no list
	return key
}

// bounceQuery is what a client looks for.
type bounceQuery struct {
	filter   store.BounceFilter
	inactive *bool
}

func (c *call) bounceQuery() (q bounceQuery, e *Error) {
	q.filter = store.BounceFilter{
		Server: c.principal.Server, Stream: c.query["messagestream"], Tag: c.query["tag"], Recipient: c.query["emailfilter"],
	}
	if q.filter.Stream == "" {
		q.filter.Stream = defaultStream
	}
	if v := c.query["type"]; v != "" {
		i := slices.IndexFunc(bounce.Types(), func(t bounce.TypeInfo) bool { return strings.EqualFold(v, string(t.Type)) || v == strconv.Itoa(t.Code) })
		if i < 0 {
			return q, refuse(CodeBounceQuery, "Parameter 'type' must be a bounce type, such as HardBounce.")
		}
		q.filter.Types = []string{string(bounce.Types()[i].Type)}
	}
	if v := c.query["inactive"]; v != "" {
		is, err := strconv.ParseBool(strings.ToLower(v))
		if err != nil {
			return q, refuse(CodeBounceQuery, "Parameter 'inactive' must be true or false.")
		}
		q.inactive = &is
	}
	if v := c.query["messageid"]; v != "" {
		var err error
		if q.filter.Message, err = store.ParseID(v); err != nil {
			return q, refuse(CodeBounceQuery, "Parameter 'messageID' must be the MessageID of a message.")
		}
	}
	q.filter.Since, q.filter.Until, e = c.span(CodeBounceQuery)
	return q, e
}

type bounceList struct {
	TotalCount int
	Bounces    []bounceView
}

// listBounces counts what matches up to the end of the window.
func listBounces(c *call) (any, *Error) {
	p, e := c.page(CodeBounceQuery)
	if e != nil {
		return nil, e
	}
	q, e := c.bounceQuery()
	if e != nil {
		return nil, e
	}
	ctx, cancel := context.WithTimeout(c.context(), searchTime)
	defer cancel()
	list, matches := bounceList{Bounces: []bounceView{}}, []store.Bounce(nil)
	for cursor := ""; len(matches) < maxWindow; {
		page, next, err := c.store.ListBounces(ctx, q.filter, cursor, suppressionPage)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil, refuse(CodeBounceQuery, "The search took too long. Please narrow it by 'fromdate' and 'todate'.")
		case err != nil:
			return nil, c.unexpected("listing bounces", err)
		}
		if page, e = c.onlyInactive(page, q.inactive); e != nil {
			return nil, e
		}
		matches = append(matches, page...)
		if cursor = next; cursor == "" {
			break
		}
	}
	list.TotalCount = min(len(matches), maxWindow)
	list.Bounces, e = c.viewBounces(cut(matches, p))
	return list, e
}

// onlyInactive leaves those whose address is inactive because of them, or those
// whose is not.
func (c *call) onlyInactive(all []store.Bounce, wanted *bool) ([]store.Bounce, *Error) {
	if wanted == nil || len(all) == 0 {
		return all, nil
	}
	off, e := c.listsOf(all)
	return slices.DeleteFunc(all, func(b store.Bounce) bool {
		return *wanted != (deactivates(b.Type) && off[keyOf(b.Recipient)] != nil)
	}), e
}

// viewBounces leaves out those whose message was pruned meanwhile.
func (c *call) viewBounces(all []store.Bounce) ([]bounceView, *Error) {
	off, e := c.listsOf(all)
	if e != nil {
		return nil, e
	}
	out := []bounceView{}
	for _, b := range all {
		r, err := c.store.Record(c.context(), b.Message)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, c.unexpected("reading a message", err)
		}
		if one := (found{Bounce: b}); one.of(r) {
			out = append(out, one.view(off[keyOf(b.Recipient)]))
		}
	}
	return out, nil
}

// bounce finds the bounce that the path names, if it is the server's own.
func (c *call) bounce() (b found, _ *Error) {
	unknown := refuse(CodeBounceUnknown, "The bounce was not found.")
	id, err := strconv.ParseInt(c.r.PathValue("bounce"), 10, 64)
	if err != nil {
		return b, failure(http.StatusBadRequest, CodeBounceID, "The bounce ID must be a number.")
	}
	b.Bounce, err = c.store.Bounce(c.context(), c.principal.Server, id)
	if err == nil {
		var r store.Record
		if r, err = c.store.Record(c.context(), b.Message); err == nil && b.of(r) {
			return b, nil
		}
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return b, c.unexpected("looking up a bounce", err)
	}
	return b, unknown
}

// content reads what tells of the bounce, "" where that is not there.
func (c *call) content(b found) (string, *Error) {
	id := b.in.Dump(b.event)
	if id.IsZero() {
		return "", nil
	}
	r, err := c.store.Record(c.context(), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", nil
	case err != nil:
		return "", c.unexpected("reading a message", err)
	}
	return c.octets(r)
}

func (c *call) viewBounce(b found) (bounceView, *Error) {
	off, e := c.listsOf([]store.Bounce{b.Bounce})
	if e != nil {
		return bounceView{}, e
	}
	v := b.view(off[keyOf(b.Recipient)])
	text, e := c.content(b)
	v.Content, v.DumpAvailable = &text, text != ""
	return v, e
}

func getBounce(c *call) (any, *Error) {
	b, e := c.bounce()
	if e != nil {
		return nil, e
	}
	return answerOf(c.viewBounce(b))
}

func dumpBounce(c *call) (any, *Error) {
	b, e := c.bounce()
	if e != nil {
		return nil, e
	}
	text, e := c.content(b)
	return struct{ Body string }{text}, e
}

// activateBounce takes the recipient off the list of the stream, so that the
// next message is sent. Doing so twice is no error.
func activateBounce(c *call) (any, *Error) {
	b, e := c.bounce()
	if e != nil {
		return nil, e
	}
	if !deactivates(b.Type) {
		return nil, refuse(CodeBounceActivate, "The bounce cannot be activated: it has not made its address inactive.")
	}
	_, kept, err := c.store.Reactivate(c.context(), store.Reactivation{
		Server: b.Server, Stream: b.Stream, Addresses: []string{keyOf(b.Recipient)}, By: c.principal.String(), At: c.opts.Now(),
	})
	switch {
	case err != nil:
		return nil, c.unexpected("reactivating an address", err)
	case len(kept) > 0:
		return nil, refuse(CodeBounceActivate, "The bounce cannot be activated: the recipient does not want mail of this stream.")
	}
	v, e := c.viewBounce(b)
	return struct {
		Message string
		Bounce  bounceView
	}{"OK", v}, e
}

type bounceCount struct {
	Name     string
	Count    int
	Type     string
	TypeCode int
}

// deliveryStats counts the bounces that are kept, and the addresses that a
// stream of the server does not write to.
func deliveryStats(c *call) (any, *Error) {
	ctx, cancel := context.WithTimeout(c.context(), searchTime)
	defer cancel()
	counts, err := c.store.CountBounces(ctx, c.principal.Server)
	if err != nil {
		return nil, c.unexpected("counting bounces", err)
	}
	answer := struct {
		InactiveMails int
		Bounces       []bounceCount
	}{Bounces: []bounceCount{{Name: "All", Type: "All"}}}
	for _, t := range bounce.Types() {
		if n := counts[string(t.Type)]; n > 0 {
			answer.Bounces[0].Count += n
			answer.Bounces = append(answer.Bounces, bounceCount{t.Name, n, string(t.Type), t.Code})
		}
	}
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := c.store.ListSuppressions(ctx, store.SuppressionFilter{Server: c.principal.Server}, cursor, suppressionPage)
		if err != nil {
			return nil, c.unexpected("counting suppressions", err)
		}
		answer.InactiveMails += len(page)
		cursor = next
	}
	return answer, nil
}
