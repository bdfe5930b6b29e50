package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is the whole configuration. config.example.yaml documents every key
// and a test keeps the two in step.
//
// SIGHUP applies log.level and the certificate files; every other key needs a
// restart, and a changed one is named in the log.
type Config struct {
	Source      string            `mapstructure:"-"` // the file it was read from, "" when there was none
	DataDir     string            `mapstructure:"data_dir"`
	KeyFile     string            `mapstructure:"key_file"`
	Hostname    string            `mapstructure:"hostname"`
	Log         LogConfig         `mapstructure:"log"`
	SMTP        SMTPConfig        `mapstructure:"smtp"`
	API         APIConfig         `mapstructure:"api"`
	Auth        AuthConfig        `mapstructure:"auth"`
	Intake      IntakeConfig      `mapstructure:"intake"`
	Delivery    DeliveryConfig    `mapstructure:"delivery"`
	Bounces     BouncesConfig     `mapstructure:"bounces"`
	Webhooks    WebhooksConfig    `mapstructure:"webhooks"`
	Unsubscribe UnsubscribeConfig `mapstructure:"unsubscribe"`
	Senders     SendersConfig     `mapstructure:"senders"`
	TLSReports  TLSReportsConfig  `mapstructure:"tls_reports"`
	Storage     StorageConfig     `mapstructure:"storage"`
	Control     ControlConfig     `mapstructure:"control"`
	Grace       time.Duration     `mapstructure:"shutdown_grace"`
}

// LogConfig says what is logged, to standard error.
type LogConfig struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
}

// SMTPConfig is the submission server.
type SMTPConfig struct {
	Listeners     []ListenerConfig `mapstructure:"listeners"`
	TLS           TLSConfig        `mapstructure:"tls"`
	CleartextAuth []netip.Prefix   `mapstructure:"cleartext_auth"`
	Limits        LimitsConfig     `mapstructure:"limits"`
}

// ListenerConfig is one address to listen on.
type ListenerConfig struct {
	Address   string         `mapstructure:"address"`
	TLS       string         `mapstructure:"tls"`
	ProxyFrom []netip.Prefix `mapstructure:"proxy_from"`
}

// UnmarshalText reads the short form for environment and flags: the address,
// and after a slash the TLS mode, as in 127.0.0.1:4465/implicit.
func (l *ListenerConfig) UnmarshalText(b []byte) error {
	address, mode, found := strings.Cut(string(b), "/")
	if !found {
		mode = tlsStart
	}
	*l = ListenerConfig{Address: address, TLS: mode}
	return nil
}

// The TLS modes of a listener.
const (
	tlsStart    = "starttls"
	tlsImplicit = "implicit"
	tlsNone     = "none"
)

// TLSConfig names the certificate. Without one a self-signed certificate is
// made in the data directory.
type TLSConfig struct {
	CertFile string `mapstructure:"cert_file"`
	KeyFile  string `mapstructure:"key_file"`
}

// LimitsConfig bounds what clients can use up.
type LimitsConfig struct {
	Connections           int           `mapstructure:"connections"`
	ConnectionsPerNetwork int           `mapstructure:"connections_per_network"`
	ConnectionRate        int           `mapstructure:"connection_rate"`
	Messages              int           `mapstructure:"messages"`
	Recipients            int           `mapstructure:"recipients"`
	MessageSize           Size          `mapstructure:"message_size"`
	Errors                int           `mapstructure:"errors"`
	IdleCommands          int           `mapstructure:"idle_commands"`
	AuthFailures          int           `mapstructure:"auth_failures"`
	IdleTimeout           time.Duration `mapstructure:"idle_timeout"`
	DataTimeout           time.Duration `mapstructure:"data_timeout"`
	DataRate              Size          `mapstructure:"data_rate"`
}

// AuthConfig slows down those who guess credentials.
type AuthConfig struct {
	NetworkFailures    int           `mapstructure:"network_failures"`
	NetworkWindow      time.Duration `mapstructure:"network_window"`
	BoxFor             time.Duration `mapstructure:"box_for"`
	CredentialFailures int           `mapstructure:"credential_failures"`
	CredentialWindow   time.Duration `mapstructure:"credential_window"`
	FirstDelay         time.Duration `mapstructure:"first_delay"`
	MaxDelay           time.Duration `mapstructure:"max_delay"`
}

// IntakeConfig is what a message must look like.
type IntakeConfig struct {
	HeaderSize   Size `mapstructure:"header_size"`
	HeaderFields int  `mapstructure:"header_fields"`
	LineLength   int  `mapstructure:"line_length"`
	ReceivedHops int  `mapstructure:"received_hops"`
	PrivateTrace bool `mapstructure:"private_trace"`
	// LocalDomains are the dotless domains that envelope addresses may have.
	LocalDomains []string `mapstructure:"local_domains"`
}

// StorageConfig is what is kept and for how long.
type StorageConfig struct {
	Retention time.Duration `mapstructure:"retention"`
	MinFree   Size          `mapstructure:"min_free"`
}

// ControlConfig is the socket for the command line.
type ControlConfig struct {
	Socket string `mapstructure:"socket"`
}

// Default returns the configuration that an empty file means.
func Default() Config {
	return Config{
		DataDir: "mailchute-data",
		Log:     LogConfig{Level: "info", Format: "text"},
		SMTP: SMTPConfig{
			Listeners: []ListenerConfig{
				{Address: "127.0.0.1:2525", TLS: tlsStart},
				{Address: "127.0.0.1:4465", TLS: tlsImplicit},
			},
			CleartextAuth: prefixes("127.0.0.0/8", "::1/128"),
			Limits:        defaultLimits(),
		},
		API: defaultAPI(),
		Auth: AuthConfig{
			NetworkFailures:    10,
			NetworkWindow:      10 * time.Minute,
			BoxFor:             15 * time.Minute,
			CredentialFailures: 30,
			CredentialWindow:   time.Hour,
			FirstDelay:         time.Second,
			MaxDelay:           10 * time.Second,
		},
		Intake:   IntakeConfig{HeaderSize: 100 * KiB, HeaderFields: 1000, LineLength: 998, ReceivedHops: 100},
		Delivery: defaultDelivery(),
		Webhooks: defaultWebhooks(),
		Storage:  StorageConfig{Retention: 45 * 24 * time.Hour},
		Grace:    30 * time.Second,
	}
}

func defaultLimits() LimitsConfig {
	return LimitsConfig{
		Connections:           10000,
		ConnectionsPerNetwork: 50,
		ConnectionRate:        300,
		Messages:              1000,
		Recipients:            1000,
		MessageSize:           50 * MiB,
		Errors:                20,
		IdleCommands:          100,
		AuthFailures:          3,
		IdleTimeout:           5 * time.Minute,
		DataTimeout:           time.Hour,
		DataRate:              500,
	}
}

// resolved makes paths absolute, each from the directory where its value was
// given, and fills what depends on other keys.
func (c Config) resolved(paths map[string]string) Config {
	for key, path := range map[string]*string{
		"data_dir":           &c.DataDir,
		"key_file":           &c.KeyFile,
		"smtp.tls.cert_file": &c.SMTP.TLS.CertFile,
		"smtp.tls.key_file":  &c.SMTP.TLS.KeyFile,
		"delivery.ca_file":   &c.Delivery.CAFile,
		"webhooks.ca_file":   &c.Webhooks.CAFile,
		"control.socket":     &c.Control.Socket,
	} {
		if *path != "" {
			*path = join(paths[key], *path)
		}
	}
	if c.KeyFile == "" && c.DataDir != "" {
		c.KeyFile = filepath.Join(c.DataDir, "mailchute.key")
	}
	for _, list := range [][]ListenerConfig{c.SMTP.Listeners, c.Bounces.Listeners} {
		for i := range list {
			if list[i].TLS == "" {
				list[i].TLS = tlsStart
			}
		}
	}
	c.API = c.API.resolved()
	APIConfig{Listeners: c.Unsubscribe.Listeners}.resolved()
	return c
}

// addresses lists where clients connect to.
func (c SMTPConfig) addresses() []string {
	var out []string
	for _, l := range c.Listeners {
		out = append(out, l.Address+"/"+l.TLS)
	}
	return out
}

// problems collects what is wrong, with the key of each.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

func (p *problems) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(key, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
}

func number[N int | Size | time.Duration](p *problems, key string, value, low, high N) {
	if value < low || value > high {
		p.add(key, "%v is not within %v to %v", value, low, high)
	}
}

// Validate returns every problem, joined, each with its key.
func (c Config) Validate() error {
	var p problems
	if c.DataDir == "" {
		p.add("data_dir", "is empty; name a directory that is this server's alone")
	}
	if c.Hostname != "" && !validHostname(c.Hostname) {
		p.add("hostname", "%q is not a host name", c.Hostname)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		p.add("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	p.oneOf("log.format", c.Log.Format, "text", "json")
	c.SMTP.validate(&p)
	c.API.validate(&p)
	c.Auth.validate(&p)
	c.Intake.validate(&p)
	c.Delivery.validate(&p)
	c.Bounces.validate(&p)
	c.Webhooks.validate(&p)
	c.Unsubscribe.validate(&p, c.API)
	c.Senders.validate(&p, c.Unsubscribe)
	c.TLSReports.validate(&p)
	number(&p, "storage.retention", c.Storage.Retention, time.Hour, 3650*24*time.Hour)
	number(&p, "storage.min_free", c.Storage.MinFree, 0, 1024*GiB)
	number(&p, "shutdown_grace", c.Grace, time.Second, time.Hour)
	return errors.Join(p...)
}

func (c SMTPConfig) validate(p *problems) {
	if len(c.Listeners) == 0 {
		p.add("smtp.listeners", "is empty; nothing could be submitted")
	}
	seen := map[string]bool{}
	for i, l := range c.Listeners {
		key := fmt.Sprintf("smtp.listeners[%d]", i)
		l.validate(p, key)
		if seen[l.Address] && !strings.HasSuffix(l.Address, ":0") {
			p.add(key+".address", "%s is listed twice", l.Address)
		}
		seen[l.Address] = true
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		p.add("smtp.tls", "cert_file and key_file go together")
	}
	c.Limits.validate(p)
}

func (l ListenerConfig) validate(p *problems, key string) {
	_, port, err := net.SplitHostPort(l.Address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		p.add(key+".address", "%q is not host:port, such as 127.0.0.1:2525 or [::]:587", l.Address)
	}
	p.oneOf(key+".tls", l.TLS, tlsStart, tlsImplicit, tlsNone)
}

func (c LimitsConfig) validate(p *problems) {
	const key = "smtp.limits."
	number(p, key+"connections", c.Connections, 1, 1_000_000)
	number(p, key+"connections_per_network", c.ConnectionsPerNetwork, 1, 1_000_000)
	number(p, key+"connection_rate", c.ConnectionRate, 1, 1_000_000)
	number(p, key+"messages", c.Messages, 1, 1_000_000)
	number(p, key+"recipients", c.Recipients, 100, 100_000) // RFC 5321 4.5.3.1.8 asks for 100
	number(p, key+"message_size", c.MessageSize, 64*KiB, 2*GiB)
	number(p, key+"errors", c.Errors, 1, 10_000)
	number(p, key+"idle_commands", c.IdleCommands, 1, 1_000_000)
	number(p, key+"auth_failures", c.AuthFailures, 1, 100)
	number(p, key+"idle_timeout", c.IdleTimeout, time.Second, time.Hour)
	number(p, key+"data_timeout", c.DataTimeout, 10*time.Second, 24*time.Hour)
	number(p, key+"data_rate", c.DataRate, 1, GiB)
}

func (c AuthConfig) validate(p *problems) {
	const key = "auth."
	number(p, key+"network_failures", c.NetworkFailures, 1, 1_000_000)
	number(p, key+"network_window", c.NetworkWindow, time.Second, 24*time.Hour)
	number(p, key+"box_for", c.BoxFor, time.Second, 24*time.Hour)
	number(p, key+"credential_failures", c.CredentialFailures, 1, 1_000_000)
	number(p, key+"credential_window", c.CredentialWindow, time.Second, 24*time.Hour)
	number(p, key+"first_delay", c.FirstDelay, time.Millisecond, time.Minute)
	number(p, key+"max_delay", c.MaxDelay, c.FirstDelay, time.Minute)
}

func (c IntakeConfig) validate(p *problems) {
	number(p, "intake.header_size", c.HeaderSize, 1*KiB, 16*MiB)
	number(p, "intake.header_fields", c.HeaderFields, 10, 100_000)
	number(p, "intake.line_length", c.LineLength, 78, 1<<20)
	number(p, "intake.received_hops", c.ReceivedHops, 10, 1000)
}

// validHostname accepts what an EHLO argument may be: labels of letters, digits
// and inner dashes. One label is enough, for machines without a domain.
func validHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
