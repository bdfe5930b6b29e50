package intake

import (
	"strings"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Destinations is what is known of recipients' domains from earlier deliveries.
type Destinations interface {
	// Refusing tells without waiting what is known against mail to a domain, in
	// A-labels: that it does not exist, or says itself that it takes no mail (RFC
	// 7505). Nothing is known of most domains.
	Refusing(domain string) (missing, null bool)
}

// refusing is why mail to a domain is known to be hopeless, nil where it is not.
func (i *Intake) refusing(domain string) *Refusal {
	if i.opts.Destinations == nil {
		return nil
	}
	switch missing, null := i.opts.Destinations.Refusing(domain); {
	case null:
		return &Refusal{Kind: KindNullMX, Reason: "recipient domain does not accept mail (null MX)"}
	case missing:
		return &Refusal{Kind: KindNoDomain, Reason: "recipient domain does not exist or has no mail host"}
	}
	return nil
}

// direct tells whether all mail of a stream goes to its recipients' mail hosts.
func direct(server store.Server, stream store.Stream) bool {
	return server.DeliveryType != store.Sandbox && stream.Mode == store.ModeLive && !stream.Route.Smarthost() && len(stream.Alternates) == 0
}

// onlyDirect tells whether that holds for every stream that the principal can
// choose: at RCPT nobody knows which it will be.
func onlyDirect(snap *store.Snapshot, p auth.Principal) bool {
	server := snap.Servers[p.Server]
	if p.Stream != "" {
		return direct(server, snap.Streams[store.StreamKey{Server: p.Server, Stream: p.Stream}])
	}
	for _, s := range snap.Streams {
		if s.Server == p.Server && usable(s) == nil && !direct(server, s) {
			return false
		}
	}
	return true
}

// hopeless refuses a message that is known to reach nobody. Where it reaches
// somebody, it is taken, and the others bounce.
func (s *submission) hopeless() error {
	if s.opts.Destinations == nil || !direct(s.server, s.stream) {
		return nil
	}
	var first *Refusal
	for _, r := range s.envelope.Recipients {
		domain, err := message.Destination(message.Address{Domain: r.Address[strings.LastIndexByte(r.Address, '@')+1:]})
		if err != nil {
			return nil // said elsewhere
		}
		why := s.refusing(domain)
		if why == nil {
			return nil
		}
		if first == nil {
			first = why
		}
	}
	if first == nil {
		return nil
	}
	return first
}
