package relay

import (
	"context"
	"iter"

	"github.com/mailchute/mailchute/store"
)

// routeTargets yields what a route leads to for one domain: its smarthost, or the domain's own mail hosts.
func (n *network) routeTargets(ctx context.Context, r store.Route, domain string, wish wish) iter.Seq2[hop, *fault] {
	if !r.Smarthost() {
		mode := r.TLS
		if mode == "" {
			mode = store.TLSOpportunistic
		}
		return n.unreached.last(n.mxTargets(ctx, domain, mode, wish), n.opts.Now)
	}
	return func(yield func(hop, *fault) bool) {
		t, f := n.demanded(smarthostTarget(r), wish)
		yield(hop{target: t}, f)
	}
}

// smarthostTarget is verified against the host as configured. Its name is resolved by the dialler, which tries all
// addresses and may use private ones: the operator named it.
func smarthostTarget(r store.Route) target {
	mode := r.TLS
	if mode == "" {
		mode = store.TLSStartTLS
	}
	return target{host: r.Host, address: routeAddress(r), tls: mode, username: r.Username, password: r.PasswordFile}
}
