package main

import (
	"fmt"
	"slices"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/smtpd"
	"github.com/mailchute/mailchute/store"
)

// openBounces binds the addresses where what comes back is taken, if there are
// any.
func (s *server) openBounces() error {
	c := s.cfg.Bounces
	if c.Host == "" {
		return nil
	}
	desk, err := returns.NewDesk(s.files.store, returns.Options{
		Host: c.Host, Hostname: hostname(s.cfg), Tags: s.tags(), Log: s.log.With("part", "returns"),
		Postmaster: c.Postmaster, PostmasterStream: c.postmasterStream, NoticeLifetime: s.cfg.Delivery.Expire,
		Suppressor: suppressor{directory: s.files.store, lists: s.files.store},
	})
	if err != nil {
		return &exitError{exitConfig, fmt.Errorf("bounces: %w", err)}
	}
	opts := smtpdOptions(s.cfg, s.log.With("role", "bounces"), s.cert.config(), s.files.store.Healthy)
	opts.MaxMessageBytes = min(opts.MaxMessageBytes, bounce.MaxSize)
	s.cfg.Bounces.Listeners = slices.Clone(c.Listeners)
	return s.listen("bounces.listeners", s.cfg.Bounces.Listeners, opts, func(o smtpd.Options) (*smtpd.Server, error) {
		return smtpd.NewReceiver(desk, o)
	})
}

func (s *server) tags() returns.Tags { return returns.Tags{Keys: s.files.keyring} }

// returnPath gives every recipient a reverse-path of its own, at the host of the
// author's domain while DNS leads that one to us; nil where we have no host.
func (s *server) returnPath() func(store.Message, int) string {
	host := s.cfg.Bounces.Host
	if host == "" {
		return nil
	}
	tags, directory := s.tags(), s.files.store
	return func(m store.Message, recipient int) string {
		at := host
		if d, ok := directory.Snapshot().ReturnDomain(m.ReturnHost); ok && !d.ReturnPathVerified.IsZero() {
			at = m.ReturnHost
		}
		return tags.Mint(at, m.ID, recipient)
	}
}
