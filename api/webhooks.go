package api

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Webhooks knows which endpoints may be called, and calls them: webhook.Sender.
type Webhooks interface {
	// CheckURL: internal is set where only the address stands against the URL.
	CheckURL(raw string) (internal bool, err error)
	CheckHeaders(fields []store.HeaderField) error
	// Verify posts a sample of each event that the webhook wants.
	Verify(ctx context.Context, w store.Webhook, secrets store.WebhookSecrets) []store.WebhookVerification
	NewKey() []byte
	// FormatKey returns a signing key as receivers need it.
	FormatKey(key []byte) string
}

func webhookRoutes() []route {
	const one = "/webhooks/{webhook}"
	return []route{
		{method: "GET", path: "/webhooks", handle: listWebhooks},
		{method: "POST", path: "/webhooks", handle: createWebhook},
		{method: "GET", path: one, handle: getWebhook},
		{method: "PUT", path: one, handle: editWebhook},
		{method: "DELETE", path: one, handle: deleteWebhook},
		{method: "POST", path: one + "/verify", handle: verifyWebhook},
		{method: "GET", path: one + "/queue", handle: webhookQueue},
		{method: "GET", path: one + "/dead", handle: deadWebhookEvents},
		{method: "POST", path: one + "/replay", handle: replayWebhookEvents},
	}
}

type webhookView struct {
	ID            int64
	URL           string `json:"Url"`
	MessageStream string
	HTTPAuth      *httpAuth    `json:"HttpAuth"`
	HTTPHeaders   []httpHeader `json:"HttpHeaders"`
	Triggers      triggersView
	// SigningKey verifies the signature of what is sent. It is in the answers
	// about one webhook, and in no list.
	SigningKey string `json:",omitempty"`
}

type httpAuth struct{ Username, Password string }

type httpHeader struct{ Name, Value string }

type triggersView struct {
	Open struct{ Enabled, PostFirstOpenOnly bool }

	Click, Delivery       struct{ Enabled bool }
	Bounce, SpamComplaint struct{ Enabled, IncludeContent bool }
	SubscriptionChange    struct{ Enabled bool }
}

func viewTriggers(t store.Triggers) (v triggersView) {
	v.Open.Enabled, v.Open.PostFirstOpenOnly = t.Open, t.FirstOpenOnly
	v.Click.Enabled, v.Delivery.Enabled, v.SubscriptionChange.Enabled = t.Click, t.Delivery, t.SubscriptionChange
	v.Bounce.Enabled, v.Bounce.IncludeContent = t.Bounce, t.BounceContent
	v.SpamComplaint.Enabled, v.SpamComplaint.IncludeContent = t.SpamComplaint, t.ComplaintContent
	return v
}

func viewWebhook(w store.Webhook, s store.WebhookSecrets) webhookView {
	v := webhookView{ID: w.ID, URL: s.FullURL(w.URL), MessageStream: w.Stream, HTTPHeaders: []httpHeader{}, Triggers: viewTriggers(w.Triggers)}
	if s.Username != "" || s.Password != "" {
		v.HTTPAuth = &httpAuth{s.Username, s.Password}
	}
	for _, h := range s.Headers {
		v.HTTPHeaders = append(v.HTTPHeaders, httpHeader(h))
	}
	return v
}

// shown is a webhook with its signing key.
func (c *call) shown(w store.Webhook, s store.WebhookSecrets) webhookView {
	v := viewWebhook(w, s)
	if c.opts.Webhooks != nil {
		v.SigningKey = c.opts.Webhooks.FormatKey(s.Key)
	}
	return v
}

func listWebhooks(c *call) (any, *Error) {
	snap := c.snapshot()
	stream := c.query["messagestream"]
	if _, there := snap.Streams[store.StreamKey{Server: c.principal.Server, Stream: stream}]; stream != "" && !there {
		return nil, refuse(CodeStreamMissing, "The message stream for the provided 'ID' was not found.")
	}
	list := struct{ Webhooks []webhookView }{[]webhookView{}}
	for _, w := range snap.WebhooksOf(c.principal.Server) {
		if stream != "" && w.Stream != stream {
			continue
		}
		s, err := c.keyring.OpenWebhook(w)
		if err != nil {
			return nil, c.unexpected("opening a webhook", err)
		}
		list.Webhooks = append(list.Webhooks, viewWebhook(w, s))
	}
	return list, nil
}

// webhook finds the webhook that the path names, if it is the server's own.
func (c *call) webhook(snap *store.Snapshot) (store.Webhook, store.WebhookSecrets, *Error) {
	id, _ := strconv.ParseInt(c.r.PathValue("webhook"), 10, 64)
	w, there := snap.Webhooks[id]
	if !there || w.Server != c.principal.Server {
		return w, store.WebhookSecrets{}, refuse(CodeWebhook, "The webhook for the provided 'ID' was not found.")
	}
	s, err := c.keyring.OpenWebhook(w)
	if err != nil {
		return w, s, c.unexpected("opening a webhook", err)
	}
	return w, s, nil
}

func getWebhook(c *call) (any, *Error) {
	w, s, e := c.webhook(c.snapshot())
	if e != nil {
		return nil, e
	}
	return c.shown(w, s), nil
}

func createWebhook(c *call) (any, *Error) {
	req, e := c.webhookRequest()
	switch {
	case e != nil:
		return nil, e
	case req.ID != nil:
		return nil, refuse(CodeWebhookID, "The 'ID' is given by us; leave it out.")
	case req.URL == nil:
		return nil, refuse(CodeWebhookURL, "The webhook needs a 'Url'.")
	}
	w := store.Webhook{Server: c.principal.Server, Stream: defaultStream, Created: c.opts.Now()}
	if textOf(req.MessageStream) != "" {
		w.Stream = *req.MessageStream
	}
	s := store.WebhookSecrets{Key: c.opts.Webhooks.NewKey()}
	if e := req.apply(c, &w, &s); e != nil {
		return nil, e
	}
	if e := c.verified(req, w, s); e != nil {
		return nil, e
	}
	e = c.update(func(snap *store.Snapshot) ([]store.Change, *Error) {
		if e := c.hasRoom(snap, w.Stream); e != nil {
			return nil, e
		}
		w.ID = snap.NextID(0)
		var e *Error
		w.Sealed, e = c.sealWebhook(w.ID, s)
		return []store.Change{{Webhook: &w}}, e
	})
	if e != nil {
		return nil, e
	}
	return c.shown(w, s), nil
}

// hasRoom tells whether a stream can have one more webhook.
func (c *call) hasRoom(snap *store.Snapshot, id string) *Error {
	stream, there := snap.Streams[store.StreamKey{Server: c.principal.Server, Stream: id}]
	switch {
	case !there:
		return refuse(CodeStreamMissing, "The message stream for the provided 'MessageStream' was not found.")
	case !stream.Outbound():
		return refuse(CodeWebhookInbound, "Inbound streams have no webhooks of this kind.")
	case !stream.Archived.IsZero():
		return refuse(CodeWebhookArchived, "The message stream is archived.")
	}
	n := 0
	for _, w := range snap.WebhooksOf(c.principal.Server) {
		if w.Stream == id {
			n++
		}
	}
	if n >= store.MaxWebhooks {
		return refuse(CodeWebhookLimit, "A message stream has at most %d webhooks.", store.MaxWebhooks)
	}
	return nil
}

func (c *call) sealWebhook(id int64, s store.WebhookSecrets) ([]byte, *Error) {
	sealed, err := c.keyring.SealWebhook(id, s)
	if err != nil {
		return nil, c.unexpected("sealing a webhook", err)
	}
	return sealed, nil
}

func editWebhook(c *call) (any, *Error) {
	req, e := c.webhookRequest()
	if e != nil {
		return nil, e
	}
	var w store.Webhook
	var s store.WebhookSecrets
	change := func(snap *store.Snapshot) (e *Error) {
		if w, s, e = c.webhook(snap); e != nil {
			return e
		}
		if req.ID != nil && *req.ID != w.ID || req.MessageStream != nil && *req.MessageStream != w.Stream {
			return refuse(CodeWebhookFixed, "The 'ID' and 'MessageStream' of a webhook cannot be changed.")
		}
		return req.apply(c, &w, &s)
	}
	if e := change(c.snapshot()); e != nil {
		return nil, e
	}
	if e := c.verified(req, w, s); e != nil {
		return nil, e
	}
	e = c.update(func(snap *store.Snapshot) ([]store.Change, *Error) {
		e := change(snap)
		if e == nil {
			w.Sealed, e = c.sealWebhook(w.ID, s)
		}
		return []store.Change{{Webhook: &w}}, e
	})
	if e != nil {
		return nil, e
	}
	return c.shown(w, s), nil
}

func deleteWebhook(c *call) (any, *Error) {
	var w store.Webhook
	e := c.update(func(snap *store.Snapshot) (_ []store.Change, e *Error) {
		if w, _, e = c.webhook(snap); e != nil {
			return nil, e
		}
		return []store.Change{{Delete: true, Webhook: &w}}, nil
	})
	return removed{Message: "Webhook " + strconv.FormatInt(w.ID, 10) + " removed."}, e
}

type verification struct {
	ID      int64  `json:"Id"`
	URL     string `json:"Url"`
	Success bool
	Results []verificationResult
	Message string
}

type verificationResult struct {
	TriggerType store.Trigger
	Success     bool
	StatusCode  int
	Message     string
}

func verifyWebhook(c *call) (any, *Error) {
	if c.opts.Webhooks == nil {
		return nil, &errNoWebhooks
	}
	w, s, e := c.webhook(c.snapshot())
	if e != nil {
		return nil, e
	}
	v := verification{ID: w.ID, URL: s.FullURL(w.URL), Success: true, Results: []verificationResult{}, Message: "Every trigger was accepted."}
	for _, r := range c.opts.Webhooks.Verify(c.context(), w, s) {
		v.Results = append(v.Results, verificationResult{r.Trigger, r.OK, r.Status, r.Text})
		if !r.OK {
			v.Success, v.Message = false, "At least one trigger was not accepted."
		}
	}
	if len(v.Results) == 0 {
		v.Message = "No trigger is enabled."
	}
	return v, nil
}

// verified asks the endpoint before the webhook is stored, where the client
// wants that. Postmark does it unless told otherwise; we do it when told to, since
// an endpoint that is not up yet is no reason to refuse its webhook.
func (c *call) verified(req webhookRequest, w store.Webhook, s store.WebhookSecrets) *Error {
	asked, _ := strconv.ParseBool(c.query["verify"])
	if req.Verify != nil {
		asked = *req.Verify
	}
	if !asked {
		return nil
	}
	for _, r := range c.opts.Webhooks.Verify(c.context(), w, s) {
		if !r.OK {
			return refuse(CodeWebhookVerify, "The endpoint did not accept a sample %s event: %s.", r.Trigger, strings.TrimSuffix(r.Text, "."))
		}
	}
	return nil
}

func webhookQueue(c *call) (any, *Error) {
	w, _, e := c.webhook(c.snapshot())
	if e != nil {
		return nil, e
	}
	all, err := c.store.NotificationQueues(c.context(), w.ID)
	if err != nil {
		return nil, c.unexpected("counting events for webhooks", err)
	}
	type lastFailure struct {
		At         string
		StatusCode int
		Error      string
	}
	v := struct {
		ID            int64
		Waiting, Dead int
		OldestEventAt *string
		NextTryAt     *string
		LastFailure   *lastFailure
	}{ID: w.ID}
	for _, q := range all { // one, unless it was removed meanwhile
		v.Waiting, v.Dead, v.OldestEventAt, v.NextTryAt = q.Waiting, q.Dead, optionalStamp(q.Oldest), optionalStamp(q.NextDue)
		if !q.Last.At.IsZero() {
			v.LastFailure = &lastFailure{stamp(q.Last.At), q.Last.Status, q.Last.Error}
		}
	}
	return v, nil
}

type deadEvent struct {
	Key        string
	EventID    string
	Trigger    store.Trigger
	MessageID  *string
	Recipient  string
	OccurredAt string
	GivenUpAt  string
	Attempts   int
	StatusCode int
	Error      string
}

func viewDead(n store.Notification) deadEvent {
	v := deadEvent{
		Key: n.Key, EventID: n.ID.String(), Trigger: n.Trigger, Recipient: n.Event.Recipient, OccurredAt: stamp(n.At()), GivenUpAt: stamp(n.Dead),
		Attempts: n.Attempt, StatusCode: n.Last.Status, Error: n.Last.Error,
	}
	if n.Change != nil {
		v.Recipient = n.Change.Address
	}
	if !n.Message.IsZero() {
		id := n.Message.String()
		v.MessageID = &id
	}
	return v
}

func deadWebhookEvents(c *call) (any, *Error) {
	p, e := c.page(CodeWebhookValue)
	if e != nil {
		return nil, e
	}
	w, _, e := c.webhook(c.snapshot())
	if e != nil {
		return nil, e
	}
	list := struct {
		TotalCount int
		Events     []deadEvent
	}{Events: []deadEvent{}}
	for cursor := ""; list.TotalCount < maxWindow; {
		page, next, err := c.store.DeadNotifications(c.context(), w.ID, cursor, maxCount)
		if err != nil {
			return nil, c.unexpected("listing events for webhooks", err)
		}
		for _, n := range page {
			if list.TotalCount >= p.offset && len(list.Events) < p.count {
				list.Events = append(list.Events, viewDead(n))
			}
			list.TotalCount++
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	list.TotalCount = min(list.TotalCount, maxWindow)
	return list, nil
}

func replayWebhookEvents(c *call) (any, *Error) {
	var req struct{ Keys []string }
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	w, _, e := c.webhook(c.snapshot())
	if e != nil {
		return nil, e
	}
	n, err := c.store.ReplayNotifications(c.context(), w.ID, c.opts.Now(), req.Keys...)
	switch {
	case errors.Is(err, store.ErrInvalid):
		return nil, refuse(CodeWebhookValue, "One of the 'Keys' is not that of an event.")
	case err != nil:
		return nil, c.unexpected("replaying events for webhooks", err)
	}
	return struct{ Replayed int }{n}, nil
}

// optionalStamp is null for no time.
func optionalStamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}
