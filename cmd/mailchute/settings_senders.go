package main

import (
	"net/url"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// SendersConfig is how owners of sender addresses are asked to confirm them.
type SendersConfig struct {
	URL    string `mapstructure:"url"`
	Stream string `mapstructure:"stream"`
	From   string `mapstructure:"from"`
}

// base returns the URL that tokens are put behind.
func (c SendersConfig) base() string { return strings.TrimSuffix(c.URL, "/") + "/" }

// prefix is the path that stands before tokens.
func (c SendersConfig) prefix() string { return UnsubscribeConfig{URL: c.URL}.prefix() }

func (c SendersConfig) validate(p *problems, other UnsubscribeConfig) {
	if c == (SendersConfig{}) {
		return
	}
	if c.URL == "" || c.Stream == "" || c.From == "" {
		p.add("senders", "url, stream and from go together: without them nobody is asked, and you confirm senders with \"mailchute sender verify\"")
		return
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(c.URL, "<>, \t?#"):
		p.add("senders.url", "%q is not a plain URL, such as https://mail.example.com/confirm", c.URL)
	case u.Scheme != "https" && !(u.Scheme == "http" && loopbackHost(u.Hostname())):
		p.add("senders.url", "%q does not begin with https://", c.URL)
	case c.prefix() == "/":
		p.add("senders.url", "has no path, and the listeners of the API have their own use for that one: add one, such as /confirm")
	case other.URL != "" && len(other.Listeners) == 0 && (strings.HasPrefix(c.prefix(), other.prefix()) || strings.HasPrefix(other.prefix(), c.prefix())):
		p.add("senders.url", "has the path of unsubscribe.url, which the same listeners answer")
	}
	if _, stream, ok := strings.Cut(c.Stream, "/"); !ok || !store.ValidStreamID(stream) {
		p.add("senders.stream", "%q is not server/stream, such as \"My First Server/outbound\"", c.Stream)
	}
	if from, err := message.ParsePath(c.From, true); err != nil || from.Domain == "" {
		p.add("senders.from", "%q is not an address", c.From)
	}
}

// stream finds the stream, at the time when it is needed.
func (c SendersConfig) stream(s *store.Snapshot) (store.Stream, bool) {
	return BouncesConfig{PostmasterStream: c.Stream}.postmasterStream(s)
}
