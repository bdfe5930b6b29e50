package api

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

func messageRoutes() []route {
	return []route{
		{method: "GET", path: "/messages/outbound", handle: searchMessages},
		{method: "GET", path: "/messages/outbound/{id}/details", handle: messageDetails},
		{method: "GET", path: "/messages/outbound/{id}/dump", handle: messageDump},
	}
}

// outboundMessage is what lists and details have in common.
type outboundMessage struct {
	Tag           string
	MessageID     string
	MessageStream string
	To, Cc, Bcc   []person
	Recipients    []string
	ReceivedAt    string
	From          string
	Subject       string
	Attachments   []string
	Status        string
	TrackOpens    bool
	TrackLinks    string
	Metadata      map[string]string
	Sandboxed     bool
}

type person struct {
	Email string
	Name  *string
}

type messageList struct {
	TotalCount int
	Messages   []outboundMessage
}

type messageEvent struct {
	Recipient  string
	Type       string
	ReceivedAt string
	Details    map[string]string
}

// searchTime bounds a search of messages that are not indexed yet, as after an
// upgrade. Any other takes milliseconds.
const searchTime = 20 * time.Second

func searchMessages(c *call) (any, *Error) {
	p, e := c.page(CodeMessageQuery)
	if e != nil {
		return nil, e
	}
	f, e := c.search()
	if e != nil {
		return nil, e
	}
	release, ok := c.searches.begin(c.principal.Token)
	if !ok {
		return nil, &errSearches
	}
	defer release()
	ctx, cancel := context.WithTimeout(c.context(), searchTime)
	defer cancel()
	records, total, err := c.store.Search(ctx, f, p.offset, p.count)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, refuse(CodeMessageQuery, "The search took too long. Please narrow it by 'fromdate' and 'todate'.")
	case err != nil:
		return nil, c.unexpected("searching messages", err)
	}
	list := messageList{TotalCount: total, Messages: []outboundMessage{}}
	sandbox := c.snapshot().Servers[c.principal.Server].DeliveryType == store.Sandbox
	for _, r := range records {
		list.Messages = append(list.Messages, outbound(r, sandbox))
	}
	return list, nil
}

// search reads what a client looks for.
func (c *call) search() (f store.Filter, e *Error) {
	f = store.Filter{
		Server: c.principal.Server, Stream: c.query["messagestream"], Recipient: c.query["recipient"], Sender: c.query["fromemail"],
		Tag: c.query["tag"], Subject: c.query["subject"], Outbound: true,
	}
	if f.Stream == "" {
		f.Stream = defaultStream
	}
	switch strings.ToLower(c.query["status"]) {
	case "":
	case "queued":
		f.Queued = true
	case "sent", "processed":
		f.Finished = true
	default:
		return f, refuse(CodeMessageQuery, "Parameter 'status' must be queued, sent or processed.")
	}
	for key, v := range c.query {
		if name, ok := strings.CutPrefix(key, "metadata_"); ok {
			if name == "" || f.MetadataKey != "" {
				return f, refuse(CodeMessageQuery, "One 'metadata_' parameter is possible, with a key behind it.")
			}
			f.MetadataKey, f.Metadata = name, v
		}
	}
	f.Since, f.Until, e = c.span(CodeMessageQuery)
	return f, e
}

// date reads a day or a second in UTC. The end of a span is moved behind it,
// since both ends are inclusive.
func date(s string, end bool) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	s = strings.ReplaceAll(s, " ", "+") // the sign of a zone, where the client has not escaped it
	for _, f := range []struct {
		layout string
		length time.Duration
	}{{"2006-1-2", 24 * time.Hour}, {"2006-1-2T15:04:05", time.Second}, {time.RFC3339, time.Second}} {
		if t, err := time.Parse(f.layout, s); err == nil {
			if end {
				t = t.Add(f.length)
			}
			return t, true
		}
	}
	return time.Time{}, false
}

func status(r store.Record) string {
	if slices.ContainsFunc(r.Deliveries, func(d store.Delivery) bool { return !d.Done() }) {
		return "Queued"
	}
	return "Sent"
}

func outbound(r store.Record, sandbox bool) outboundMessage {
	m := r.Message
	o := outboundMessage{
		Tag: m.Tag, MessageID: m.ID.String(), MessageStream: m.Stream, To: persons(m.Header.To, m.Header.Names), Cc: persons(m.Header.Cc, m.Header.Names[min(len(m.Header.To), len(m.Header.Names)):]), Bcc: []person{},
		Recipients: []string{}, ReceivedAt: stamp(m.Accepted), From: m.Header.From, Subject: m.Header.Subject, Attachments: append([]string{}, m.Header.Attachments...),
		Status: status(r), TrackOpens: m.TrackOpens != nil && *m.TrackOpens, TrackLinks: m.TrackLinks, Metadata: m.Metadata, Sandboxed: sandbox,
	}
	if o.TrackLinks == "" {
		o.TrackLinks = "None"
	}
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	shown := slices.Concat(m.Header.To, m.Header.Cc)
	for _, d := range r.Deliveries {
		for _, to := range d.Recipients {
			o.Recipients = append(o.Recipients, to.Address)
			if !slices.ContainsFunc(shown, func(s string) bool { return strings.EqualFold(s, to.Address) }) {
				o.Bcc = append(o.Bcc, person{Email: to.Address})
			}
		}
	}
	return o
}

// persons puts addresses and names together. There may be fewer names.
func persons(addresses, names []string) []person {
	out := make([]person, len(addresses))
	for i, a := range addresses {
		out[i] = person{Email: a}
		if i < len(names) && names[i] != "" {
			out[i].Name = &names[i]
		}
	}
	return out
}

// message finds the message that the path names, if it is the server's own and
// not confidential: who has the tokens of an account must not confirm its senders.
func (c *call) message() (store.Record, *Error) {
	unknown := refuse(CodeMessageUnknown, "This message was not found.")
	id, err := store.ParseID(c.r.PathValue("id"))
	if err != nil {
		return store.Record{}, unknown
	}
	r, err := c.store.Record(c.context(), id)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && (r.Message.Server != c.principal.Server || r.Message.Bounce || r.Message.Returned || r.Message.Confidential()):
		return store.Record{}, unknown
	case err != nil:
		return store.Record{}, c.unexpected("reading a message", err)
	}
	return r, nil
}

// events are those of the client's vocabulary that one of ours makes, one for
// each recipient that it is about.
func events(e store.Event, r store.Record) []messageEvent {
	kind := map[store.EventKind]string{
		store.EventSent: "Delivered", store.EventCaptured: "Delivered", store.EventDeferred: "Transient",
		store.EventBounced: "Bounced", store.EventExpired: "Bounced", store.EventCancelled: "Bounced",
		store.EventUnsubscribed: "SubscriptionChanged",
	}[e.Kind]
	if kind == "" {
		return nil
	}
	to := []string{e.Recipient}
	if e.Recipient == "" {
		to = recipientsOf(r, e.Part)
	}
	details := map[string]string{"DeliveryMessage": e.Reply.ForSender().Text, "DestinationServer": e.Reply.Host, "DestinationIP": e.Reply.Address}
	switch kind {
	case "SubscriptionChanged":
		details = map[string]string{"Origin": string(store.OriginRecipient), "SuppressSending": "True"}
	case "Bounced":
		details = map[string]string{"Summary": e.Diagnostic()}
		if e.Bounce != "" {
			details["BounceID"] = strconv.FormatInt(e.BounceID(r.Message.ID), 10)
		}
		if e.Kind == store.EventCancelled { // who it was, and why, is the operator's business
			details["Summary"] = "given up by the operator"
		}
	}
	var out []messageEvent
	for _, address := range to {
		out = append(out, messageEvent{Recipient: address, Type: kind, ReceivedAt: stamp(e.At), Details: details})
	}
	return out
}

func recipientsOf(r store.Record, part int) (out []string) {
	for _, d := range r.Deliveries {
		if d.ID.Part == part {
			for _, to := range d.Recipients {
				out = append(out, to.Address)
			}
		}
	}
	return out
}
