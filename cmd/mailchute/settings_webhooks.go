package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/mailchute/mailchute/webhook"
)

// WebhooksConfig is how events are sent to customers' endpoints.
type WebhooksConfig struct {
	// Allow lists internal networks that endpoints may be in.
	Allow       []netip.Prefix  `mapstructure:"allow"`
	CAFile      string          `mapstructure:"ca_file"`
	Timeout     time.Duration   `mapstructure:"timeout"`
	Schedule    []time.Duration `mapstructure:"schedule"`
	Concurrency int             `mapstructure:"concurrency"`
	PerEndpoint int             `mapstructure:"per_endpoint"`
	Rate        int             `mapstructure:"rate"`
	KeepDead    time.Duration   `mapstructure:"keep_dead"`
	MaxWaiting  int             `mapstructure:"max_waiting"`
	MaxDead     int             `mapstructure:"max_dead"`
}

func defaultWebhooks() WebhooksConfig {
	return WebhooksConfig{
		Allow: []netip.Prefix{}, Timeout: 30 * time.Second, Schedule: webhook.DefaultSchedule(), Concurrency: 256, PerEndpoint: 4,
		KeepDead: 7 * 24 * time.Hour, MaxWaiting: 1_000_000, MaxDead: 100_000,
	}
}

func (c WebhooksConfig) validate(p *problems) {
	const key = "webhooks."
	number(p, key+"timeout", c.Timeout, time.Second, 5*time.Minute)
	number(p, key+"concurrency", c.Concurrency, 2, 10_000)
	number(p, key+"per_endpoint", c.PerEndpoint, 1, 1000)
	number(p, key+"rate", c.Rate, 0, 1_000_000)
	number(p, key+"keep_dead", c.KeepDead, time.Minute, 3650*24*time.Hour)
	number(p, key+"max_waiting", c.MaxWaiting, 1000, 100_000_000)
	number(p, key+"max_dead", c.MaxDead, 1, 10_000_000)
	if len(c.Schedule) == 0 || len(c.Schedule) > 50 {
		p.add(key+"schedule", "must have 1 to 50 waits")
	}
	for i, d := range c.Schedule {
		number(p, fmt.Sprintf("%sschedule[%d]", key, i), d, time.Millisecond, 7*24*time.Hour)
	}
}

func (c WebhooksConfig) guard() webhook.Guard { return webhook.Guard{Allow: c.Allow} }

// options are those of the sender, which asks the name server that deliveries ask.
func (c WebhooksConfig) options(log *slog.Logger, resolver string) (webhook.Options, error) {
	roots, err := rootCAs("webhooks.ca_file", c.CAFile)
	o := webhook.Options{
		Log: log, Guard: c.guard(), RootCAs: roots, Timeout: c.Timeout, Schedule: c.Schedule, Total: c.Concurrency, PerEndpoint: c.PerEndpoint, Rate: c.Rate,
		KeepDead: c.KeepDead, MaxWaiting: c.MaxWaiting, MaxDead: c.MaxDead,
	}
	if resolver != "" {
		o.Resolver = nameServerAt(resolver).R
	}
	return o, err
}
