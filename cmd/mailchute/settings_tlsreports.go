package main

import (
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// TLSReportsConfig is what is told to other domains about their TLS (RFC 8460).
type TLSReportsConfig struct {
	From         string `mapstructure:"from"`
	Stream       string `mapstructure:"stream"`
	Organization string `mapstructure:"organization"`
	Contact      string `mapstructure:"contact"`
}

func (c TLSReportsConfig) validate(p *problems) {
	if (c.From == "") != (c.Stream == "") {
		p.add("tls_reports.from", "goes together with tls_reports.stream")
	}
	if c.From == "" {
		return
	}
	if a, err := message.ParsePath(c.From, false); err != nil || !strings.Contains(a.Domain, ".") || strings.HasPrefix(a.Domain, "[") {
		p.add("tls_reports.from", "%q is not a plain address, such as tls-reports@example.com", c.From)
	}
	if _, stream, ok := strings.Cut(c.Stream, "/"); !ok || !store.ValidStreamID(stream) {
		p.add("tls_reports.stream", "%q is not server/stream, such as \"My First Server/outbound\"", c.Stream)
	}
}

// domain is the one that reports.
func (c TLSReportsConfig) domain() string {
	return strings.ToLower(c.From[strings.LastIndexByte(c.From, '@')+1:])
}

func (c TLSReportsConfig) contact() string {
	if c.Contact == "" {
		return c.From
	}
	return c.Contact
}
