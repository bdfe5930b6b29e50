package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// APIConfig is the HTTP API.
type APIConfig struct {
	Listeners []APIListenerConfig `mapstructure:"listeners"`
	// Rate is how many requests each token may make in a minute.
	Rate int `mapstructure:"rate"`
}

// APIListenerConfig is one address that the API listens on.
type APIListenerConfig struct {
	Address string `mapstructure:"address"`
	TLS     string `mapstructure:"tls"`
	// Insecure allows TLS none on an address that others can reach: tokens and
	// mail then travel in the clear.
	Insecure bool `mapstructure:"insecure"`
}

// UnmarshalText reads the short form for the environment: the address, and after
// a slash the TLS mode, as in 0.0.0.0:8443/implicit.
func (l *APIListenerConfig) UnmarshalText(b []byte) error {
	address, mode, _ := strings.Cut(string(b), "/")
	*l = APIListenerConfig{Address: address, TLS: mode}
	return nil
}

func defaultAPI() APIConfig {
	return APIConfig{Listeners: []APIListenerConfig{{Address: "127.0.0.1:8025", TLS: tlsNone}}, Rate: 60_000}
}

// resolved fills in the TLS mode where there is none: TLS, except on loopback.
func (c APIConfig) resolved() APIConfig {
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.TLS == "" {
			l.TLS = tlsImplicit
			if l.loopback() {
				l.TLS = tlsNone
			}
		}
	}
	return c
}

func (l APIListenerConfig) loopback() bool {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// addresses lists where clients connect to.
func (c APIConfig) addresses() []string {
	var out []string
	for _, l := range c.Listeners {
		out = append(out, l.Address+"/"+l.TLS)
	}
	return out
}

func (c APIConfig) validate(p *problems) {
	number(p, "api.rate", c.Rate, 1, 10_000_000)
	c.validateAs(p, "api.listeners")
}

func (c APIConfig) validateAs(p *problems, name string) {
	seen := map[string]bool{}
	for i, l := range c.Listeners {
		key := fmt.Sprintf("%s[%d]", name, i)
		_, port, err := net.SplitHostPort(l.Address)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
			p.add(key+".address", "%q is not host:port, such as 127.0.0.1:8025 or [::]:8443", l.Address)
		}
		p.oneOf(key+".tls", l.TLS, tlsImplicit, tlsNone)
		if l.TLS == tlsNone && !l.loopback() && !l.Insecure {
			p.add(key+".tls", "none on %s sends tokens and mail in the clear; use implicit, or set insecure: true where something else encrypts", l.Address)
		}
		if seen[l.Address] && !strings.HasSuffix(l.Address, ":0") {
			p.add(key+".address", "%s is listed twice", l.Address)
		}
		seen[l.Address] = true
	}
}
