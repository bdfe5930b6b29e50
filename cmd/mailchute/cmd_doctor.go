package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/doctor"
	"github.com/mailchute/mailchute/store"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look whether direct delivery has what it needs", Args: noArgs,
		Long: `Look at the data directory, the clock, the limits of the process, the certificate of the listeners,
the resolver, the EHLO name, the addresses that mail is sent from, the hosts of return paths, and the
DNS records of the sender domains. Each finding is OK, WARN or FAIL, with what to do. Nothing is changed.

It connects to nobody by itself but to unsubscribe.url, where there is one: name a mail host with --probe to see whether port 25 is open on the
way out. What only matters for delivery by MX is left out while no stream does that; --direct looks
at it all the same.

The exit code is 65 when a finding is FAIL.`,
		Example: "  mailchute doctor\n  mailchute doctor --source 203.0.113.25 --probe mx.example.org\n  mailchute doctor --json",
	}
	var opts doctorFlags
	cmd.Flags().StringSliceVar(&opts.sources, "source", nil, "public `address` that mail is sent from, several with commas (default: those that streams name, or those of the interfaces)")
	cmd.Flags().StringVar(&opts.probe, "probe", "", "mail `host` to connect to, with :port or at port 25")
	cmd.Flags().BoolVar(&opts.direct, "direct", false, "look at what direct delivery needs, even if no stream uses it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if done, err := a.doctorBeforeFirstStart(cmd, opts); done {
			return err
		}
		return a.admin(func(ctx context.Context, a *admin, _ []string) error {
			return examine(ctx, a, opts, a.store.Snapshot())
		})(cmd, args)
	}
	return cmd
}

// doctorFlags is what the operator says on the command line.
type doctorFlags struct {
	sources []string
	probe   string
	direct  bool
}

// doctorBeforeFirstStart looks at what there is before a data directory has
// been made.
func (a *app) doctorBeforeFirstStart(cmd *cobra.Command, opts doctorFlags) (done bool, err error) {
	if a.live != nil {
		return false, nil
	}
	a.began = true
	cfg, err := a.config(cmd)
	if err != nil {
		return true, err
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, examine(cmd.Context(), &admin{cfg: cfg, out: a.out, json: a.json}, opts, &store.Snapshot{})
}

func examine(ctx context.Context, a *admin, opts doctorFlags, snap *store.Snapshot) error {
	c, err := newCase(a.cfg, opts, snap)
	if err != nil {
		return err
	}
	findings := doctor.Examine(ctx, c)
	if err := a.print(findings, func() error { return printDoctor(a, findings) }); err != nil {
		return err
	}
	return doctorVerdict(findings)
}

func printDoctor(a *admin, findings []doctor.Finding) error {
	for _, f := range findings {
		what := f.Check
		if f.Subject != "" {
			what += " " + f.Subject
		}
		if _, err := fmt.Fprintf(a.out, "%-4s  %s: %s\n", f.Level, printable(what), printable(f.Detail)); err != nil {
			return err
		}
		if f.Advice != "" {
			a.say("      -> %s", printable(f.Advice))
		}
	}
	return nil
}

func doctorVerdict(findings []doctor.Finding) error {
	failed := 0
	for _, f := range findings {
		if f.Level == doctor.Fail {
			failed++
		}
	}
	if failed > 0 {
		return exitWith(exitData, "%d of %d findings are FAIL", failed, len(findings))
	}
	return nil
}

// newCase gathers what the configuration, the directory and the machine say.
func newCase(cfg Config, opts doctorFlags, snap *store.Snapshot) (doctor.Case, error) {
	c := doctor.Case{
		Direct:         opts.direct || anyDirect(snap),
		Hostname:       firstSet(cfg.Delivery.Hostname, hostname(cfg)),
		Domains:        doctorDomains(snap),
		BounceHost:     cfg.Bounces.Host,
		BounceTLS:      slices.ContainsFunc(cfg.Bounces.Listeners, func(l ListenerConfig) bool { return l.TLS != tlsNone }),
		UnsubscribeURL: cfg.Unsubscribe.base(),
		Certificate:    doctorCertificate(cfg),
		Directory:      doctorDirectory(cfg),
		Clock:          doctorClock(cfg),
		OpenFiles:      doctorOpenFiles(cfg),
		Trusted:        cfg.Delivery.ResolverTrusted,
		Dial:           doctorDialer(cfg.Delivery.Resolver).DialContext,
	}
	if cfg.TLSReports.From != "" {
		c.TLSReports = cfg.TLSReports.domain()
	}
	var err error
	if c.Resolver, err = doctor.NewResolver(cfg.Delivery.Resolver); err != nil {
		return c, exitWith(exitConfig, "delivery.resolver: %w", err)
	}
	c.Sources, c.Names = streamSources(snap)
	c.Guessed = true // local addresses, which a gateway may still replace
	if len(opts.sources) > 0 || len(c.Sources) == 0 {
		if c.Sources, c.Guessed, err = doctorSources(opts.sources); err != nil {
			return c, err
		}
	}
	if c.Probe = opts.probe; c.Probe != "" {
		if _, _, err := net.SplitHostPort(c.Probe); err != nil {
			c.Probe = net.JoinHostPort(c.Probe, "25")
		}
	}
	return c, nil
}

// doctorDialer looks names up where everything else is looked up.
func doctorDialer(resolver string) *net.Dialer {
	if resolver == "" {
		return &net.Dialer{}
	}
	return &net.Dialer{Resolver: nameServerAt(resolver).R}
}

func firstSet(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// anyDirect tells whether a stream delivers by MX.
func anyDirect(snap *store.Snapshot) bool {
	for _, s := range snap.Streams {
		if byMX(s) {
			return true
		}
	}
	return false
}

func byMX(s store.Stream) bool {
	return s.Outbound() && s.Mode != store.ModeCapture &&
		slices.ContainsFunc(s.Routes(), func(r store.Route) bool { return !r.Smarthost() })
}

func doctorDomains(snap *store.Snapshot) []doctor.Domain {
	var out []doctor.Domain
	for _, d := range sortedByID(snap.Domains) {
		one := doctor.Domain{Name: d.Name, ReturnPath: d.ReturnPath}
		for _, k := range d.Keys {
			if state := k.State(); state != "retired" {
				one.Keys = append(one.Keys, doctor.Key{Name: k.RecordName(d.Name), Value: k.Record, Signs: state == "active"})
			}
		}
		out = append(out, one)
	}
	return out
}

// streamSources returns the addresses that streams which deliver by MX name,
// with their EHLO names.
func streamSources(snap *store.Snapshot) (sources []netip.Addr, names map[netip.Addr]string) {
	names = map[netip.Addr]string{}
	for _, s := range snap.Streams {
		if !byMX(s) {
			continue
		}
		for _, source := range s.Sources {
			if !slices.Contains(sources, source.Address) {
				sources = append(sources, source.Address)
				names[source.Address] = source.Hostname
			}
		}
	}
	slices.SortFunc(sources, netip.Addr.Compare)
	return sources, names
}

// doctorSources returns the addresses that the operator named, or those of the
// interfaces that could be public ones.
func doctorSources(named []string) (sources []netip.Addr, guessed bool, err error) {
	for _, s := range named {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, false, usage("--source: %q is not an address", s)
		}
		sources = append(sources, addr.Unmap())
	}
	if len(sources) > 0 {
		return sources, false, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, true, exitWith(exitSoftware, "reading the addresses of the interfaces: %w", err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			sources = append(sources, prefix.Addr().Unmap())
		}
	}
	return sources, true, nil
}
