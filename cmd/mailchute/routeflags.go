package main

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

// routeFlags describe a route on the command line.
type routeFlags struct {
	smarthost, tls, username, passwordFile, rate string
	mx                                           bool
	quota                                        int
	cmd                                          *cobra.Command
}

func addRouteFlags(cmd *cobra.Command) *routeFlags {
	v := &routeFlags{cmd: cmd}
	f := cmd.Flags()
	f.StringVar(&v.smarthost, "smarthost", "", "deliver through `host:port`")
	f.BoolVar(&v.mx, "mx", false, "deliver to the recipients' own mail hosts")
	f.StringVar(&v.tls, "tls", "", "`mode` of the connection, at least: opportunistic, required, verified or none, and for a smarthost starttls or implicit")
	f.StringVar(&v.username, "username", "", "`user` at the smarthost")
	f.StringVar(&v.passwordFile, "password-file", "", "`file` with the password at the smarthost, read at each use")
	addLimitFlags(cmd, v)
	cmd.MarkFlagsMutuallyExclusive("mx", "smarthost")
	return v
}

func addLimitFlags(cmd *cobra.Command, v *routeFlags) {
	cmd.Flags().IntVar(&v.quota, "daily-quota", 0, "hand over at most this many `recipients` a day by the route; 0: no bound")
	cmd.Flags().StringVar(&v.rate, "rate", "", "and at most this `rate` of recipients, such as 10/s, 600/min or 1000/h; 0: no bound")
}

// apply puts what was asked for into the route. Paths count from the caller's directory.
func (v *routeFlags) apply(r *store.Route, abs func(string) string) error {
	f := v.cmd.Flags()
	if v.mx {
		*r = store.Route{}
	}
	if f.Changed("smarthost") {
		host, port, err := net.SplitHostPort(v.smarthost)
		n, perr := strconv.Atoi(port)
		if err != nil || perr != nil || host == "" {
			return usage("--smarthost: %q is not host:port, such as smtp.example.com:587", v.smarthost)
		}
		*r = store.Route{Host: host, Port: n}
	}
	set(f.Changed("tls"), &r.TLS, store.TLSMode(v.tls))
	set(f.Changed("username"), &r.Username, v.username)
	set(f.Changed("password-file"), &r.PasswordFile, abs(v.passwordFile))
	if f.Changed("tls") {
		if err := fitsTLS(*r); err != nil {
			return err
		}
	}
	return v.limits(r)
}

// fitsTLS refuses what is for the other kind of route: mail hosts are not verified by the name that a smarthost is known by.
func fitsTLS(r store.Route) error {
	modes := []store.TLSMode{store.TLSOpportunistic, store.TLSRequired, store.TLSVerified, store.TLSNone}
	whose := "for mail hosts"
	if r.Smarthost() {
		modes = append(modes, store.TLSStartTLS, store.TLSImplicit)
		whose = "for a smarthost"
	}
	if !slices.Contains(modes, r.TLS) {
		return usage("--tls: %q is none of %s, %s", r.TLS, joined(modes), whose)
	}
	return nil
}

func joined[S ~string](list []S) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// limits puts the quota and the rate into the route.
func (v *routeFlags) limits(r *store.Route) error {
	f := v.cmd.Flags()
	set(f.Changed("daily-quota"), &r.DailyQuota, v.quota)
	if !f.Changed("rate") {
		return nil
	}
	rate, err := store.ParseRate(v.rate)
	if err != nil {
		return usage("--rate: %v", err)
	}
	r.Rate = rate
	return nil
}
