package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mailchute/mailchute/relay"
)

// attemptTime bounds one attempt up to its final dot, and leaseSlack is what a
// claim lasts beyond that and the wait for the final answer.
const (
	attemptTime = 18 * time.Minute
	leaseSlack  = 2 * time.Minute
)

// DeliveryConfig is the way out.
type DeliveryConfig struct {
	Hostname       string          `mapstructure:"hostname"`
	Concurrency    int             `mapstructure:"concurrency"`
	PerDestination int             `mapstructure:"per_destination"`
	PerSmarthost   int             `mapstructure:"per_smarthost"`
	PerStream      int             `mapstructure:"per_stream"`
	Schedule       []time.Duration `mapstructure:"schedule"`
	Expire         time.Duration   `mapstructure:"expire"`
	// DelayWarning is when senders who asked for it are told that their mail
	// waits; 0 is never. With DelayUnasked those are told too who said nothing.
	DelayWarning time.Duration `mapstructure:"delay_warning"`
	DelayUnasked bool          `mapstructure:"delay_unasked"`
	AllowPrivate bool          `mapstructure:"allow_private"`
	// QuotaTimezone is where the day of a route's daily quota begins at midnight.
	QuotaTimezone string `mapstructure:"quota_timezone"`
	Resolver      string `mapstructure:"resolver"`
	// ResolverTrusted says that the resolver validates DNSSEC and that nobody
	// can write to the path to it: without it there is no DANE.
	ResolverTrusted bool           `mapstructure:"resolver_trusted"`
	MTASTS          bool           `mapstructure:"mta_sts"`
	MXPort          int            `mapstructure:"mx_port"`
	CAFile          string         `mapstructure:"ca_file"`
	Timeouts        TimeoutsConfig `mapstructure:"timeouts"`
}

// TimeoutsConfig are the deadlines of the phases of a delivery, those of RFC
// 5321 4.5.3.2 where it names one.
type TimeoutsConfig struct {
	Connect  time.Duration `mapstructure:"connect"`
	Greeting time.Duration `mapstructure:"greeting"`
	Command  time.Duration `mapstructure:"command"`
	TLS      time.Duration `mapstructure:"tls"`
	Data     time.Duration `mapstructure:"data"`
	Block    time.Duration `mapstructure:"block"`
	Dot      time.Duration `mapstructure:"dot"`
	DNS      time.Duration `mapstructure:"dns"`
}

func defaultDelivery() DeliveryConfig {
	return DeliveryConfig{
		Concurrency:    200,
		PerDestination: 10,
		PerSmarthost:   50,
		PerStream:      200,
		Schedule:       relay.DefaultSchedule(),
		Expire:         5 * 24 * time.Hour,
		DelayWarning:   4 * time.Hour,
		QuotaTimezone:  "UTC",
		MXPort:         25,
		MTASTS:         true,
		Timeouts: TimeoutsConfig{
			Connect:  30 * time.Second,
			Greeting: 5 * time.Minute,
			Command:  5 * time.Minute,
			TLS:      time.Minute,
			Data:     2 * time.Minute,
			Block:    3 * time.Minute,
			Dot:      10 * time.Minute,
			DNS:      20 * time.Second,
		},
	}
}

func (c DeliveryConfig) delays() relay.DelayNotices {
	if c.DelayWarning == 0 {
		return relay.DelayNotices{After: -1}
	}
	return relay.DelayNotices{After: c.DelayWarning, Unasked: c.DelayUnasked}
}

func (c DeliveryConfig) validate(p *problems) {
	const key = "delivery."
	if c.Hostname != "" && !validHostname(c.Hostname) {
		p.add(key+"hostname", "%q is not a host name", c.Hostname)
	}
	number(p, key+"concurrency", c.Concurrency, 1, 100_000)
	number(p, key+"per_destination", c.PerDestination, 1, 100_000)
	number(p, key+"per_smarthost", c.PerSmarthost, 1, 100_000)
	number(p, key+"per_stream", c.PerStream, 1, 100_000)
	number(p, key+"mx_port", c.MXPort, 1, 65535)
	number(p, key+"expire", c.Expire, time.Second, 30*24*time.Hour)
	number(p, key+"delay_warning", c.DelayWarning, 0, 30*24*time.Hour)
	if len(c.Schedule) == 0 {
		p.add(key+"schedule", "is empty; list the waits between attempts, such as [1m, 5m, 15m, 1h]")
	}
	for i, d := range c.Schedule {
		number(p, fmt.Sprintf("%sschedule[%d]", key, i), d, 10*time.Millisecond, 7*24*time.Hour)
	}
	if c.Resolver != "" {
		if _, err := netip.ParseAddrPort(c.Resolver); err != nil {
			p.add(key+"resolver", "%q is not address:port, such as 127.0.0.1:53", c.Resolver)
		}
	}
	if _, err := c.quotaZone(); err != nil {
		p.add(key+"quota_timezone", "%v; use a name such as UTC, Europe/Berlin or America/Los_Angeles", err)
	}
	c.Timeouts.validate(p)
}

// quotaZone finds the time zone in the system's database.
func (c DeliveryConfig) quotaZone() (*time.Location, error) {
	return time.LoadLocation(c.QuotaTimezone)
}

func (c TimeoutsConfig) validate(p *problems) {
	for _, t := range []struct {
		key   string
		value time.Duration
	}{
		{"connect", c.Connect}, {"greeting", c.Greeting}, {"command", c.Command}, {"tls", c.TLS},
		{"data", c.Data}, {"block", c.Block}, {"dot", c.Dot}, {"dns", c.DNS},
	} {
		number(p, "delivery.timeouts."+t.key, t.value, 100*time.Millisecond, time.Hour)
	}
}
