package main

import (
	"fmt"
	"net"

	"github.com/mailchute/mailchute/api/unsubscribe"
)

// openUnsubscribe makes what answers hosted links, and binds the addresses that
// are for it alone.
func (s *server) openUnsubscribe() error {
	c := s.cfg.Unsubscribe
	if c.URL == "" {
		return nil
	}
	s.unsubscribe = unsubscribe.New(s.files.store, s.links(), unsubscribe.Options{Prefix: c.prefix(), Log: s.log.With("part", "unsubscribe")})
	s.cfg.Unsubscribe.Listeners = append([]APIListenerConfig(nil), c.Listeners...)
	for i, at := range s.cfg.Unsubscribe.Listeners {
		l, err := net.Listen("tcp", at.Address)
		if err != nil {
			return &exitError{listenCode(err), fmt.Errorf("unsubscribe.listeners[%d].address: %w", i, err)}
		}
		s.cfg.Unsubscribe.Listeners[i].Address = l.Addr().String()
		listener := unsubscribe.Listener{Listener: l}
		if at.TLS == tlsImplicit {
			listener.TLS = s.cert.config()
		}
		s.unsubscribeListeners = append(s.unsubscribeListeners, listener)
	}
	return nil
}

func (s *server) links() unsubscribe.Links { return unsubscribe.Links{Keys: s.files.keyring} }

func (s *server) closeUnsubscribe() {
	for _, l := range s.unsubscribeListeners {
		_ = l.Close() // Run has closed it, except where it never ran
	}
}
