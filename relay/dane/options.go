package dane

import (
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// Options configures a Resolver. The zero value asks the resolvers of /etc/resolv.conf and trusts none of them.
type Options struct {
	// Servers are the resolvers to ask, as host or host:port, in this order; empty means those of /etc/resolv.conf.
	Servers []string
	// Trusted says that every one of Servers validates DNSSEC and is reached over a path on which answers cannot be forged. Only then does the
	// AD bit count.
	Trusted bool
	// Timeout bounds each query to one server; 0 means 5 seconds.
	Timeout time.Duration
	// Rounds is how often the list of servers is gone through; 0 means 2.
	Rounds int
}

const resolvConf = "/etc/resolv.conf"

func (o Options) withDefaults() (Options, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Rounds == 0 {
		o.Rounds = 2
	}
	if len(o.Servers) == 0 {
		conf, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil {
			return o, fmt.Errorf("finding a resolver: %w", err)
		}
		for _, s := range conf.Servers {
			o.Servers = append(o.Servers, net.JoinHostPort(s, conf.Port))
		}
	}
	if len(o.Servers) == 0 {
		return o, fmt.Errorf("finding a resolver: %s names none", resolvConf)
	}
	servers := make([]string, len(o.Servers))
	for i, s := range o.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(s, "53")
		}
		servers[i] = s
	}
	o.Servers = servers
	return o, nil
}
