package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/smtpd"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// Here the configuration becomes the options of each package.

// hostname returns our own name: the configured one, the machine's, or
// localhost.
func hostname(cfg Config) string {
	if cfg.Hostname != "" {
		return cfg.Hostname
	}
	if name, err := os.Hostname(); err == nil && validHostname(name) {
		return name
	}
	return "localhost"
}

func storeOptions(cfg Config, log *slog.Logger) local.Options {
	return local.Options{MinFree: int64(cfg.Storage.MinFree), Log: log.With("part", "store")}
}

func verifierOptions(cfg Config) auth.VerifierOptions {
	c := cfg.Auth
	return auth.VerifierOptions{Throttle: auth.ThrottleOptions{
		NetworkFailures: c.NetworkFailures, NetworkWindow: c.NetworkWindow, BoxFor: c.BoxFor,
		CredentialFailures: c.CredentialFailures, CredentialWindow: c.CredentialWindow,
		FirstDelay: c.FirstDelay, MaxDelay: c.MaxDelay,
	}}
}

func intakeOptions(cfg Config, lists store.Suppressions, history intake.Known, known intake.Destinations) intake.Options {
	return intake.Options{
		Hostname:       hostname(cfg),
		MaxSize:        int64(cfg.SMTP.Limits.MessageSize),
		Header:         message.HeaderLimits{MaxBytes: int(cfg.Intake.HeaderSize), MaxFields: cfg.Intake.HeaderFields},
		Loop:           message.LoopLimits{MaxReceived: cfg.Intake.ReceivedHops},
		MaxLine:        cfg.Intake.LineLength,
		Expire:         cfg.Delivery.Expire,
		PrivateTrace:   cfg.Intake.PrivateTrace,
		Destinations:   known,
		Known:          history,
		Suppressions:   lists,
		UnsubscribeURL: cfg.Unsubscribe.base(),
	}
}

func smtpdOptions(cfg Config, log *slog.Logger, tls *tls.Config, healthy func() error) smtpd.Options {
	l := cfg.SMTP.Limits
	return smtpd.Options{
		Hostname:             hostname(cfg),
		TLS:                  tls,
		Log:                  log.With("part", "smtpd"),
		CleartextAuth:        nonNil(cfg.SMTP.CleartextAuth),
		AllowPrivateLiterals: cfg.Delivery.AllowPrivate,
		SingleLabelDomains:   cfg.Intake.LocalDomains,
		Healthy:              healthy,
		MaxConns:             l.Connections,
		MaxConnsPerNet:       l.ConnectionsPerNetwork,
		NewConnsPerMinute:    l.ConnectionRate,
		MaxMessageBytes:      int64(l.MessageSize),
		MaxRecipients:        l.Recipients,
		MaxMessages:          l.Messages,
		MaxErrors:            l.Errors,
		MaxNoops:             l.IdleCommands,
		MaxAuthFailures:      l.AuthFailures,
		Idle:                 l.IdleTimeout,
		MaxUpload:            l.DataTimeout,
		MinRate:              int64(l.DataRate),
		Grace:                cfg.Grace,
	}
}

// nonNil keeps an empty list empty: nil means a default to smtpd.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func domainsOptions(cfg Config, log *slog.Logger) domains.Options {
	dns := txtResolver{cfg.Delivery.Resolver}
	return domains.Options{Resolver: dns, MX: dns, ReturnPath: cfg.Bounces.Host, Log: log.With("part", "domains"), Keep: cfg.Storage.Retention}
}

func recordOptions(cfg Config) domains.RecordOptions {
	return domains.RecordOptions{Hostname: hostname(cfg), ReturnPath: cfg.Bounces.Host}
}

func relayOptions(cfg Config, log *slog.Logger, holder store.Operation, signer relay.Signer) (relay.Options, error) {
	d, t := cfg.Delivery, cfg.Delivery.Timeouts
	roots, err := rootCAs("delivery.ca_file", d.CAFile)
	if err != nil {
		return relay.Options{}, err
	}
	o := relay.Options{
		Hostname:       d.Hostname,
		Logger:         log.With("part", "relay"),
		Holder:         holder,
		Signer:         signer,
		Limits:         relay.Limits{Total: d.Concurrency, PerDestination: d.PerDestination, PerSmarthost: d.PerSmarthost, PerStream: d.PerStream},
		Policy:         relay.Policy{Schedule: d.Schedule},
		NoticeLifetime: d.Expire,
		Delays:         d.delays(),
		MXPort:         d.MXPort,
		AllowPrivate:   d.AllowPrivate,
		RootCAs:        roots,
		Timeouts: relay.Timeouts{
			Connect: t.Connect, Banner: t.Greeting, Hello: t.Command, TLS: t.TLS, Mail: t.Command, Rcpt: t.Command,
			Data: t.Data, Block: t.Block, Dot: t.Dot, DNS: t.DNS,
		},
		Attempt: attemptTime,
		Lease:   attemptTime + t.Dot + leaseSlack,
	}
	if o.QuotaZone, err = d.quotaZone(); err != nil {
		return relay.Options{}, exitWith(exitConfig, "delivery.quota_timezone: %w", err)
	}
	if o.Hostname == "" {
		o.Hostname = hostname(cfg)
	}
	if d.Resolver != "" {
		o.Resolver = nameServerAt(d.Resolver)
	}
	return o, nil
}

// rootCAs reads the file of a key of the configuration; nil without one means
// the system's.
func rootCAs(key, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &exitError{exitConfig, fmt.Errorf("%s: %w", key, err)}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, exitWith(exitConfig, "%s: %s holds no PEM certificate", key, path)
	}
	return pool, nil
}
