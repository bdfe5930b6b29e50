package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// BouncesConfig is the way back.
type BouncesConfig struct {
	Host             string           `mapstructure:"host"`
	Listeners        []ListenerConfig `mapstructure:"listeners"`
	Postmaster       string           `mapstructure:"postmaster"`
	PostmasterStream string           `mapstructure:"postmaster_stream"`
}

func (c BouncesConfig) validate(p *problems) {
	if (c.Host == "") != (len(c.Listeners) == 0) {
		p.add("bounces", "host and listeners go together: what is sent from return paths of ours must come back to us")
	}
	if c.Host != "" && (!validHostname(c.Host) || !strings.Contains(c.Host, ".")) {
		p.add("bounces.host", "%q is not a full host name, such as bounces.example.com", c.Host)
	}
	for i, l := range c.Listeners {
		key := fmt.Sprintf("bounces.listeners[%d]", i)
		l.validate(p, key)
		if l.TLS == tlsImplicit {
			p.add(key+".tls", "mail hosts speak STARTTLS; use starttls or none")
		}
	}
	c.validatePostmaster(p)
}

func (c BouncesConfig) validatePostmaster(p *problems) {
	if (c.Postmaster == "") != (c.PostmasterStream == "") {
		p.add("bounces.postmaster", "goes together with bounces.postmaster_stream")
	}
	if c.Postmaster == "" {
		return
	}
	to, err := message.ParsePath(c.Postmaster, true)
	switch {
	case err != nil:
		p.add("bounces.postmaster", "%q is not an address: %v", c.Postmaster, err)
	case strings.EqualFold(to.Domain, c.Host):
		p.add("bounces.postmaster", "is at bounces.host itself; its mail would go round in circles")
	}
	if _, stream, ok := strings.Cut(c.PostmasterStream, "/"); !ok || !store.ValidStreamID(stream) {
		p.add("bounces.postmaster_stream", "%q is not server/stream, such as \"My First Server/outbound\"", c.PostmasterStream)
	}
}

// postmasterStream finds the stream, at the time when it is needed.
func (c BouncesConfig) postmasterStream(s *store.Snapshot) (store.Stream, bool) {
	return namedStream(s, c.PostmasterStream)
}

// namedStream finds a stream for sending by server/stream.
func namedStream(s *store.Snapshot, name string) (store.Stream, bool) {
	server, id, _ := strings.Cut(name, "/")
	_, stream, err := streamOf(s, server, id)
	return stream, err == nil && server != "" && stream.Outbound() && stream.Archived.IsZero()
}

// missingStreams names the streams of the configuration through which nothing can
// be sent. They are made by commands, at any time, so the configuration is not
// wrong for it.
func missingStreams(c Config, s *store.Snapshot) error {
	var p problems
	for _, named := range []struct{ key, stream string }{
		{"bounces.postmaster_stream", c.Bounces.PostmasterStream}, {"senders.stream", c.Senders.Stream}, {"tls_reports.stream", c.TLSReports.Stream},
	} {
		if _, ok := namedStream(s, named.stream); named.stream != "" && !ok {
			p.add(named.key, "there is no stream %q that sends", named.stream)
		}
	}
	return errors.Join(p...)
}
