package main

import (
	"fmt"
	"net"
	"net/http"

	"github.com/mailchute/mailchute/api"
)

// openAPI binds the addresses of the API, if it has any.
func (s *server) openAPI(in api.Submitter) error {
	db, keyring := s.files.store, s.files.keyring
	opts := api.Options{
		Log: s.log.With("part", "api"), Grace: s.cfg.Grace, Rate: s.cfg.API.Rate, AllowPrivateLiterals: s.cfg.Delivery.AllowPrivate,
		Webhooks: s.webhooks, Ready: db.Ready, Domains: s.domains, Records: recordOptions(s.cfg), Public: map[string]http.Handler{},
		SentTop: sources{db, keyring}.firstTop,
	}
	if s.unsubscribe != nil && len(s.unsubscribeListeners) == 0 {
		opts.Public[s.cfg.Unsubscribe.prefix()] = s.unsubscribe
	}
	desk, err := s.openConfirm(in)
	if err != nil {
		return err
	}
	if desk != nil {
		opts.Confirmer, opts.Public[s.cfg.Senders.prefix()] = desk, desk
	}
	s.api = api.New(db, keyring, s.verifier, in, opts)
	s.cfg.API.Listeners = append([]APIListenerConfig(nil), s.cfg.API.Listeners...)
	for i, c := range s.cfg.API.Listeners {
		l, err := net.Listen("tcp", c.Address)
		if err != nil {
			return &exitError{listenCode(err), fmt.Errorf("api.listeners[%d].address: %w", i, err)}
		}
		s.cfg.API.Listeners[i].Address = l.Addr().String()
		listener := api.Listener{Listener: l}
		if c.TLS == tlsImplicit {
			listener.TLS = s.cert.config()
		}
		s.apiListeners = append(s.apiListeners, listener)
	}
	return nil
}

func (s *server) closeAPI() {
	for _, l := range s.apiListeners {
		_ = l.Close() // Run has closed it, except where it never ran
	}
}
