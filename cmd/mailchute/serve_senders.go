package main

import (
	"fmt"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/api/confirm"
	"github.com/mailchute/mailchute/message"
)

// openConfirm makes what asks the owners of sender addresses and takes their
// answers, nil where it is not configured.
func (s *server) openConfirm(in api.Submitter) (*confirm.Desk, error) {
	c := s.cfg.Senders
	if c.URL == "" {
		return nil, nil
	}
	from, err := message.ParsePath(c.From, true)
	if err != nil {
		return nil, &exitError{exitConfig, fmt.Errorf("senders.from: %w", err)}
	}
	return confirm.New(s.files.store, s.files.keyring, in, confirm.Options{
		URL: c.base(), Prefix: c.prefix(), From: from, Stream: c.stream, Log: s.log.With("part", "senders"),
	}), nil
}
