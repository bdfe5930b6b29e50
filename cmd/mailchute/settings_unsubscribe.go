package main

import (
	"net/netip"
	"net/url"
	"strings"
)

// UnsubscribeConfig is hosted one-click unsubscription.
type UnsubscribeConfig struct {
	URL       string              `mapstructure:"url"`
	Listeners []APIListenerConfig `mapstructure:"listeners"`
}

// maxUnsubscribeURL leaves room for the token in what receivers take of a URL.
const maxUnsubscribeURL = 80

// base returns the URL that tokens are put behind, "" where there are no hosted
// links.
func (c UnsubscribeConfig) base() string {
	if c.URL == "" {
		return ""
	}
	return strings.TrimSuffix(c.URL, "/") + "/"
}

// prefix is the path that stands before tokens.
func (c UnsubscribeConfig) prefix() string {
	u, err := url.Parse(c.base())
	if err != nil || u.Path == "" {
		return "/"
	}
	return u.Path
}

func (c UnsubscribeConfig) validate(p *problems, api APIConfig) {
	if c.URL == "" {
		if len(c.Listeners) > 0 {
			p.add("unsubscribe.listeners", "need unsubscribe.url, where the world reaches them")
		}
		return
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(c.URL, "<>, \t?#"):
		p.add("unsubscribe.url", "%q is not a plain URL, such as https://mail.example.com/u", c.URL)
	case u.Scheme != "https" && !(u.Scheme == "http" && loopbackHost(u.Hostname())):
		p.add("unsubscribe.url", "%q does not begin with https://, which RFC 8058 demands", c.URL)
	case len(c.URL) > maxUnsubscribeURL:
		p.add("unsubscribe.url", "is longer than %d characters; receivers refuse long links", maxUnsubscribeURL)
	case len(c.Listeners) == 0 && c.prefix() == "/":
		p.add("unsubscribe.url", "has no path, and the listeners of the API have their own use for that one: add one, such as /u, or unsubscribe.listeners")
	case len(c.Listeners) == 0 && len(api.Listeners) == 0:
		p.add("unsubscribe.listeners", "is empty, and so is api.listeners: nothing would answer")
	}
	APIConfig{Listeners: c.Listeners}.validateAs(p, "unsubscribe.listeners")
}

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
