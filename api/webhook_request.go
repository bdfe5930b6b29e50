package api

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// webhookRequest is what a client wants a webhook to be. What it leaves out
// stays; null takes away.
type webhookRequest struct {
	ID             *int64
	URL            *string `json:"Url"`
	MessageStream  *string
	HTTPAuth       json.RawMessage `json:"HttpAuth"`
	HTTPHeaders    json.RawMessage `json:"HttpHeaders"`
	Triggers       map[string]json.RawMessage
	Verify         *bool
	RollSigningKey bool
}

// keyOverlap is how long what is sent is signed with the key before as well.
const keyOverlap = 24 * time.Hour

func (c *call) webhookRequest() (req webhookRequest, _ *Error) {
	switch {
	case c.opts.Webhooks == nil:
		return req, &errNoWebhooks
	case empty(c.body):
		return req, refuse(CodeWebhookBody, "The request has no body.")
	}
	return req, c.decode(&req)
}

// apply changes the webhook and its secrets.
func (r webhookRequest) apply(c *call, w *store.Webhook, s *store.WebhookSecrets) *Error {
	for _, step := range []func(*call, *store.Webhook, *store.WebhookSecrets) *Error{r.applyURL, r.applyAuth, r.applyHeaders, r.applyTriggers} {
		if e := step(c, w, s); e != nil {
			return e
		}
	}
	if r.RollSigningKey {
		s.OldKey, s.OldUntil, s.Key = s.Key, c.opts.Now().Add(keyOverlap), c.opts.Webhooks.NewKey()
	}
	return nil
}

func (r webhookRequest) applyURL(c *call, w *store.Webhook, s *store.WebhookSecrets) *Error {
	if r.URL == nil {
		return nil
	}
	internal, err := c.opts.Webhooks.CheckURL(*r.URL)
	switch {
	case internal:
		return refuse(CodeURLInternal, "The 'Url' leads to an internal address.")
	case err != nil:
		return refuse(CodeWebhookURL, "The 'Url' cannot be used: %s.", strings.TrimSuffix(err.Error(), ": "+errText(err)))
	}
	u, err := url.Parse(*r.URL)
	if err != nil {
		return refuse(CodeWebhookURL, "The 'Url' cannot be used.")
	}
	s.Userinfo = ""
	if u.User != nil {
		s.Userinfo = u.User.String()
		u.User = nil
	}
	w.URL = u.String()
	return nil
}

// errText is the text of the innermost error, which says only that the URL is wrong.
func errText(err error) string {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err.Error()
		}
		err = inner.Unwrap()
	}
}

func (r webhookRequest) applyAuth(_ *call, _ *store.Webhook, s *store.WebhookSecrets) *Error {
	if r.HTTPAuth == nil {
		return nil
	}
	var auth httpAuth
	if e := decodePart("HttpAuth", r.HTTPAuth, &auth); e != nil {
		return e
	}
	if strings.Contains(auth.Username, ":") || hasControl(auth.Username+auth.Password) || len(auth.Username)+len(auth.Password) > 1000 {
		return refuse(CodeWebhookValue, "The 'HttpAuth' has at most 1,000 octets without control characters, and no colon in 'Username'.") // RFC 7617 2
	}
	s.Username, s.Password = auth.Username, auth.Password
	return nil
}

func (r webhookRequest) applyHeaders(c *call, _ *store.Webhook, s *store.WebhookSecrets) *Error {
	if r.HTTPHeaders == nil {
		return nil
	}
	var headers []httpHeader
	if e := decodePart("HttpHeaders", r.HTTPHeaders, &headers); e != nil {
		return e
	}
	s.Headers = nil
	for _, h := range headers {
		s.Headers = append(s.Headers, store.HeaderField(h))
	}
	if c.opts.Webhooks.CheckHeaders(s.Headers) != nil {
		return refuse(CodeWebhookHeader, "The 'HttpHeaders' must be at most 30 fields with a valid 'Name' that the request does not set itself, and a 'Value' on one line.")
	}
	return nil
}

func (r webhookRequest) applyTriggers(_ *call, w *store.Webhook, _ *store.WebhookSecrets) *Error {
	t := &w.Triggers
	for name, text := range r.Triggers {
		var enabled, detail *bool
		switch store.Trigger(canonicalTrigger(name)) {
		case store.TriggerOpen:
			enabled, detail = &t.Open, &t.FirstOpenOnly
		case store.TriggerClick:
			enabled = &t.Click
		case store.TriggerDelivery:
			enabled = &t.Delivery
		case store.TriggerBounce:
			enabled, detail = &t.Bounce, &t.BounceContent
		case store.TriggerSpamComplaint:
			enabled, detail = &t.SpamComplaint, &t.ComplaintContent
		case store.TriggerSubscriptionChange:
			enabled = &t.SubscriptionChange
		default:
			return refuse(CodeWebhookTrigger, "The trigger '%s' is not supported.", shortened(name))
		}
		if e := setTrigger(name, text, enabled, detail); e != nil {
			return e
		}
	}
	return nil
}

func setTrigger(name string, text json.RawMessage, enabled, detail *bool) *Error {
	var req struct{ Enabled, PostFirstOpenOnly, IncludeContent *bool }
	if e := decodePart("Triggers."+name, text, &req); e != nil {
		return e
	}
	for _, v := range []struct{ from, to *bool }{{req.Enabled, enabled}, {req.PostFirstOpenOnly, detail}, {req.IncludeContent, detail}} {
		if v.from != nil && v.to != nil {
			*v.to = *v.from
		}
	}
	return nil
}

// canonicalTrigger is a trigger's name, whatever its case.
func canonicalTrigger(name string) string {
	all := store.Triggers{Open: true, Click: true, Delivery: true, Bounce: true, SpamComplaint: true, SubscriptionChange: true}
	for _, t := range all.List() {
		if strings.EqualFold(string(t), name) {
			return string(t)
		}
	}
	return ""
}
