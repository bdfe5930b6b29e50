package intake

import (
	"net"
	"strconv"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// plan splits the recipients into deliveries, one a destination. A recipient
// given twice is delivered once (the first one's parameters hold). The mode and
// the route of the stream are looked at again at each attempt; here they only
// decide what is kept together.
func plan(id store.ID, to []Recipient, server store.Server, stream store.Stream, now time.Time, expire time.Duration) ([]store.Delivery, error) {
	common, err := commonDestination(server, stream)
	if err != nil {
		return nil, err
	}
	var out []store.Delivery
	part := map[string]int{}
	seen := map[string]bool{}
	for _, r := range to {
		key, domain, err := identity(r.Address)
		if err != nil {
			return nil, err
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		dest := common
		if dest == "" || dest != captured && message.TestDomain(domain) { // what never leaves has a delivery of its own
			dest = domain
		}
		n, ok := part[dest]
		if !ok {
			n = len(out)
			part[dest] = n
			out = append(out, store.Delivery{
				ID: store.DeliveryID{Message: id, Part: n}, Server: stream.Server, Stream: stream.ID,
				Destination: dest, Due: now, Expires: now.Add(expire),
			})
		}
		out[n].Recipients = append(out[n].Recipients, store.Recipient{
			Address: r.Address, Notify: r.Notify, ORcpt: r.ORcpt, State: store.Queued,
		})
	}
	return out, nil
}

// captured is the destination of what is kept.
const captured = "capture"

// commonDestination is the one destination of all recipients, or "" when each
// goes to its own domain.
func commonDestination(server store.Server, stream store.Stream) (string, error) {
	switch {
	case server.DeliveryType == store.Sandbox || stream.Mode == store.ModeCapture:
		return captured, nil
	case stream.Mode == store.ModeRedirect:
		_, domain, err := identity(stream.RedirectTo)
		return domain, err
	case stream.Route.Smarthost():
		return net.JoinHostPort(stream.Route.Host, strconv.Itoa(stream.Route.Port)), nil
	}
	return "", nil
}

// identity returns what makes two addresses the same mailbox, and the routing
// domain. Local parts compare with their case (RFC 5321 2.4).
func identity(address string) (key, domain string, err error) {
	a, err := message.ParsePath(address, true)
	if err != nil {
		return "", "", &Refusal{Kind: KindRecipient, Reason: "recipient address is malformed", Err: err}
	}
	domain, err = message.Destination(a)
	if err != nil {
		return "", "", &Refusal{Kind: KindRecipient, Reason: "recipient has no domain that mail can be sent to", Err: err}
	}
	if len(address) == len(a.Local)+len("@")+len(domain) && domain == a.Domain {
		return address, domain, nil // as it is without brackets and quotes
	}
	return a.Local + "@" + domain, domain, nil
}
