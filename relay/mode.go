package relay

import (
	"net"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// action is what an attempt does.
type action uint8

const (
	actSend     action = iota // by the stream's route, to the recipients
	actRedirect               // by the stream's route, to Stream.RedirectTo
	actCapture                // nothing leaves
	actOrphan                 // the stream or its server is gone: wait for it to come back
)

// actionOf is the only place that reads a stream's mode. It asks the directory of this moment, so a stream that was put
// into capture mode stops what is queued already.
func actionOf(snap *store.Snapshot, key store.StreamKey) (action, store.Stream) {
	stream, ok := snap.Streams[key]
	server, known := snap.Servers[key.Server]
	switch {
	case !ok || !known || !stream.Outbound():
		return actOrphan, stream
	case server.DeliveryType == store.Sandbox || stream.Mode == store.ModeCapture:
		return actCapture, stream
	case stream.Mode == store.ModeRedirect:
		return actRedirect, stream
	case stream.Mode == store.ModeLive && server.DeliveryType == store.Live:
		return actSend, stream
	}
	return actOrphan, stream // a mode that a newer version wrote: mail must not leave by guess
}

// siteRule tells which site the deliveries of a stream use by one of its routes. It is comparable.
type siteRule struct {
	fixed     string // the one site of all deliveries; "" means that of the ticket
	smarthost bool
	free      bool // no network is used
}

func (r siteRule) site(destination string, l Limits) (key string, limit int) {
	switch {
	case r.free:
		return "", l.Total
	case r.smarthost:
		return r.fixed, l.PerSmarthost
	case r.fixed != "":
		return r.fixed, l.PerDestination
	}
	return destination, l.PerDestination
}

// routeAddress is the scheduling key of a smarthost.
func routeAddress(r store.Route) string {
	return net.JoinHostPort(strings.ToLower(r.Host), strconv.Itoa(r.Port))
}

// DestinationFor is the scheduling key of a message of our own on a stream, for one address.
func DestinationFor(stream store.Stream, to message.Address) (string, error) {
	if stream.Route.Smarthost() {
		return routeAddress(stream.Route), nil
	}
	return message.Destination(to)
}

// destinationOf is the scheduling key of an address, or the address itself where it has none.
func destinationOf(address string) string {
	if a, err := parseAddress(address); err == nil {
		if d, err := message.Destination(a); err == nil {
			return d
		}
	}
	return address
}

func parseAddress(s string) (message.Address, error) { return message.ParsePath(s, true) }
